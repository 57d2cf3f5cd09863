"""The thread pools that tasks wait for: how full they are, and who is in them.

A pool with no thread left looks like a hang to the client while the loop is fine. Runs in the
monitor thread. anyio is never imported: it is known by the names of its functions and classes.
"""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import thread as executors
from types import FrameType, MethodType
from typing import Any, NamedTuple

from watchdog_worker.capture.chains import Chain, held_by
from watchdog_worker.capture.stacks import outwards
from watchdog_worker.model import ThreadPool

_ANYIO = "anyio"
_LIMITERS = {"CapacityLimiter", "CapacityLimiterAdapter"}
_REACH = 12
"""The pool's own code is at the outer end of its threads' stacks, within so many frames."""


class Wait(NamedTuple):
    """A task's wait for a pool."""

    pool: ThreadPool
    threads: frozenset[int]
    """Those of the pool that are at work, by their idents."""
    thread: int | None
    """The one that works for this task; None while it queues."""


def wait_of(chain: Chain) -> Wait | None:
    """What the task of this chain waits for, if that is a thread pool."""
    for at, link in enumerate(chain.links):
        frame = getattr(link, "cr_frame", None)
        if frame is not None and _is(frame, "run_sync_in_worker_thread", _ANYIO):
            return _anyio_wait(chain.links[at:])
    source = _behind(chain.end)
    return None if source is None else _executor_wait(source)


def _is(frame: FrameType, function: str, file: str) -> bool:
    return frame.f_code.co_name == function and file in frame.f_code.co_filename


def _pool_frames(
    chosen: Callable[[threading.Thread], bool], function: str, file: str
) -> Iterator[tuple[int, FrameType]]:
    """The frame of this function of the pool's, in each chosen thread that is in it."""
    frames = sys._current_frames()
    for ident, thread in list(threading._active.items()):  # type: ignore[attr-defined]
        if ident in frames and chosen(thread):
            outer: deque[FrameType] = deque(outwards(frames[ident]), maxlen=_REACH)
            found = next((each for each in reversed(outer) if _is(each, function, file)), None)
            if found is not None:
                yield ident, found


def _variable(frame: FrameType, name: str) -> Any:
    """A local variable of a frame that may run on in its thread.

    Before CPython 3.13 the frame keeps the dict that it shows: what is in it would live for as
    long as a pool's thread does. A traced frame writes it back, and is left alone.
    """
    if frame.f_trace is not None:
        return None
    variables = frame.f_locals
    value = variables.get(name)
    if sys.version_info < (3, 13):
        variables.clear()
    return value


# anyio: a limiter, and threads that are shared by all limiters.

def _anyio_wait(links: list[Any]) -> Wait | None:
    limiter = _limiter(links)
    if limiter is None:
        return None
    figures = limiter.statistics()
    total = figures.total_tokens
    works = {ident: future for ident, frame in _pool_frames(_is_anyio_thread, "run", _ANYIO)
             if (future := _variable(frame, "future")) is not None}
    return Wait(
        pool=ThreadPool(_ANYIO, figures.borrowed_tokens,
                        None if math.isinf(total) else int(total), figures.tasks_waiting),
        threads=frozenset(works),
        thread=next((ident for ident, future in works.items() if future is links[-1]), None),
    )


def _limiter(links: list[Any]) -> Any:
    """The limiter that these coroutines hold a token of, or queue for.

    The default one is in no variable, but `async with` keeps what it will call at the end.
    """
    for link in links:
        for held in held_by(link):
            owner = held.__self__ if type(held) is MethodType else held
            if type(owner).__name__ in _LIMITERS:
                return owner
    return None


def _is_anyio_thread(thread: threading.Thread) -> bool:
    return type(thread).__name__ == "WorkerThread" and type(thread).__module__.startswith(_ANYIO)


# concurrent.futures: each executor has a queue and threads of its own.

def _behind(awaited: Any) -> Future[Any] | None:
    """The executor's future behind the loop's own, from the callback that ties them."""
    if not issubclass(type(awaited), asyncio.Future):
        return None
    for callback, _ in getattr(awaited, "_callbacks", None) or ():
        for cell in getattr(callback, "__closure__", None) or ():
            if issubclass(type(cell.cell_contents), Future):
                found: Future[Any] = cell.cell_contents
                return found
    return None


def _executor_wait(source: Future[Any]) -> Wait | None:
    queues: dict[threading.Thread, Any] = dict(executors._threads_queues)
    works: dict[int | None, Any] = {
        ident: getattr(_variable(frame, "self"), "future", None)
        for ident, frame in _pool_frames(queues.__contains__, "run", executors.__file__)}
    for thread, queue in queues.items():
        if works.get(thread.ident) is source or source in _queued(queue):
            break
    else:
        return None
    crew = [other for other, its in queues.items() if its is queue]
    busy = frozenset(other.ident for other in crew if other.ident and other.ident in works)
    return Wait(
        pool=ThreadPool(thread.name.rpartition("_")[0] or thread.name, len(busy),
                        _size(crew) or len(crew), queue.qsize()),
        threads=busy,
        thread=next((ident for ident in busy if works[ident] is source), None),
    )


def _queued(queue: Any) -> list[Any]:
    """The futures in a SimpleQueue, which shows its items to the garbage collector only."""
    items: list[Any] = []
    for referent in gc.get_referents(queue):
        items += referent if type(referent) is list else [referent]
    return [item.future for item in items if hasattr(item, "future")]


def _size(crew: list[threading.Thread]) -> int | None:
    """How many threads the executor of these may have."""
    for _, frame in _pool_frames(crew.__contains__, "_worker", executors.__file__):
        reference = _variable(frame, "executor_reference")
        executor = reference() if reference is not None else None
        return getattr(executor, "_max_workers", None)
    return None
