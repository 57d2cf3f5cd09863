"""The Python stacks of all threads. Runs in the monitor thread, takes no lock.

Everything here works on references that the garbage collector could otherwise free, while the
other threads go on: a frame is reduced to its code object and line at once, and no frame is
kept.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from functools import wraps
from inspect import CO_COROUTINE, CO_OPTIMIZED
from itertools import islice
from types import CodeType, FrameType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from watchdog_worker.capture import appcode
from watchdog_worker.capture.ends import both_ends, shares
from watchdog_worker.capture.saferepr import safe_locals
from watchdog_worker.ownthread import OwnThread

Given = ParamSpec("Given")
Seen = TypeVar("Seen")


_MAKES_FRAMES = sys.version_info[:2] == (3, 11)
_LOOKS_AT_LOCALS = frozenset(("locals", "vars", "dir", "eval", "exec", "f_locals"))


class RawFrame(NamedTuple):
    """A frame as it was seen: enough to make a `Frame` of later, without its source."""

    code: CodeType
    line: int
    locals: dict[str, str] | None = None
    omitted: int | None = None
    module: str | None = None
    calls: str | None = None


class RawStack(NamedTuple):
    """A stack, outermost frame first; `total` is its whole depth."""

    frames: tuple[RawFrame, ...]
    total: int


class RawThread(NamedTuple):
    """A thread as Python knows it."""

    id: int
    name: str
    native_id: int | None
    loop: bool
    stack: RawStack


def walking(look: Callable[Given, Seen]) -> Callable[Given, Seen]:
    """Decorates what walks over frames of threads that run.

    CPython 3.11 makes frame objects as they are asked for, which can start a garbage collection;
    what that calls in Python (callbacks, finalizers) can give up the GIL, the other thread goes on,
    and the frame under our feet is freed. 3.12 collects at safe points only, 3.10 has made its
    frames before. So on 3.11 the collector rests meanwhile.
    """
    if not _MAKES_FRAMES:
        return look

    @wraps(look)
    def without_collector(*args: Given.args, **kwargs: Given.kwargs) -> Seen:
        if not gc.isenabled():
            return look(*args, **kwargs)
        gc.disable()
        try:
            return look(*args, **kwargs)
        finally:
            gc.enable()

    return without_collector


def walk(frame: FrameType | None, max_frames: int, with_locals: bool = False) -> RawStack:
    """The stack that ends in `frame`; beyond `max_frames` it is cut in the middle.

    The application's innermost frame stays, however deep a library has gone on from there.
    """
    outer_size, inner_size = shares(max_frames)
    own: list[tuple[int, RawFrame]] = []

    def passing() -> Iterator[FrameType]:
        for depth, each in enumerate(outwards(frame)):
            if not own and appcode.is_application(each.f_code.co_filename):
                own.append((depth, _raw(each, with_locals)))
            yield each

    inner, outer, omitted = both_ends(passing(), inner_size, outer_size)
    frames = [_raw(each, with_locals) for each in reversed(outer)]
    if omitted and own and len(inner) <= own[0][0] < len(inner) + omitted:
        depth, kept = own[0]
        frames[-1] = frames[-1]._replace(omitted=(len(inner) + omitted - depth - 1) or None)
        frames.append(kept._replace(omitted=(depth - len(inner)) or None))
    elif omitted:
        frames[-1] = frames[-1]._replace(omitted=omitted)
    frames += [_raw(each, with_locals) for each in reversed(inner)]
    total = len(inner) + len(outer) + omitted
    return RawStack(tuple(frames), total)


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """This frame, its caller, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _raw(frame: FrameType, with_locals: bool) -> RawFrame:
    code, module = frame.f_code, dict.get(frame.f_globals, "__name__")
    shown = with_locals and appcode.is_application(code.co_filename)
    return RawFrame(
        code, frame.f_lineno or 0, safe_locals(frame) if shown else None,
        module=module if type(module) is str else None)


def variable(frame: FrameType, name: str, missing: Any = None) -> Any:
    """A function's local variable, read so that the application cannot notice.

    Before CPython 3.13 to read the variables is to bring the dict up to date that `locals()` gives:
    a function that has any use for it is left alone. So are class bodies and `exec`ed code, whose
    variables live in a mapping of their own.
    """
    code = frame.f_code
    if not code.co_flags & CO_OPTIMIZED:
        return missing
    if sys.version_info >= (3, 13):
        return frame.f_locals.get(name, missing)
    if not _LOOKS_AT_LOCALS.isdisjoint(code.co_names):
        return missing
    return frame.f_locals.get(name, missing)


@walking
def stack_of(thread_id: int, max_frames: int) -> RawStack | None:
    """One thread's stack alone."""
    frame = sys._current_frames().get(thread_id)
    return None if frame is None else walk(frame, max_frames)


@walking
def callback_of(loop_thread_id: int) -> int | None:
    """Which callback the loop is in: the identity of the outermost coroutine on its stack.

    Where it differs from one look to the next, the loop has moved on. Where a coroutine has
    ended, the next may get its identity, and the move is missed; none is ever made up. The
    current task would not do: an eager task (3.12) takes the place of the one that starts it.
    """
    found = None
    for frame in outwards(sys._current_frames().get(loop_thread_id)):
        if frame.f_code.co_flags & CO_COROUTINE:
            found = id(frame)
    return found


@walking
def all_threads(
    loop_thread_id: int, loop_native_id: int,
    max_threads: int, max_frames: int, with_locals: bool,
    only: Container[int] | None = None,
) -> tuple[list[RawThread], int]:
    """The threads, the loop's first, at most `max_threads`; and how many there are.

    Our own threads do not count. `only`: of these, by ident.
    """
    known = _known_threads()
    frames = {
        ident: frame for ident, frame in sys._current_frames().items()
        if not issubclass(type(known.get(ident)), OwnThread) and (only is None or ident in only)
    }
    order = sorted(frames, key=lambda ident: ident != loop_thread_id)
    threads = [
        RawThread(
            id=ident,
            name=_name(known.get(ident)),
            native_id=(loop_native_id if ident == loop_thread_id
                       else _native_id(known.get(ident))),
            loop=ident == loop_thread_id,
            stack=walk(frames[ident], max_frames, with_locals),
        )
        for ident in islice(order, max_threads)
    ]
    return threads, len(frames)


def _known_threads() -> dict[int, threading.Thread]:
    # Not threading.enumerate(): it takes a lock that the blocked thread may hold.
    return dict(threading._active)  # type: ignore[attr-defined]


def _name(thread: threading.Thread | None) -> str:
    try:
        return str(thread._name) if thread is not None else ""  # type: ignore[attr-defined]
    except Exception:  # a subclass may have made anything of it
        return ""


def _native_id(thread: threading.Thread | None) -> int | None:
    try:
        native_id = thread.native_id if thread is not None else None
    except Exception:
        return None
    return native_id if isinstance(native_id, int) else None


Place = tuple[tuple[int, int], ...]


def place(frames: Iterable[RawFrame]) -> Place:
    """What two stacks at the same place have in common; good while the frames are kept.

    By the identity of the code objects: hashing one goes over its whole bytecode.
    """
    return tuple((id(frame.code), frame.line) for frame in frames)
