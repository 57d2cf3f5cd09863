"""What enters the boundary is in the table until it leaves, however it leaves."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from watchdog_worker.vitals.boundary import Boundary
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import InFlight


async def nothing() -> Any:
    return None


async def swallow(message: Any) -> None:
    return None


class Fixture:
    def __init__(self, application: Any) -> None:
        self.heartbeat = Heartbeat(0.5, lambda: None, lambda error: None)
        self.in_flight = InFlight()
        self.boundary = Boundary(application, self.heartbeat, self.in_flight)

    async def request(self, **scope: Any) -> None:
        await self.boundary({"type": "http", "path": "/", **scope}, nothing, swallow)


def test_a_request_is_in_the_table_while_it_is_inside() -> None:
    """With the server's own objects, and each under a number of its own."""
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert receive is nothing and send is swallow
        seen.extend((entry.number, entry.scope is scope, entry.send is send)
                    for entry in it.in_flight.entries())

    it = Fixture(application)
    asyncio.run(it.request())
    asyncio.run(it.request())
    assert seen == [(1, True, True), (2, True, True)]
    assert it.in_flight.requests == {}
    assert it.heartbeat.last_sign is not None


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), asyncio.CancelledError()])
def test_a_request_that_fails_is_forgotten_and_its_error_passed_on(error: BaseException) -> None:
    """It is the server's to see."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise error

    it = Fixture(application)

    async def main() -> None:
        try:
            await it.request()
        except BaseException as raised:
            assert raised is error
        else:
            raise AssertionError("it was swallowed")

    asyncio.run(main())
    assert it.in_flight.requests == {}


def test_a_request_that_is_cancelled_is_forgotten() -> None:
    """A client that goes away, a drain that is over."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    it = Fixture(application)

    async def main() -> None:
        tasks = [asyncio.create_task(it.request()) for _ in range(3)]
        await asyncio.sleep(0)
        assert [entry.number for entry in it.in_flight.entries()] == [1, 2, 3]
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        assert [entry.number for entry in it.in_flight.entries()] == [1, 3]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert it.in_flight.requests == {}


def test_lifespan_passes_through() -> None:
    """It is no request."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert it.in_flight.requests == {}

    it = Fixture(application)
    asyncio.run(it.request(type="lifespan"))
    assert it.heartbeat.last_sign is None


@pytest.mark.parametrize("error, status, said", [
    (SystemExit(), 0, ""), (SystemExit(3), 3, ""), (SystemExit("no more\n"), 1, "no more"),
    (KeyError("x"), 1, "KeyError: 'x'"), (asyncio.CancelledError(), 1, "CancelledError"),
])
def test_what_comes_out_of_a_request_in_a_forked_child_ends_the_child(
    error: BaseException, status: int, said: str, tmp_path: Path
) -> None:
    """As it would end any process: the server must not see it, whose sockets are the parent's."""
    words, pid = os.open(tmp_path / "words", os.O_CREAT | os.O_RDWR), -1

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal pid
        pid = os.fork()
        if pid == 0:
            sys.stderr = os.fdopen(words, "w")
            raise error

    async def main() -> None:
        try:
            await it.request()
        finally:
            if pid == 0:
                os._exit(99)

    it = Fixture(application)
    asyncio.run(main())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert said in (found := os.pread(words, 65536, 0).decode()) and bool(said) == bool(found)
    os.close(words)
