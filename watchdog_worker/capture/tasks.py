"""The tasks of the loop, grouped by where they wait. Runs in the monitor thread.

The set of tasks can change under our hands. Each task is read on its own, and one that cannot
be read is counted and left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

from watchdog_worker.capture.chains import Chain, await_chain, is_future
from watchdog_worker.capture.ends import shares
from watchdog_worker.capture.saferepr import type_name
from watchdog_worker.capture.stacks import RawFrame, walking

_MAX_NAMES = 5
_NAME_CHARS = 100


class RawGroup:
    """Tasks at one place, while they are being counted."""

    __slots__ = ("chain", "awaits", "running", "count", "names")

    def __init__(
        self, chain: tuple[RawFrame, ...], awaits: str | None, running: bool
    ) -> None:
        self.chain, self.awaits, self.running = chain, awaits, running
        self.count = 0
        self.names: list[str] = []


class RawTasks(NamedTuple):
    """All tasks of a loop, the largest group first, the running task before all."""

    total: int
    groups: list[RawGroup]
    unread: int
    of_requests: dict[int, str]
    """The names of the tasks that handle requests, by the request's number."""


@walking
def all_tasks(
    loop: asyncio.AbstractEventLoop, max_frames: int, budget_s: float
) -> RawTasks:
    """The loop's tasks, read for at most `budget_s` seconds; what is left then is counted.

    Raises RuntimeError if the set of tasks never held still long enough to be copied.
    """
    tasks, current = all_of(loop), asyncio.current_task(loop)
    groups = Groups(max_frames)
    of_requests: dict[int, str] = {}
    read = 0
    for task in _in_time(tasks, budget_s):
        try:
            name, chain = name_of(task), await_chain(task, max_frames)
            groups.add(name, chain, task is current)
            read += 1
            if chain.number is not None:
                of_requests.setdefault(chain.number, name)
        except BaseException:  # it ended or moved while we looked, or it is a task of foreign make
            pass
    return RawTasks(len(tasks), groups.ordered(), len(tasks) - read, of_requests)


def all_of(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The loop's tasks. Raises RuntimeError if their set never holds still."""
    # all_tasks() retries on its own while the set changes, and gives up after 1,000 times.
    return list(asyncio.all_tasks(loop))


def _in_time(tasks: list[Any], budget_s: float) -> Iterator[Any]:
    deadline = monotonic() + budget_s
    for count, task in enumerate(tasks):
        if count % 64 == 0 and monotonic() > deadline:
            return
        yield task


def name_of(task: Any) -> str:
    """A task's name, cut."""
    return str(task.get_name())[:_NAME_CHARS]


class Groups:
    """Counts tasks with their like."""

    def __init__(self, max_frames: int) -> None:
        self._cut = shares(max_frames)[0] - 1
        self._groups: dict[tuple[Any, ...], RawGroup] = {}

    def add(self, name: str, chain: Chain, running: bool = False) -> None:
        """One more task."""
        awaits = None if running else _describe(chain.end)
        key = (running, awaits, chain.omitted,
               tuple((id(code), line) for code, line in chain.frames))
        group = self._groups.get(key)
        if group is None:
            frames = [RawFrame(code, line) for code, line in chain.frames]
            if chain.omitted:
                frames[self._cut] = frames[self._cut]._replace(omitted=chain.omitted)
            group = self._groups[key] = RawGroup(tuple(frames), awaits, running)
        group.count += 1
        if len(group.names) < _MAX_NAMES:
            group.names.append(name)

    def ordered(self) -> list[RawGroup]:
        """The largest first, the running task before all."""
        return sorted(
            self._groups.values(), key=lambda group: (not group.running, -group.count))


def _describe(awaited: Any) -> str | None:
    """What ends an await chain, in a few words and without its repr."""
    if not is_future(awaited):
        return None
    children = getattr(awaited, "_children", None)
    if children is not None:
        pending = sum(1 for child in children if not child.done())
        return f"gather of {len(children)}, {pending} pending"
    state = "done" if awaited.done() else "pending"
    return f"{type_name(type(awaited))} {state}"
