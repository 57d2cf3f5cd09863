"""The requests that a report lists."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from watchdog_worker.capture import tasks, whose
from watchdog_worker.capture.requests import Choice, listed
from watchdog_worker.plainform import to_plain
from watchdog_worker.vitals.boundary import Boundary
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import Entry, InFlight

CHOICE = Choice(max_requests=3, headers=("x-request-id",), with_query=False)


class Cycle:
    """What `send` belongs to in uvicorn."""

    response_started = True

    async def send(self, message: Any) -> None:
        pass


def entry(number: int, began: float = 0.0, send: Any = None, **scope: Any) -> Entry:
    return Entry(number, began, {"type": "http", "method": "GET", "path": "/x", **scope}, send)


def test_a_request_is_told_with_what_was_asked_for_and_no_more() -> None:
    """Only the chosen headers, and the query only where it is wanted."""
    one = entry(
        7, 100.0, Cycle().send, method="POST", path="/pay", query_string=b"card=4242",
        client=("10.0.0.9", 5000),
        headers=[(b"x-request-id", b"abc"), (b"cookie", b"secret"), (b"host", b"shop")])
    (told,) = listed([one], 105.5, CHOICE, 7, {7: "Task-9"})
    assert to_plain(told) == {
        "id": 7, "type": "http", "path": "/pay", "age_s": 5.5, "blocking": True, "method": "POST",
        "client": "10.0.0.9:5000", "response_started": True, "task": "Task-9",
        "headers": {"x-request-id": "abc"}}
    (told,) = listed([one], 105.5, CHOICE._replace(with_query=True), None, {})
    assert told.path == "/pay?card=4242"
    assert not told.blocking


def test_a_server_of_another_make_is_no_obstacle() -> None:
    """What it does not tell is absent."""
    strange = SimpleNamespace(response_started="perhaps")
    (told,) = listed([Entry(1, 0.0, {}, strange)], 1.0, CHOICE, None, {})
    assert (told.method, told.client, told.response_started, told.headers) == (None,) * 4
    (told,) = listed([entry(1, client=("::1", 80))], 1.0, CHOICE, None, {})
    assert told.client == "[::1]:80"


def test_the_blocking_request_is_never_left_out() -> None:
    """The others go by age."""
    entries = [entry(number) for number in range(1, 10)]
    assert [told.id for told in listed(entries, 1.0, CHOICE, None, {})] == [1, 2, 3]
    assert [told.id for told in listed(entries, 1.0, CHOICE, 8, {})] == [1, 2, 8]
    assert [told.id for told in listed(entries, 1.0, CHOICE, 2, {})] == [1, 2, 3]
    only = CHOICE._replace(max_requests=1)
    assert [told.id for told in listed(entries, 1.0, only, 8, {})] == [8]


def test_ten_thousand_websockets_do_not_hide_the_requests() -> None:
    """Some are listed, the rest is a count."""
    entries = [entry(number, type="websocket") for number in range(10_000)]
    entries += [entry(10_001), entry(10_002, type="websocket")]
    told = listed(entries, 1.0, CHOICE._replace(max_requests=100), 10_002, {})
    assert [each.type for each in told] == ["websocket"] * 10 + ["http", "websocket"]


def test_a_request_is_found_by_the_boundary_on_stacks_and_chains() -> None:
    """The one that holds the loop, and the tasks of those that wait."""
    loop_thread = threading.get_ident()
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await asyncio.sleep(3600)
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=lambda: seen.append((
            whose.running(loop_thread), tasks.all_tasks(loop, 60, 1.0).of_requests)))
        thread.start()
        thread.join()

    boundary = Boundary(
        application, Heartbeat(0.5, lambda: None, lambda error: None), InFlight())

    async def request(path: str) -> None:
        await boundary({"type": "http", "path": path}, None, None)  # type: ignore[arg-type]

    async def main() -> None:
        waiting = [asyncio.create_task(request("/wait"), name=f"wait-{at}") for at in (1, 2)]
        await asyncio.sleep(0)
        await asyncio.create_task(request("/look"), name="look")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())
    assert seen == [(3, {1: "wait-1", 2: "wait-2"})]
    assert whose.running(loop_thread) is None
