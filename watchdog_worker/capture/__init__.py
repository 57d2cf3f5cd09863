"""One picture of the process, taken from the monitor thread."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from time import monotonic
from typing import NamedTuple, TypeVar

from watchdog_worker.budget import Budgeted
from watchdog_worker.capture import (
    kernel,
    naming,
    osthreads,
    ownloop,
    process,
    requests,
    slow,
    stacks,
    tasks,
    waits,
    whose,
)
from watchdog_worker.capture.profile import Samples
from watchdog_worker.capture.sources import Sources
from watchdog_worker.model import (
    Frame,
    LoopLag,
    Process,
    Profile,
    Request,
    SampledStack,
    Snapshot,
    TaskGroup,
    Tasks,
    ThreadStack,
    Waiting,
)
from watchdog_worker.ownthread import words
from watchdog_worker.vitals import garbage
from watchdog_worker.vitals.inflight import Entry, InFlight

T = TypeVar("T")

_TASKS_S = 0.5
_FIGURES_S = 1.0
"""Figures of the process come last, and not at all where each file costs a wait for the GIL."""
_NOWHERE = slow.Place(None)


class Limits(NamedTuple):
    """How much one picture may show."""

    max_tasks: int
    max_threads: int
    max_frames: int
    with_locals: bool


class _Raw:
    """What was seen, before sources are read; each part empty where it could not be."""

    def __init__(self) -> None:
        self.threads: list[stacks.RawThread] = []
        self.threads_total: int | None = None
        self.tasks: tasks.RawTasks | None = None
        self.kernel: dict[int, osthreads.KernelView] = {}
        self.waits_for: str | None = None
        self.process: Process | None = None
        self.entries: list[Entry] | None = None
        self.blocking: int | None = None
        self.slow: slow.RawSlow | None = None
        self.slow_numbers: list[int] = []


class Camera:
    """Takes snapshots of one process and its loop; built in the thread that will run the loop."""

    def __init__(
        self, limits: Limits, choice: requests.Choice, in_flight: InFlight
    ) -> None:
        self._loop_thread_id = threading.get_ident()
        # Asked of the kernel here: after a fork the main Thread object of Python 3.10 to 3.12
        # still names the parent's.
        self._loop_native_id = threading.get_native_id()
        self._limits, self._choice, self._in_flight = limits, choice, in_flight
        self._reader = Budgeted("watchdog-sources")

    def start(self) -> None:
        """Start the thread that reads source lines. Raises RuntimeError if none can be had."""
        self._reader.start()

    @stacks.walking
    def sample(
        self, named: Callable[[stacks.RawStack], bool] = lambda stack: True
    ) -> stacks.RawStack | None:
        """The loop thread's stack alone; costs some microseconds, and more if it is to be `named`:
        told with what its telling frames call."""
        frame = sys._current_frames().get(self._loop_thread_id)
        if frame is not None and frame.f_code is garbage.CODE:
            frame = frame.f_back
        if frame is None:
            return None
        stack = stacks.walk(frame, self._limits.max_frames, self._limits.with_locals)
        return naming.with_calls(stack, frame) if named(stack) else stack

    def callback(self) -> int | None:
        """Which callback the loop is in, None where it is in no coroutine."""
        return stacks.callback_of(self._loop_thread_id)

    def take(
        self,
        loop: asyncio.AbstractEventLoop | None,
        lag: LoopLag | None = None,
        samples: Samples | None = None,
        moved_on: Callable[[], bool] = lambda: False,
    ) -> Snapshot:
        """The whole picture. Never raises: a part that fails is missing and said to be.

        What moves is read first and in pure Python; what has to ask the kernel or a disk comes
        after, so that it cannot blur the rest. If the loop has `moved_on` by then, its thread is
        shown as it was last sampled.
        """
        began = monotonic()
        limits, raw, incomplete = self._limits, _Raw(), list[str]()
        raw.entries = _attempt("requests", incomplete, lambda: list(self._in_flight.entries()))
        if samples is not None:
            raw.blocking = _attempt(
                "requests", incomplete, lambda: whose.running(self._loop_thread_id))
        # The loop's thread before the others: what it stands at may be over the next moment.
        own = _attempt("threads", incomplete, self.sample)
        raw.waits_for = _attempt(
            "waits", incomplete, lambda: waits.waits_for(self._loop_thread_id))
        raw.threads, raw.threads_total = self._threads(incomplete)
        if own is not None:
            raw.threads = [each._replace(stack=own) if each.loop else each for each in raw.threads]
        if samples is not None and samples.latest is not None and moved_on():
            raw.threads = [each._replace(stack=samples.latest) if each.loop else each
                           for each in raw.threads]
            raw.blocking = raw.waits_for = None  # who is there now is another one
        if loop is not None:
            raw.tasks = _attempt("tasks", incomplete, lambda: tasks.all_tasks(
                loop, limits.max_frames, _TASKS_S))
        raw.kernel = _attempt("kernel", incomplete, lambda: kernel.views(raw.threads)) or {}
        if moved_on():
            raw.kernel.pop(self._loop_thread_id, None)
        _attempt("waits", incomplete, lambda: _look_further(raw, self._loop_thread_id, own))
        if monotonic() - began < _FIGURES_S:
            raw.process = _attempt("process", incomplete, process.figures)
        else:
            incomplete.append("process: the picture had taken long enough without its figures")
        return self._developed_or_not(raw, began, incomplete, lag, samples)

    def take_slow(
        self, loop: asyncio.AbstractEventLoop, numbers: Collection[int]
    ) -> Snapshot:
        """What belongs to these requests: their tasks, and the pools that they wait for.

        Never raises, as `take`.
        """
        began = monotonic()
        limits, raw, incomplete = self._limits, _Raw(), list[str]()
        raw.entries = _attempt("requests", incomplete, lambda: list(self._in_flight.entries()))
        look = slow.Look(numbers, self._loop_thread_id, limits.max_frames, _TASKS_S)
        found = raw.slow = _attempt("tasks", incomplete, lambda: look.at(loop))
        raw.slow_numbers = [
            entry.number for entry in raw.entries or () if entry.number in numbers]
        if found is not None:
            raw.tasks = found.tasks
            if found.threads:
                raw.threads, raw.threads_total = self._threads(incomplete, found.threads)
        raw.kernel = _attempt("kernel", incomplete, lambda: kernel.views(raw.threads)) or {}
        return self._developed_or_not(raw, began, incomplete)

    def take_lifespan(
        self, loop: asyncio.AbstractEventLoop, main: object
    ) -> tuple[Tasks | None, Waiting | None]:
        """Where the task stands that runs `main`, with those that it waits for. Never raises, as
        `take`."""
        found = _attempt("tasks", [], lambda: ownloop.lifespan_of(loop, main))
        return self._take_task(found) if found is not None else (None, None)

    def take_own_loop(self) -> tuple[Tasks | None, Waiting | None]:
        """The same for a loop that the main thread runs before the server's or after it."""
        found = _attempt("tasks", [], lambda: ownloop.run_by(self._loop_thread_id))
        return self._take_task(found) if found is not None else (None, None)

    def _take_task(self, its: ownloop.OwnLoop) -> tuple[Tasks | None, Waiting | None]:
        limits = self._limits
        look = slow.Look((), self._loop_thread_id, limits.max_frames, _TASKS_S)
        found = _attempt("tasks", [], lambda: look.at_task(*its))
        if found is None:
            return None, None
        place, groups = found.places[0], found.tasks.groups[:limits.max_tasks]
        frames = [frame for group in groups for frame in group.chain]
        sources = Sources([*frames, *filter(None, [place.frame])], self._reader)
        at = sources.frames((place.frame,))[0] if place.frame is not None else None
        return _tasks(found.tasks, groups, sources), Waiting(at, place.pool, place.busy)

    def _threads(
        self, incomplete: list[str], only: Collection[int] | None = None
    ) -> tuple[list[stacks.RawThread], int | None]:
        limits = self._limits
        return _attempt("threads", incomplete, lambda: stacks.all_threads(
            self._loop_thread_id, self._loop_native_id, limits.max_threads, limits.max_frames,
            limits.with_locals, only)) or ([], None)

    def figures(self) -> Snapshot:
        """The requests in flight and the process's figures alone. Never raises, as `take`."""
        began = monotonic()
        raw, incomplete = _Raw(), list[str]()
        raw.entries = _attempt("requests", incomplete, lambda: list(self._in_flight.entries()))
        raw.process = _attempt("process", incomplete, process.figures)
        return self._developed_or_not(raw, began, incomplete)

    def request(self, entry: Entry) -> Snapshot:
        """A snapshot of nothing but one request as it came; it may have ended."""
        listed = requests.listed([entry], entry.began, self._choice, None, {})
        return Snapshot(requests=tuple(
            each._replace(response_started=None, response_complete=None) for each in listed))

    def develop_samples(self, samples: Samples) -> Snapshot:
        """A snapshot of nothing but the profile, for a stall that is over."""
        return self._developed(_Raw(), monotonic(), [], None, samples)

    def _developed_or_not(
        self, raw: _Raw, began: float, incomplete: list[str],
        lag: LoopLag | None = None, samples: Samples | None = None,
    ) -> Snapshot:
        try:
            return self._developed(raw, began, incomplete, lag, samples)
        except Exception as error:
            return Snapshot(incomplete=(*incomplete, f"the picture: {words(error)}"))

    def _developed(
        self, raw: _Raw, began: float, incomplete: list[str],
        lag: LoopLag | None, samples: Samples | None,
    ) -> Snapshot:
        groups = raw.tasks.groups[: self._limits.max_tasks] if raw.tasks else []
        sampled = samples.most_common() if samples else []
        sources = Sources(_all_frames(raw, groups, sampled), self._reader)
        if not sources.complete:
            incomplete.append("source lines: reading them took too long")
        return Snapshot(
            threads=tuple(_thread(each, raw, sources) for each in raw.threads),
            threads_total=raw.threads_total,
            tasks=_tasks(raw.tasks, groups, sources) if raw.tasks else None,
            requests=self._requests(raw, began, sources),
            requests_total=None if raw.entries is None else len(raw.entries),
            pools=raw.slow.pools if raw.slow is not None else (),
            slow_total=len(raw.slow_numbers) or None,
            process=raw.process,
            loop_lag=lag,
            profile=_profile(samples, sampled, sources) if samples and sampled else None,
            capture_s=round(monotonic() - began, 4),
            incomplete=tuple(incomplete),
        )

    def _requests(self, raw: _Raw, now: float, sources: Sources) -> tuple[Request, ...]:
        names = dict(raw.tasks.of_requests) if raw.tasks is not None else {}
        groups = raw.tasks.groups if raw.tasks is not None else []
        running = next((group.names[0] for group in groups if group.running), None)
        # The chain of the task that runs ends before the boundary: its stack has it instead.
        if raw.blocking is not None and running is not None:
            names.setdefault(raw.blocking, running)
        waits: dict[int, tuple[Frame | None, str | None]] = {}
        for number in raw.slow_numbers:
            frame, pool, _ = raw.slow.places.get(number, _NOWHERE) if raw.slow else _NOWHERE
            waits[number] = (sources.frames((frame,))[0] if frame else None, pool)
        return requests.listed(
            raw.entries or [], now, self._choice, raw.blocking, names, waits)


def _attempt(part: str, incomplete: list[str], look: Callable[[], T]) -> T | None:
    try:
        return look()
    except BaseException as error:  # a foreign task may raise anything
        incomplete.append(f"{part}: {words(error)}")
        return None


def _look_further(raw: _Raw, loop: int, own: stacks.RawStack | None) -> None:
    raw.waits_for = kernel.file_lock(own) or raw.waits_for
    view = kernel.behind_pipe(raw.kernel.get(loop))
    if view is not None:
        raw.kernel[loop] = view


def _all_frames(
    raw: _Raw, groups: list[tasks.RawGroup], sampled: list[tuple[int, tuple[stacks.RawFrame, ...]]]
) -> Iterator[stacks.RawFrame]:
    for thread in raw.threads:
        yield from thread.stack.frames
    for group in groups:
        yield from group.chain
    for _, frames in sampled:
        yield from frames
    if raw.slow is not None:
        yield from (place.frame for place in raw.slow.places.values() if place.frame)


def _thread(thread: stacks.RawThread, raw: _Raw, sources: Sources) -> ThreadStack:
    view = raw.kernel.get(thread.id, osthreads.KernelView())
    cut = thread.stack.total > len(thread.stack.frames)
    return ThreadStack(
        id=thread.id,
        name=thread.name,
        loop=thread.loop,
        frames=sources.frames(thread.stack.frames),
        native_id=thread.native_id,
        state=view.state,
        cpu_s=view.cpu_s,
        wait=view.wait,
        frames_total=thread.stack.total if cut else None,
        waits_for=raw.waits_for if thread.loop else None,
    )


def _tasks(raw: tasks.RawTasks, groups: list[tasks.RawGroup], sources: Sources) -> Tasks:
    return Tasks(
        total=raw.total,
        groups=tuple(
            TaskGroup(
                count=group.count,
                names=tuple(group.names),
                await_chain=sources.frames(group.chain),
                awaits=group.awaits,
                running=group.running or None,
            )
            for group in groups
        ),
        groups_omitted=len(raw.groups) - len(groups) or None,
        unread=raw.unread or None,
    )


def _profile(
    samples: Samples, sampled: list[tuple[int, tuple[stacks.RawFrame, ...]]], sources: Sources
) -> Profile:
    return Profile(
        samples=samples.total,
        seconds=round(samples.last - samples.first, 3),
        stacks=tuple(SampledStack(count, sources.frames(frames)) for count, frames in sampled),
        callbacks=samples.callbacks if samples.callbacks > 1 else None,
    )
