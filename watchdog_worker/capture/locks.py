"""Who holds the lock that the loop's thread waits for. Runs in the monitor thread.

An RLock says it itself. A plain lock knows no owner: it is found by the code that stands inside
its `with` block, or after its `acquire()`, in some thread; the names in that code are looked up in
the live frame and must lead to the very same lock.
"""

from __future__ import annotations

import dis
import re
import threading
from collections.abc import Iterator
from functools import lru_cache
from time import monotonic
from types import CodeType, FrameType
from typing import Any, NamedTuple

from watchdog_worker.capture import appcode
from watchdog_worker.capture.callee import Chain, called_at
from watchdog_worker.capture.naming import value_of
from watchdog_worker.capture.stacks import outwards, variable
from watchdog_worker.capture.static import attribute

_OWNER = re.compile(r"\bowner=(\d+)")
_SEARCH_S = 0.05
_MAX_CODE = 16384
_MAX_DEPTH = 50
_RLOCK = type(threading.RLock())
_CONDITION_WAIT = threading.Condition.wait.__code__


class Holder(NamedTuple):
    """Where a lock is held."""

    thread: int
    """By its ident."""
    code: CodeType | None = None
    line: int = 0
    """The line at which the holder stands now."""


class _Held(NamedTuple):
    """A stretch of a function in which it holds a lock."""

    lock: Chain
    begin: int
    end: int


def holder_of(lock: Any, frames: dict[int, FrameType]) -> Holder | None:
    """The thread that holds this lock, of those whose innermost frames are given; None: unknown.

    Looks through the application's frames for so long as the time allows. Where several seem to
    hold it, none is named.
    """
    if type(lock) is _RLOCK:
        owner = _OWNER.search(repr(lock))
        return Holder(int(owner.group(1))) if owner and owner.group(1) != "0" else None
    deadline, found = monotonic() + _SEARCH_S, list[Holder]()
    for ident, frame in _app_frames(frames):
        if monotonic() > deadline:
            return None
        if any(each.begin <= frame.f_lasti < each.end and _lock_of(_value(frame, each.lock)) is lock
               for each in _held_in(frame.f_code)):
            if not _gave_it_up(lock, frames[ident], frame):
                found.append(Holder(ident, frame.f_code, frame.f_lineno or 0))
    return found[0] if len({each.thread for each in found}) == 1 else None


def _lock_of(value: Any) -> Any:
    """A Condition is entered by its lock."""
    return attribute(value, "_lock") if type(value) is threading.Condition else value


def _gave_it_up(lock: Any, innermost: FrameType, frame: FrameType) -> bool:
    """The thread waits for a Condition with this lock: it has it not, until it is woken."""
    for each in outwards(innermost):
        if each is frame:
            return False
        if each.f_code is _CONDITION_WAIT and _lock_of(variable(each, "self")) is lock:
            return True
    return False


def standing(innermost: FrameType | None) -> FrameType | None:
    """The application's innermost frame in a thread."""
    frames = {0: innermost} if innermost is not None else {}
    return next((frame for _, frame in _app_frames(frames)), None)


def _app_frames(frames: dict[int, FrameType]) -> Iterator[tuple[int, FrameType]]:
    for ident, innermost in frames.items():
        for depth, frame in enumerate(outwards(innermost)):
            if depth > _MAX_DEPTH:
                break
            if appcode.is_application(frame.f_code.co_filename):
                yield ident, frame


def _value(frame: FrameType, chain: Chain) -> Any:
    try:
        return value_of(frame, chain)
    except Exception:  # foreign objects can be of any make
        return None


@lru_cache(maxsize=64)
def _held_in(code: CodeType) -> tuple[_Held, ...]:
    """Where this function holds which lock, by its bytecode.

    What is acquired in one function and released in another is not followed.
    """
    if len(code.co_code) > _MAX_CODE:
        return ()
    instructions = list(dis.get_instructions(code))
    calls = [(at, each) for at, each in enumerate(instructions)
             if each.opname.startswith("CALL") and _asks(instructions, at)]
    found = []
    for begin, end, at in _with_blocks(code, instructions):
        chain = called_at(instructions, at)
        if chain:
            found.append(_Held(chain[:-1], begin, end))
    chains = [(each.offset, called_at(instructions, at)) for at, each in calls]
    for offset, chain in chains:
        if chain and chain[-1] == "acquire":
            release = next((later for later, other in chains
                            if later > offset and other == (*chain[:-1], "release")), None)
            if release is not None:
                found.append(_Held(chain[:-1], offset + 2, release))
    return tuple(found)


def _asks(instructions: list[dis.Instruction], at: int) -> bool:
    """Whether this call may be one of `acquire()` or `release()`: their name comes right before."""
    return any(each.argval in ("acquire", "release") for each in instructions[max(0, at - 4):at])


def _with_blocks(
    code: CodeType, instructions: list[dis.Instruction]
) -> Iterator[tuple[int, int, int]]:
    """Where each `with` block begins and ends, and which instruction enters it."""
    parse: Any = getattr(dis, "_parse_exception_table", None)  # since 3.11
    table = parse(code) if parse is not None else []
    for at, each in enumerate(instructions):
        if each.opname == "SETUP_WITH":
            yield each.offset + 2, each.argval, at
        elif each.opname == "BEFORE_WITH":
            first = next((entry for entry in table if entry.start == each.offset + 2), None)
            if first is not None:
                yield each.offset + 2, max(
                    entry.end for entry in table if entry.target == first.target), at
