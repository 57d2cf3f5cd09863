"""All tasks of the loop with their await chains, grouped by where they wait.

Runs in the monitor thread while the loop may go on: the set of tasks can change under our
hands, and a coroutine can move between two looks at it. Each task is read on its own and one
that cannot be read is counted and left out.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from time import monotonic
from types import CodeType
from typing import Any, NamedTuple

from watchdog_worker.capture.ends import both_ends, shares
from watchdog_worker.capture.requests import number_in
from watchdog_worker.capture.saferepr import type_name
from watchdog_worker.capture.stacks import RawFrame

_MAX_NAMES = 5
_NAME_CHARS = 100
# What stands between an `await` and the object it drives; each of these names that object to
# the garbage collector only.
_DRIVERS = {"async_generator_asend", "async_generator_athrow", "anext_awaitable",
            "coroutine_wrapper", "FutureIter"}


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


def all_tasks(
    loop: asyncio.AbstractEventLoop, max_frames: int, budget_s: float
) -> RawTasks:
    """The loop's tasks, read for at most `budget_s` seconds; what is left then is counted.

    Raises RuntimeError if the set of tasks never held still long enough to be copied.
    """
    # all_tasks() retries on its own while the set changes, and gives up after 1,000 times.
    tasks = list(asyncio.all_tasks(loop))
    current = asyncio.current_task(loop)
    deadline = monotonic() + budget_s
    groups: dict[tuple[Any, ...], RawGroup] = {}
    of_requests: dict[int, str] = {}
    unread = 0
    for count, task in enumerate(tasks):
        if count % 64 == 0 and monotonic() > deadline:
            unread += len(tasks) - count
            break
        try:
            name = str(task.get_name())[:_NAME_CHARS]
            for number in _add(task, name, task is current, max_frames, groups):
                of_requests.setdefault(number, name)
        except BaseException:  # it ended or moved while we looked, or it is a task of foreign make
            unread += 1
    ordered = sorted(groups.values(), key=lambda group: (not group.running, -group.count))
    return RawTasks(len(tasks), ordered, unread, of_requests)


def _add(
    task: Any, name: str, running: bool, max_frames: int, groups: dict[Any, RawGroup]
) -> list[int]:
    """Count the task with its like; the numbers of the requests that it handles."""
    numbers: list[int] = []
    chain, omitted, awaited = await_chain(task, max_frames, numbers)
    awaits = None if running else _describe(awaited)
    key = (running, awaits, omitted, tuple((id(code), line) for code, line in chain))
    group = groups.get(key)
    if group is None:
        frames = [RawFrame(code, line) for code, line in chain]
        if omitted:
            cut = shares(max_frames)[0] - 1
            frames[cut] = frames[cut]._replace(omitted=omitted)
        group = groups[key] = RawGroup(tuple(frames), awaits, running)
    group.count += 1
    if len(group.names) < _MAX_NAMES:
        group.names.append(name)
    return numbers


def await_chain(
    task: Any, max_frames: int, numbers: list[int]
) -> tuple[list[tuple[CodeType, int]], int, Any]:
    """A task's await chain: (code, line) pairs, outermost first; what is cut; what ends it.

    Goes through coroutines, generators, asynchronous generators and the objects that drive
    them, on into tasks that are awaited, and through `gather` into its first pending child.
    Beyond `max_frames` it is cut in the middle, and how many frames that are comes second. The
    `numbers` of requests whose boundary it passes are added.
    """
    last_link: list[Any] = [None]
    links = _chain(task.get_coro(), last_link, numbers)
    outer, inner, omitted = both_ends(links, *shares(max_frames))
    return outer + inner, omitted, last_link[0]


def _chain(
    link: Any, last_link: list[Any], numbers: list[int]
) -> Iterator[tuple[CodeType, int]]:
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frame = _frame(link)
        if frame is not None:
            number = number_in(frame)
            if number is not None:
                numbers.append(number)
            yield frame.f_code, frame.f_lineno or 0
        last_link[0], link = link, _next(link)


def _frame(link: Any) -> Any:
    return _first_of(link, ("cr_frame", "ag_frame", "gi_frame"))


def _next(link: Any) -> Any:
    """What `link` waits for, None at the end of the chain."""
    if _is_future(link):
        return _behind_future(link)
    awaited = _first_of(link, ("cr_await", "ag_await", "gi_yieldfrom"))
    if awaited is not None:
        return awaited
    return next(_driven(link), None) if type(link).__name__ in _DRIVERS else None


def _first_of(link: Any, attributes: tuple[str, ...]) -> Any:
    # Asked of the type first: an instance's __getattr__ may be foreign code.
    for attribute in attributes:
        if hasattr(type(link), attribute):
            return getattr(link, attribute)
    return None


def _is_future(link: Any) -> bool:
    return issubclass(type(link), asyncio.Future)


def _driven(link: Any) -> Iterator[Any]:
    for referent in gc.get_referents(link):
        kind = type(referent)
        if kind.__name__ in _DRIVERS or _frame(referent) is not None or _is_future(referent):
            yield referent


def _behind_future(future: Any) -> Any:
    if issubclass(type(future), asyncio.Task):
        return future.get_coro()
    for child in getattr(future, "_children", ()):  # gather's future
        if not child.done():
            return child
    return None


def _describe(awaited: Any) -> str | None:
    """What ends an await chain, in a few words and without its repr."""
    if not _is_future(awaited):
        return None
    children = getattr(awaited, "_children", None)
    if children is not None:
        pending = sum(1 for child in children if not child.done())
        return f"gather of {len(children)}, {pending} pending"
    state = "done" if awaited.done() else "pending"
    return f"{type_name(type(awaited))} {state}"
