"""The await chain of one task: what it waits for, link by link.

Runs in the monitor thread while the loop may go on: a coroutine can move between two looks at
it. Whatever is raised here says only that this task could not be read.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import tasks as asyncio_tasks
from collections.abc import Iterator
from types import CellType, CodeType
from typing import Any, NamedTuple

from watchdog_worker.capture import whose
from watchdog_worker.capture.ends import both_ends, shares

_OUTER_END = 8
_ASYNCIO_TASKS = asyncio_tasks.gather.__code__.co_filename
_WAIT_FOR = asyncio_tasks.wait_for.__code__
# What stands between an `await` and the object it drives; each of these names that object to
# the garbage collector only.
_DRIVERS = {"async_generator_asend", "async_generator_athrow", "anext_awaitable",
            "coroutine_wrapper", "FutureIter"}


class Chain(NamedTuple):
    """What a task waits for."""

    frames: list[tuple[CodeType, int]]
    """(code, line), outermost first."""
    omitted: int
    """How many frames are cut out in the middle."""
    links: list[Any]
    """The coroutines, and what ends the chain: what everything before waits for."""
    number: int | None
    """The request whose boundary it passes."""

    @property
    def end(self) -> Any:
        """What ends it."""
        return self.links[-1] if self.links else None


def await_chain(task: Any, max_frames: int) -> Chain:
    """A task's await chain.

    Goes through coroutines, generators, asynchronous generators and the objects that drive
    them, on into tasks that are awaited, through `wait_for` and `shield`, and through `gather`
    into its first pending child. Beyond `max_frames` it is cut in the middle.
    """
    links: list[Any] = []
    numbers: list[int] = []
    frames = _frames(task.get_coro(), links, numbers)
    outer, inner, omitted = both_ends(frames, *shares(max_frames))
    return Chain(outer + inner, omitted, links, numbers[0] if numbers else None)


def number_of(task: Any) -> int | None:
    """The number of the request that is the task's own; a short look at its outer end."""
    link = task.get_coro()
    for _ in range(_OUTER_END):
        frame = frame_of(link) if link is not None else None
        if frame is None:
            return None
        number = whose.number_in(frame)
        if number is not None:
            return number
        link = _next(link, frame)
    return None


def held_by(link: Any) -> Iterator[Any]:
    """What a suspended coroutine has in its variables and on its stack."""
    # CPython 3.10 shows it at the frame only.
    for held in (*gc.get_referents(link), *gc.get_referents(frame_of(link))):
        yield held
        if type(held) is CellType:  # a variable that an inner function uses too
            yield from gc.get_referents(held)


def joined_by(links: list[Any]) -> Iterator[Any]:
    """The tasks whose end these coroutines wait for: those of a task group, or of `wait`.

    A task that a coroutine has only started is not among them: it is waited for by nobody.
    """
    for link in links:
        frame = frame_of(link)
        if frame is None:
            continue
        function, file = frame.f_code.co_name, frame.f_code.co_filename
        if function == "__aexit__" and ("asyncio" in file or "anyio" in file):
            yield from _tasks_in(frame.f_locals.get("self"))
        elif function == "call_next" and "starlette" in file:
            yield from _tasks_in(frame.f_locals.get("task_group"))
        elif function == "_wait" and file == _ASYNCIO_TASKS:
            yield from list(frame.f_locals.get("fs", ()))


def grouped_by(links: list[Any]) -> Iterator[Any]:
    """The tasks in the task groups that these coroutines have opened, waiting or not."""
    for link in links:
        for held in held_by(link):
            yield from _tasks_in(held)


def _tasks_in(group: Any) -> list[Any]:
    ours = type(group).__name__ == "TaskGroup" and (
        type(group).__module__.partition(".")[0] in ("asyncio", "anyio"))
    return list(getattr(group, "_tasks", ())) if ours else []


def _frames(
    link: Any, links: list[Any], numbers: list[int]
) -> Iterator[tuple[CodeType, int]]:
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frame = frame_of(link)
        if frame is not None:
            number = whose.number_in(frame)
            if number is not None:
                numbers.append(number)
            yield frame.f_code, frame.f_lineno or 0
        links.append(link)
        link = _next(link, frame)


def frame_of(link: Any) -> Any:
    """The frame of a coroutine or generator, None of everything else."""
    return _first_of(link, ("cr_frame", "ag_frame", "gi_frame"))


def _next(link: Any, frame: Any) -> Any:
    """What `link`, whose frame this is, waits for; None at the end of the chain."""
    if is_future(link):
        return _behind_future(link)
    awaited = _first_of(link, ("cr_await", "ag_await", "gi_yieldfrom"))
    if awaited is not None:
        if frame is not None and frame.f_code is _WAIT_FOR:
            # Before CPython 3.12 it awaits a future of its own instead.
            return frame.f_locals.get("fut", awaited)
        return awaited
    return next(_driven(link), None) if type(link).__name__ in _DRIVERS else None


def _first_of(link: Any, attributes: tuple[str, ...]) -> Any:
    # Asked of the type first: an instance's __getattr__ may be foreign code.
    for attribute in attributes:
        if hasattr(type(link), attribute):
            return getattr(link, attribute)
    return None


def is_future(link: Any) -> bool:
    """Whether it is one of asyncio's, by its type alone."""
    return issubclass(type(link), asyncio.Future)


def _driven(link: Any) -> Iterator[Any]:
    for referent in gc.get_referents(link):
        kind = type(referent)
        if kind.__name__ in _DRIVERS or frame_of(referent) is not None or is_future(referent):
            yield referent


def _behind_future(future: Any) -> Any:
    if issubclass(type(future), asyncio.Task):
        return future.get_coro()
    for child in getattr(future, "_children", ()):  # gather's future
        if not child.done():
            return child
    for cell in closures(future, "_outer_done_callback"):  # shield's
        if is_future(cell) and cell is not future:
            return cell
    return None


def closures(future: Any, function: str) -> Iterator[Any]:
    """What the done callbacks of this name have closed over."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__name__", None) == function:
            for cell in getattr(callback, "__closure__", None) or ():
                yield from gc.get_referents(cell)  # a cell may be empty
