"""Where one task waits, seen from another thread: the lifespan's, one of a loop of one's own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest
import uvloop

from tests.gunicorn_server import until
from tests.unit.capture.test_camera import CHOICE
from watchdog_worker.capture import Camera, Limits
from watchdog_worker.model import Tasks, Waiting
from watchdog_worker.vitals.inflight import InFlight

ONE_TASK = Limits(max_tasks=1, max_threads=100, max_frames=60, with_locals=False)
"""A list of tasks that has no room for the lifespan's."""
opened = threading.Event()


@pytest.fixture(autouse=True)
def camera() -> Iterator[Camera]:
    made = Camera(ONE_TASK, CHOICE, InFlight())
    made.start()
    opened.clear()
    yield made
    opened.set()


def waits_in_thread() -> None:
    opened.wait(60)


async def connects() -> None:
    await asyncio.sleep(3600)


async def in_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(connects)


async def in_gather() -> None:
    await asyncio.gather(connects(), asyncio.Event().wait())


async def in_wait() -> None:
    await asyncio.wait([asyncio.create_task(connects())])


async def in_wait_for() -> None:
    await asyncio.wait_for(connects(), 3600)


async def in_anyios_thread() -> None:
    await anyio.to_thread.run_sync(waits_in_thread)


async def in_asyncios_thread() -> None:
    await asyncio.to_thread(waits_in_thread)


async def in_executor() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="ours") as pool:
        await asyncio.get_running_loop().run_in_executor(pool, waits_in_thread)


def seen_beside(
    new_loop: Callable[[], asyncio.AbstractEventLoop], way: Callable[[], Awaitable[None]],
    look: Callable[[asyncio.AbstractEventLoop], Any], enough: Callable[[Any], bool],
) -> Any:
    """What `look` sees from another thread, as soon as it is `enough`, while a task goes this
    way."""
    found: list[Any] = []

    async def main() -> None:
        async def lifespan() -> None:
            await way()

        loop, done = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(lifespan())

        def looking() -> None:
            try:
                found.append(until(
                    lambda: next(filter(enough, [look(loop)]), None), 20, "what was looked for"))
            finally:
                opened.set()
                loop.call_soon_threadsafe(done.set)

        looker = threading.Thread(target=looking)
        looker.start()
        await done.wait()
        task.cancel()
        await asyncio.wait([task])
        looker.join()

    loop = new_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    return found[0]


async def lifespan_of_the_test() -> None:
    """What the server would run as its lifespan's task."""


loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
IN_THREAD = (in_anyios_thread, in_asyncios_thread, in_executor)


@loops
@pytest.mark.parametrize("way", [
    connects, in_group, in_gather, in_wait, in_wait_for, *IN_THREAD])
def test_the_line_that_waits_is_found_wherever_it_is(
    camera: Camera, new_loop: Callable[[], asyncio.AbstractEventLoop],
    way: Callable[[], Awaitable[None]],
) -> None:
    """In a child task, in a thread; however short the list of tasks is."""
    function = "waits_in_thread" if way in IN_THREAD else "connects"
    main = _Main()

    def look(loop: asyncio.AbstractEventLoop) -> Waiting | None:
        main.of(loop)
        return camera.take_lifespan(loop, main)[1]

    seen = seen_beside(
        new_loop, way, look,
        lambda waiting: waiting is not None and waiting.at is not None
        and waiting.at.function == function)
    assert seen.busy is False
    assert (seen.pool is not None) == (way in IN_THREAD)


class _Main:
    """Has the code of the coroutine that runs the lifespan's task, as the server's `main` has."""

    __code__: Any = None

    def of(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            code = getattr(task.get_coro(), "cr_code", None)
            if code is not None and code.co_name == "lifespan":
                self.__code__ = code


async def in_slices() -> None:
    while not opened.is_set():
        computes()
        await asyncio.sleep(0)


def computes() -> None:
    end = time.monotonic() + 0.02
    while time.monotonic() < end:
        pass


@loops
def test_a_task_that_computes_in_slices_is_busy(
    camera: Camera, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its chain ends where it runs, and the stack of its thread goes on."""
    main = _Main()

    def look(loop: asyncio.AbstractEventLoop) -> Waiting | None:
        main.of(loop)
        return camera.take_lifespan(loop, main)[1]

    seen = seen_beside(
        new_loop, in_slices, look,
        lambda waiting: waiting is not None and waiting.at is not None
        and waiting.at.function == "computes")
    assert seen.busy is True


def test_a_loop_of_ones_own_is_found_on_the_stack(camera: Camera) -> None:
    """asyncio.run in the main thread: its task, and what that waits for."""
    found: list[tuple[Tasks | None, Waiting | None]] = []

    async def imports() -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def looking() -> None:
            found.append(until(lambda: next((
                seen for seen in [camera.take_own_loop()]
                if seen[1] is not None and not seen[1].busy), None)))
            loop.call_soon_threadsafe(done.set)

        looker = threading.Thread(target=looking)
        looker.start()
        await done.wait()
        looker.join()

    asyncio.run(imports())
    tasks, waiting = found[0]
    assert waiting is not None and waiting.at is not None and waiting.at.function == "imports"
    assert tasks is not None and tasks.total == 1


def test_where_no_loop_runs_there_is_none(camera: Camera) -> None:
    """An import that blocks in plain code."""
    found: list[tuple[Tasks | None, Waiting | None]] = []
    looker = threading.Thread(target=lambda: found.append(camera.take_own_loop()))
    looker.start()
    looker.join()
    assert found == [(None, None)]
