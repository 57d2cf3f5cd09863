"""Who holds the lock that the loop's thread waits for. Runs in the monitor thread.

An RLock says it itself. A plain lock knows no owner: it is found by the code that stands inside
its `with` block, or after its `acquire()`, in some thread; the names in that code are looked up in
the live frame and must lead to the very same lock.
"""

from __future__ import annotations

import dis
import re
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from time import monotonic
from types import CodeType, FrameType
from typing import Any, NamedTuple

from watchdog_worker.capture import appcode
from watchdog_worker.capture.callee import Chain, callee
from watchdog_worker.capture.naming import value_of
from watchdog_worker.capture.stacks import outwards

_OWNER = re.compile(r"\bowner=(\d+)")
_SEARCH_S = 0.05
_MAX_CODE = 16384
_MAX_DEPTH = 50
_RLOCK = type(threading.RLock())


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

    Looks through the application's frames for so long as the time allows.
    """
    if type(lock) is _RLOCK:
        owner = _OWNER.search(repr(lock))
        return Holder(int(owner.group(1))) if owner and owner.group(1) != "0" else None
    deadline = monotonic() + _SEARCH_S
    for ident, frame in _app_frames(frames):
        if monotonic() > deadline:
            return None
        for held in _held_in(frame.f_code):
            if held.begin <= frame.f_lasti < held.end and _value(frame, held.lock) is lock:
                return Holder(ident, frame.f_code, frame.f_lineno or 0)
    return None


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


@lru_cache(maxsize=512)
def _held_in(code: CodeType) -> tuple[_Held, ...]:
    """Where this function holds which lock, by its bytecode."""
    if len(code.co_code) > _MAX_CODE:
        return ()
    found, instructions = [], list(dis.get_instructions(code))
    blocks = dict(_with_blocks(code, instructions))
    for each in instructions:
        begin = each.offset + 2
        if each.offset in blocks:
            chain = callee(code, each.offset)
            if chain:
                found.append(_Held(chain[:-1], begin, blocks[each.offset]))
        elif each.opname.startswith("CALL") and not each.arg:
            chain = callee(code, each.offset)
            if chain and chain[-1] == "acquire":
                found.append(_Held(
                    chain[:-1], begin, _released(code, instructions, chain[:-1], begin)))
    return tuple(found)


def _with_blocks(
    code: CodeType, instructions: Iterable[dis.Instruction]
) -> Iterator[tuple[int, int]]:
    """Where a `with` block is entered, and where it ends."""
    parse: Any = getattr(dis, "_parse_exception_table", None)  # since 3.11
    table = parse(code) if parse is not None else []
    for each in instructions:
        if each.opname == "SETUP_WITH":
            yield each.offset, each.argval
        elif each.opname == "BEFORE_WITH":
            first = next((entry for entry in table if entry.start == each.offset + 2), None)
            if first is not None:
                yield each.offset, max(
                    entry.end for entry in table if entry.target == first.target)


def _released(
    code: CodeType, instructions: Iterable[dis.Instruction], lock: Chain, begin: int
) -> int:
    """Where the lock that is acquired before `begin` is released, by what stands in the code."""
    for each in instructions:
        if each.offset >= begin and each.opname.startswith("CALL"):
            if callee(code, each.offset) == (*lock, "release"):
                return each.offset
    return len(code.co_code)
