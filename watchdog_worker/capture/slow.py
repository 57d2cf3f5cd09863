"""Where slow requests wait. Runs in the monitor thread, on a healthy loop.

Only what belongs to these requests is read: a report about one request is not to cost a picture
of the whole process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from watchdog_worker.capture import appcode, pools, stacks, tasks
from watchdog_worker.capture.stacks import RawFrame
from watchdog_worker.model import ThreadPool

_JOINS = {"__aexit__", "_wait", "wait", "gather", "call_next"}
"""Who stands here waits for tasks that it has started, and they say more."""
_DEEP = 1000


class Place(NamedTuple):
    """Where a request waits."""

    frame: RawFrame | None
    pool: str | None
    """The name of the pool that it waits for."""


class RawSlow(NamedTuple):
    """What was seen of some requests."""

    tasks: tasks.RawTasks
    places: dict[int, Place]
    """By the number of each request of which a task was found."""
    pools: tuple[ThreadPool, ...]
    threads: frozenset[int]
    """The threads of these pools that are at work, by their idents."""


def look(
    loop: asyncio.AbstractEventLoop, numbers: Collection[int], max_frames: int, budget_s: float
) -> RawSlow:
    """The tasks of these requests, and the pools that they wait for."""
    found = tasks.of_requests(loop, numbers, max_frames, budget_s)
    groups = tasks.Groups(max_frames)
    by_request: dict[int, list[_TaskPlace]] = {}
    waits: list[pools.Wait] = []
    for each in found:
        groups.add(each.name, each.chain)
        wait = pools.wait_of(each.chain)
        if wait is not None:
            waits.append(wait)
        by_request.setdefault(each.number, []).append(_TaskPlace.of(each, wait))
    return RawSlow(
        tasks.RawTasks(len(found), groups.ordered(), 0,
                       {each.number: each.name for each in found if each.own}),
        {number: _telling(places) for number, places in by_request.items()},
        tuple({wait.pool.name: wait.pool for wait in waits}.values()),
        frozenset().union(*(wait.threads for wait in waits)),
    )


class _TaskPlace(NamedTuple):
    """Where one task of a request is."""

    place: Place
    in_app: bool
    own: bool
    joins: bool
    depth: int

    @classmethod
    def of(cls, task: tasks.OfRequest, wait: pools.Wait | None) -> _TaskPlace:
        frames = [RawFrame(code, line) for code, line in task.chain.frames]
        app_frame = _innermost_app(frames)
        if wait is not None and wait.thread is not None:
            stack = stacks.stack_of(wait.thread, _DEEP)
            app_frame = _innermost_app(stack.frames if stack else ()) or app_frame
        place = Place(app_frame or (frames[-1] if frames else None), wait and wait.pool.name)
        return cls(place, app_frame is not None, task.own, _joins(frames), len(frames))


def _telling(tasks_: list[_TaskPlace]) -> Place:
    """The place that tells most about one request."""
    tasks_.sort(key=lambda task: (not task.own, -task.depth))
    own, started = tasks_[0], tasks_[1:]
    if own.joins or not own.in_app:
        for task in started:
            if task.in_app:
                return task.place
    return own.place


def _innermost_app(frames: Sequence[RawFrame]) -> RawFrame | None:
    return next((frame for frame in reversed(frames)
                 if appcode.is_application(frame.code.co_filename)), None)


def _joins(frames: Sequence[RawFrame]) -> bool:
    """Whether it stands in a join, below the last frame of the application."""
    for frame in reversed(frames):
        if frame.code.co_name in _JOINS:
            return True
        if appcode.is_application(frame.code.co_filename):
            break
    return False
