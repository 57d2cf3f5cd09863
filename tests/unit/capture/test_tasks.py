"""Await chains and groups, on asyncio's loop and uvloop's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
import uvloop

from watchdog_worker.capture import tasks

Loop = Callable[[], asyncio.AbstractEventLoop]
loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def pictured(new_loop: Loop, *coroutines: Callable[[], Coroutine[Any, Any, Any]]) -> (
        tasks.RawTasks):
    """Start these, let them come to rest, and take the picture from another thread."""
    loop = new_loop()

    async def main() -> tasks.RawTasks:
        started = [asyncio.create_task(each()) for each in coroutines]
        await asyncio.sleep(0.02)
        found = await asyncio.to_thread(tasks.all_tasks, loop, 60, 1.0)
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
        return found

    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def chain(found: tasks.RawTasks, name: str) -> list[str]:
    """The functions of the chain that goes through `name`."""
    for group in found.groups:
        functions = [frame.code.co_name for frame in group.chain]
        if name in functions:
            return functions[functions.index(name):]
    raise AssertionError(f"no chain through {name}")


async def resting() -> None:
    await asyncio.sleep(100)


async def nested() -> None:
    await inner()


async def inner() -> None:
    await resting()


async def numbers() -> AsyncIterator[int]:
    yield 1
    await resting()


async def through_generator() -> None:
    async for _ in numbers():
        pass


async def through_anext() -> None:
    iterator = numbers()
    await anext(iterator)
    await anext(iterator, None)


class Awaits:
    def __await__(self) -> Generator[Any, None, None]:
        yield from resting().__await__()


async def through_await_method() -> None:
    await Awaits()


async def through_gather() -> None:
    done: Awaitable[None] = asyncio.sleep(0)
    await asyncio.gather(done, resting(), resting())


async def through_task() -> None:
    await asyncio.create_task(inner())


async def through_lock() -> None:
    lock = asyncio.Lock()
    async with lock:
        async with lock:
            pass


@loops
def test_a_chain_goes_to_its_end(new_loop: Loop) -> None:
    """Coroutines, generators, what drives them, awaited tasks, gather."""
    found = pictured(new_loop, nested, through_generator, through_anext, through_await_method,
                     through_gather, through_task)
    end = ["resting", "sleep"]
    assert chain(found, "nested") == ["nested", "inner", *end]
    assert chain(found, "through_generator") == ["through_generator", "numbers", *end]
    assert chain(found, "through_anext") == ["through_anext", "numbers", *end]
    assert chain(found, "through_await_method") == ["through_await_method", "__await__", *end]
    assert chain(found, "through_gather") == ["through_gather", *end]
    assert chain(found, "through_task") == ["through_task", "inner", *end]


@loops
def test_a_chain_says_what_it_ends_in(new_loop: Loop) -> None:
    """A future that is pending."""
    found = pictured(new_loop, through_lock)
    group = next(group for group in found.groups
                 if "through_lock" in [frame.code.co_name for frame in group.chain])
    assert group.awaits == "_asyncio.Future pending"
    assert group.chain[-1].code.co_name == "acquire"


@loops
def test_tasks_at_one_place_are_one_group(new_loop: Loop) -> None:
    """The largest first, with a few names."""
    found = pictured(new_loop, *[nested] * 500, resting)
    largest = next(group for group in found.groups if not group.running)
    assert largest.count == 500
    assert len(largest.names) == 5
    assert found.total == 502
    assert found.unread == 0


def test_the_running_task_is_marked() -> None:
    """It holds the loop, so its chain is the loop thread's stack."""
    async def main() -> tasks.RawTasks:
        loop, seen = asyncio.get_running_loop(), list[tasks.RawTasks]()
        thread = threading.Thread(target=lambda: seen.append(tasks.all_tasks(loop, 60, 1.0)))
        thread.start()
        thread.join()
        return seen[0]

    found = asyncio.run(main())
    assert [group.running for group in found.groups] == [True]


class Grumpy(asyncio.Future[None]):
    """A future whose parts cannot be asked for."""

    def done(self) -> bool:
        raise RuntimeError("mind your own business")


def test_a_task_that_cannot_be_read_is_counted() -> None:
    """The others are read all the same."""
    async def awaits_grumpy() -> None:
        await Grumpy()

    found = pictured(asyncio.new_event_loop, resting, awaits_grumpy)
    assert chain(found, "resting")
    assert found.unread == 1


def test_a_budget_that_is_over_leaves_the_rest_unread() -> None:
    """What was not looked at is counted."""
    loop = asyncio.new_event_loop()

    async def main() -> tasks.RawTasks:
        started = [asyncio.create_task(resting()) for _ in range(300)]
        await asyncio.sleep(0)
        found = tasks.all_tasks(loop, 60, budget_s=-1.0)
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
        return found

    found = loop.run_until_complete(main())
    loop.close()
    assert found.total == found.unread == 301


def test_a_set_that_changes_all_the_time_is_read_or_refused_in_time() -> None:
    """Tasks come and go by the thousand while another thread takes pictures."""
    loop, stop = asyncio.new_event_loop(), threading.Event()
    seen: list[tasks.RawTasks | None] = []
    end = time.monotonic() + 60

    def take() -> None:
        while time.monotonic() < end and (
                len(seen) < 50 or not any(found and found.total > 100 for found in seen)):
            try:
                seen.append(tasks.all_tasks(loop, 60, 0.5))
            except RuntimeError:
                seen.append(None)
        stop.set()

    async def churn() -> None:
        thread.start()
        while not stop.is_set():
            await asyncio.gather(*[asyncio.sleep(0) for _ in range(500)])

    thread = threading.Thread(target=take)
    loop.run_until_complete(churn())
    thread.join()
    loop.close()
    full = [found for found in seen if found and found.total > 100]
    assert len(seen) >= 50 and full
    assert any(group.count > 10 for found in full for group in found.groups)


def test_a_long_chain_is_cut() -> None:
    """Both ends stay."""
    async def deep(depth: int) -> None:
        if depth:
            await deep(depth - 1)
        else:
            await resting()

    loop = asyncio.new_event_loop()

    async def main() -> tasks.RawTasks:
        task = asyncio.create_task(deep(500))
        await asyncio.sleep(0)
        found = tasks.all_tasks(loop, 30, 1.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    found = loop.run_until_complete(main())
    loop.close()
    group = next(group for group in found.groups if len(group.chain) > 5)
    assert len(group.chain) == 30
    assert [frame.omitted for frame in group.chain if frame.omitted] == [503 - 30]
    assert group.awaits == "_asyncio.Future pending"
    assert group.chain[-1].code.co_name == "sleep"
