"""The thread pools that tasks wait for: how full they are, and who is in them.

A pool with no thread left looks like a hang to the client while the loop is fine. Runs in the
monitor thread. anyio is never imported: it is known by the names of its functions and classes.
"""

from __future__ import annotations

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

from watchdog_worker.capture.chains import Chain, closures, frame_of, held_by, is_future
from watchdog_worker.capture.stacks import outwards
from watchdog_worker.model import ThreadPool

_ANYIO = "anyio"
_LIMITERS = {"CapacityLimiter", "CapacityLimiterAdapter"}
_REACH = 12
"""The pool's own code is at the outer end of its threads' stacks, within so many frames."""
_TRIES = 20


class Wait(NamedTuple):
    """A task's wait for a pool."""

    pool: ThreadPool
    threads: frozenset[int]
    """Those of the pool that are known to be at work, by their idents."""
    thread: int | None
    """The one that works for this task; None while it queues."""


class _Work(NamedTuple):
    """What an executor's thread works on, or what queues for one."""

    queue: Any
    thread: int | None


class Pools:
    """All pools of the process as they are at one moment: look once, ask for many tasks.

    `with` it: it holds the frames of all threads.
    """

    def __init__(self) -> None:
        # Not our own frame: it would hold itself, and with it all others, until gc comes by.
        self._frames = sys._current_frames()
        self._frames.pop(threading.get_ident(), None)
        self._threads = dict(threading._active)  # type: ignore[attr-defined]
        self._anyio = {
            ident: future for ident, frame in self._in(_is_anyio_thread, "run", _ANYIO)
            if (future := _variable(frame, "future")) is not None}
        self._queues = _queues()
        self._works = self._executor_works()
        self._known: dict[int, ThreadPool] = {}
        """By the identity of the limiter or the queue."""
        self._busy: dict[int, frozenset[int]] = {}

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *ending: object) -> None:
        self._frames.clear()
        self._anyio.clear()
        self._works.clear()

    def wait_of(self, chain: Chain) -> Wait | None:
        """What the task of this chain waits for, if that is a thread pool."""
        for at, link in enumerate(chain.links):
            frame = frame_of(link)
            if frame is not None and _is(frame, "run_sync_in_worker_thread", _ANYIO):
                return self._anyio_wait(chain.links[at:])
        work = next(filter(None, (
            self._works.get(id(source)) for source in _behind(chain.end))), None)
        return None if work is None else self._executor_wait(work)

    # anyio: a limiter, and threads that are shared by all limiters.

    def _anyio_wait(self, links: list[Any]) -> Wait | None:
        limiter = _limiter(links)
        if limiter is None:
            return None
        thread = next(
            (ident for ident, future in self._anyio.items() if future is links[-1]), None)
        is_default = frame_of(links[0]).f_locals.get("limiter") is None
        threads = frozenset(self._anyio) if is_default else frozenset(filter(None, [thread]))
        return Wait(self._anyio_pool(limiter, is_default), threads, thread)

    def _anyio_pool(self, limiter: Any, is_default: bool) -> ThreadPool:
        if id(limiter) not in self._known:
            figures = limiter.statistics()
            total = None if math.isinf(figures.total_tokens) else int(figures.total_tokens)
            name = _ANYIO if is_default else f"{_ANYIO}, limiter of the caller's"
            self._known[id(limiter)] = self._named(
                name, figures.borrowed_tokens, total, figures.tasks_waiting)
        return self._known[id(limiter)]

    # concurrent.futures: each executor has a queue and threads of its own.

    def _executor_works(self) -> dict[int, _Work]:
        """By the identity of the executor's future."""
        works = {}
        for queue in {id(queue): queue for queue in self._queues.values()}.values():
            for source in _queued(queue):
                works[id(source)] = _Work(queue, None)
        for ident, frame in self._in(self._queues.__contains__, "run", executors.__file__):
            source = getattr(_variable(frame, "self"), "future", None)
            works[id(source)] = _Work(self._queues[self._threads[ident]], ident)
        return works

    def _executor_wait(self, work: _Work) -> Wait:
        key = id(work.queue)
        if key not in self._known:
            crew = [thread for thread, queue in self._queues.items() if queue is work.queue]
            self._busy[key] = frozenset(
                each.thread for each in self._works.values()
                if each.queue is work.queue and each.thread is not None)
            self._known[key] = self._named(
                crew[0].name.rpartition("_")[0] or crew[0].name, len(self._busy[key]),
                self._size(crew) or len(crew), len(_queued(work.queue)))
        return Wait(self._known[key], self._busy[key], work.thread)

    def _size(self, crew: list[threading.Thread]) -> int | None:
        """How many threads the executor of these may have."""
        for _, frame in self._in(crew.__contains__, "_worker", executors.__file__):
            reference = _variable(frame, "executor_reference")
            executor = reference() if reference is not None else None
            return getattr(executor, "_max_workers", None)
        return None

    # Both.

    def _named(self, name: str, borrowed: int, total: int | None, waiting: int) -> ThreadPool:
        taken = {pool.name for pool in self._known.values()}
        names = (name, *(f"{name} ({count})" for count in range(2, len(taken) + 2)))
        free = next(each for each in names if each not in taken)
        return ThreadPool(free, borrowed, total, waiting)

    def _in(
        self, chosen: Callable[[threading.Thread], bool], function: str, file: str
    ) -> Iterator[tuple[int, FrameType]]:
        """The frame of this function of the pool's, in each chosen thread that is in it."""
        for ident, frame in self._frames.items():
            thread = self._threads.get(ident)
            if thread is not None and chosen(thread):
                outer: deque[FrameType] = deque(outwards(frame), maxlen=_REACH)
                found = next((each for each in reversed(outer) if _is(each, function, file)), None)
                if found is not None:
                    yield ident, found


def _is(frame: FrameType, function: str, file: str) -> bool:
    return frame.f_code.co_name == function and file in frame.f_code.co_filename


def _variable(frame: FrameType, name: str) -> Any:
    """A local variable of a pool's own frame, which may run on in its thread.

    Before CPython 3.13 the frame keeps the dict that it shows: what is in it would live for as
    long as a pool's thread does. Where the thread is traced or profiled, the dict is written back
    and must not be emptied, so it is not asked for.
    """
    if sys.version_info >= (3, 13):
        return frame.f_locals.get(name)
    if frame.f_trace is not None or threading.getprofile() or threading.gettrace():
        return None
    variables = frame.f_locals
    value = variables.get(name)
    variables.clear()
    return value


def _limiter(links: list[Any]) -> Any:
    """The limiter that these coroutines hold a token of, or queue for.

    The default one is in no variable, but `async with` keeps what it will call at the end.
    """
    for link in links:
        for held in held_by(link):
            owner = held.__self__ if type(held) is MethodType else held
            if type(owner).__name__ in _LIMITERS and type(owner).__module__.startswith(_ANYIO):
                return owner
    return None


def _is_anyio_thread(thread: threading.Thread) -> bool:
    return type(thread).__name__ == "WorkerThread" and type(thread).__module__.startswith(_ANYIO)


def _behind(awaited: Any) -> Iterator[Future[Any]]:
    """The executor's future behind the loop's own, from the callback that ties them."""
    if is_future(awaited):
        for held in closures(awaited, "_call_check_cancel"):
            if issubclass(type(held), Future):
                yield held


def _queues() -> dict[threading.Thread, Any]:
    """The queue of every executor's thread. Raises RuntimeError if it never holds still."""
    for _ in range(_TRIES):
        try:
            return dict(executors._threads_queues)
        except RuntimeError:  # a pool starts a thread meanwhile
            pass
    raise RuntimeError("the executors start threads all the time")


def _queued(queue: Any) -> list[Any]:
    """The futures in a SimpleQueue, which shows its items to the garbage collector only."""
    items: list[Any] = []
    for referent in gc.get_referents(queue):
        items += referent if type(referent) is list else [referent]
    return [item.future for item in items
            # Not `cancelled()`, which takes the future's lock.
            if type(item).__name__ == "_WorkItem" and "CANCELLED" not in item.future._state]
