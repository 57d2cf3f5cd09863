"""Where slow requests wait, and other tasks. Runs in the monitor thread, on a healthy loop.

Only what belongs to these is read: a report about one request is not to cost a picture
of the whole process. What cannot be read of one of them is missing, and the others are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from time import monotonic
from typing import Any, NamedTuple

from watchdog_worker.capture import appcode, pools, stacks, tasks, whose
from watchdog_worker.capture.chains import Chain, await_chain, grouped_by, joined_by, number_of
from watchdog_worker.capture.stacks import RawFrame
from watchdog_worker.model import ThreadPool

_DEEP = 1000
_MAX_JOINED = 100


class Place(NamedTuple):
    """Where a request or another task waits."""

    frame: RawFrame | None
    pool: str | None = None
    """The name of the pool that it waits for."""
    busy: bool = False
    """It does not wait: it runs, or would at the loop's next turn."""


class RawSlow(NamedTuple):
    """What was seen of some requests, or of one task."""

    tasks: tasks.RawTasks
    places: dict[int, Place]
    """By number, of those of which a task was found; the one task under 0."""
    pools: tuple[ThreadPool, ...]
    threads: frozenset[int]
    """The threads of these pools that are at work, by their idents."""


class _Seen(NamedTuple):
    """One task."""

    place: Place
    in_app: bool
    chain: Chain
    stands: Any
    """The task whose coroutine ends the chain: itself, or one that it awaits."""


class Look:
    """One look at these requests, for at most `budget_s` seconds."""

    def __init__(
        self, numbers: Collection[int], loop_thread_id: int, max_frames: int, budget_s: float
    ) -> None:
        self._numbers, self._loop_thread_id = numbers, loop_thread_id
        self._max_frames, self._deadline = max_frames, monotonic() + budget_s
        self._groups = tasks.Groups(max_frames)
        self._names: dict[int, str] = {}
        self._places: dict[int, Place] = {}
        self._pools: dict[str, ThreadPool] = {}
        self._threads: set[int] = set()
        self._of_requests: set[int] = set()
        """The identities of all requests' own tasks."""
        self._unread = 0

    @stacks.walking
    def at(self, loop: asyncio.AbstractEventLoop) -> RawSlow:
        """What is seen. Raises RuntimeError if the set of tasks never held still."""
        running = whose.running(self._loop_thread_id)
        frame = _app_frame_of(self._loop_thread_id)
        if running is not None and running in self._numbers and frame is not None:
            self._places[running] = Place(frame)
        own = dict(self._own_tasks(tasks.all_of(loop)))
        with pools.Pools() as known:
            for number, task in own.items():
                if monotonic() > self._deadline:
                    self._unread += 1
                    continue
                try:
                    self._names[number] = tasks.name_of(task)
                    place = self._look_at(task, known).place
                    if number not in self._places:
                        self._places[number] = place
                except Exception:  # it moved while we looked, or is of foreign make
                    self._unread += 1
        return self._all()

    @stacks.walking
    def at_task(self, loop: asyncio.AbstractEventLoop, task: Any) -> RawSlow:
        """The same of this task. May raise anything: it is of foreign make, and may move."""
        frame, current = _app_frame_of(self._loop_thread_id), asyncio.current_task(loop)
        list(self._own_tasks(tasks.all_of(loop)))
        with pools.Pools() as known:
            seen = self._look_at(task, known)
        runs = seen.stands is current
        # A chain cannot be followed into what runs: the stack has it instead.
        place = Place(frame or seen.place.frame) if runs else seen.place
        ready = getattr(seen.stands, "_fut_waiter", seen) is None and not seen.stands.done()
        self._places[0] = place._replace(busy=runs or ready)
        return self._all()

    def _all(self) -> RawSlow:
        groups = self._groups.ordered()
        total = sum(group.count for group in groups) + self._unread
        return RawSlow(
            tasks.RawTasks(total, groups, self._unread, self._names),
            self._places, tuple(self._pools.values()), frozenset(self._threads))

    def _own_tasks(self, found: list[Any]) -> Iterator[tuple[int, Any]]:
        """The task of each request; first of all, so that none is taken for another one's."""
        for task in found:
            try:
                number = number_of(task)
            except Exception:
                continue
            if number is not None:
                self._of_requests.add(id(task))
                if number in self._numbers:
                    yield number, task

    def _look_at(self, task: Any, known: pools.Pools) -> _Seen:
        """The task, and if it only waits for others to end, the deepest of those."""
        seen = self._add(task, known)
        best: _Seen | None = None
        waiting, passed = _waited_for(seen), {id(task)}
        while waiting and len(passed) < _MAX_JOINED and monotonic() < self._deadline:
            joined = waiting.pop()
            if id(joined) in passed or id(joined) in self._of_requests or joined.done():
                continue
            passed.add(id(joined))
            started = self._add(joined, known)
            waiting += _waited_for(started)
            if started.in_app and (
                    best is None or len(started.chain.frames) > len(best.chain.frames)):
                best = started
        return best or seen

    def _add(self, task: Any, known: pools.Pools) -> _Seen:
        chain = await_chain(task, self._max_frames)
        self._groups.add(tasks.name_of(task), chain)
        wait = known.wait_of(chain)
        frames = [RawFrame(code, line) for code, line in chain.frames]
        frame = _innermost_app(frames)
        in_app = frame is not None
        if wait is not None:
            self._pools[wait.pool.name] = wait.pool
            self._threads |= wait.threads
            if wait.thread is not None:
                frame = _app_frame_of(wait.thread) or frame
                in_app = frame is not None
        if frame is None and wait is None and frames:
            frame = frames[-1]
        place = Place(frame, wait and wait.pool.name)
        awaited = (link for link in reversed(chain.links) if issubclass(type(link), asyncio.Task))
        return _Seen(place, in_app, chain, next(awaited, task))


def _waited_for(seen: _Seen) -> list[Any]:
    """The tasks that it waits for; a response that streams waits beside those who make it."""
    found = list(joined_by(seen.chain.links))
    return found if seen.in_app else [*found, *grouped_by(seen.chain.links)]


def _app_frame_of(thread: int) -> RawFrame | None:
    stack = stacks.stack_of(thread, _DEEP)
    return _innermost_app(stack.frames) if stack is not None else None


def _innermost_app(frames: Sequence[RawFrame]) -> RawFrame | None:
    return next((frame for frame in reversed(frames)
                 if appcode.is_application(frame.code.co_filename)), None)
