"""Thread pools seen from outside: how full they are, and which thread works for whom."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest
import uvloop

from watchdog_worker.capture import pools
from watchdog_worker.capture.chains import await_chain

loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


class Gate:
    """Work that lasts until it is let go, and says in which threads it is."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self._open = threading.Event()

    def work(self) -> None:
        self.threads.append(threading.get_ident())
        self._open.wait(60)

    def open(self) -> None:
        self._open.set()


def waits(
    new_loop: Callable[[], asyncio.AbstractEventLoop], gate: Gate, at_work: int,
    *awaitables: Callable[[], Awaitable[Any]],
) -> list[pools.Wait | None]:
    """What tasks that await these wait for, seen from another thread."""
    async def one(awaitable: Callable[[], Awaitable[Any]]) -> None:
        await awaitable()

    async def main() -> list[pools.Wait | None]:
        tasks = [asyncio.create_task(one(each)) for each in awaitables]
        while len(gate.threads) < at_work:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        found: list[pools.Wait | None] = []

        def look() -> None:
            with pools.Pools() as known:
                found.extend(known.wait_of(await_chain(task, 60)) for task in tasks)

        looker = threading.Thread(target=look)
        looker.start()
        looker.join()
        gate.open()
        await asyncio.gather(*tasks)
        return found

    loop = new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@loops
def test_anyios_limiter_with_its_own_figures(
    new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The default one and one of the application's, each task's own."""
    gate = Gate()
    small: list[Any] = []

    async def limited() -> None:
        if not small:
            small.append(anyio.CapacityLimiter(2))
        await anyio.to_thread.run_sync(gate.work, limiter=small[0])

    async def unlimited() -> None:
        await anyio.to_thread.run_sync(gate.work)

    found = waits(new_loop, gate, 3, limited, limited, limited, unlimited)
    assert [wait and wait.pool for wait in found] == 3 * [
        ("anyio, limiter of the caller's", 2, 2, 1)] + [("anyio", 1, 40, 0)]
    assert sum(wait is not None and wait.thread is None for wait in found) == 1
    assert {wait.thread for wait in found if wait and wait.thread} == set(gate.threads)
    assert [wait and wait.threads for wait in found[:3]] == [
        frozenset(filter(None, [wait.thread])) for wait in found[:3] if wait]


@loops
def test_an_executor_of_the_applications_own(
    new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """By the prefix of its threads, with its queue; the loop's own beside it."""
    gate = Gate()
    with ThreadPoolExecutor(2, thread_name_prefix="reports") as executor:
        def run() -> Awaitable[Any]:
            return asyncio.get_running_loop().run_in_executor(executor, gate.work)

        found = waits(new_loop, gate, 3, run, run, run, lambda: asyncio.to_thread(gate.work))
    assert [wait and wait.pool[:2] for wait in found[:3]] == [("reports", 2)] * 3
    assert [wait and wait.pool[2:] for wait in found[:3]] == [(2, 1)] * 3
    assert [wait is not None and wait.thread is None for wait in found] == [
        False, False, True, False]
    own = found[3]
    assert own is not None and own.pool.borrowed == 1 and own.pool.waiting == 0
    assert own.pool.total is not None and own.pool.total >= 5
    assert own.thread in gate.threads


@loops
def test_who_waits_for_something_else_waits_for_no_pool(
    new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A timer, a lock, another task."""
    gate = Gate()

    async def sleeps() -> None:
        await asyncio.sleep(0.2)

    async def waits_for_task() -> None:
        await asyncio.wait([asyncio.ensure_future(sleeps())])

    assert waits(new_loop, gate, 0, sleeps, waits_for_task) == [None, None]


@pytest.mark.parametrize("call", [anyio.to_thread.run_sync, asyncio.to_thread])
def test_looking_at_a_pool_keeps_nothing_alive(call: Callable[..., Awaitable[Any]]) -> None:
    """A pool's threads live on, and with them whatever their frames would hold."""
    class Big:
        pass

    gate, alive = Gate(), list[weakref.ref[Big]]()

    async def task() -> None:
        big = Big()
        alive.append(weakref.ref(big))

        def work(held: Big) -> Big:
            gate.work()
            return held

        await call(work, big)

    async def main() -> None:
        started = asyncio.create_task(task())
        while not gate.threads:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        with pools.Pools() as known:
            assert known.wait_of(await_chain(started, 60)) is not None
        gate.open()
        await started
        del started
        deadline = asyncio.get_running_loop().time() + 10
        while alive[0]() is not None and asyncio.get_running_loop().time() < deadline:
            gc.collect()
            await asyncio.sleep(0.01)
        assert alive[0]() is None  # and the pool's thread still waits for more work

    asyncio.run(main())
