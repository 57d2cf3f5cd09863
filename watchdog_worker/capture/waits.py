"""What the loop's thread waits for in Python's own terms: a lock and its holder, a thread, a
queue, a child process, the address of a name.

The kernel only sees that a thread sleeps on a futex. Runs in the monitor thread, on live frames;
takes no lock and calls no foreign code.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import thread as executors
from itertools import islice
from types import FrameType

from watchdog_worker.capture import locks
from watchdog_worker.capture.naming import called_by
from watchdog_worker.capture.process import child
from watchdog_worker.capture.saferepr import type_name
from watchdog_worker.capture.stacks import outwards, variable, walking
from watchdog_worker.capture.static import attribute, text

_REACH = 12
_MAX_NAME = 80
_LOCKS = ("threading.Lock.", "threading.RLock.", "multiprocessing.Lock.")


@walking
def waits_for(loop_thread_id: int) -> str | None:
    """What the loop's thread waits for; None where Python knows of nothing."""
    frames = sys._current_frames()
    # Not our own frame: it would hold itself, and with it all others, until gc comes by.
    frames.pop(threading.get_ident(), None)
    innermost = frames.get(loop_thread_id)
    if innermost is None:
        return None
    try:
        found = None
        for frame in _library_frames(innermost):
            told = _known(frame, frames)
            found = told or found  # the outermost: a queue's lock is no news
        return found or _lock(innermost, frames)
    finally:
        frames.clear()


def _library_frames(innermost: FrameType) -> Iterator[FrameType]:
    """The innermost frames, as far as they are of modules that are known here."""
    for frame in islice(outwards(innermost), _REACH):
        if _module(frame) in _MODULES:
            yield frame
        elif frame is not innermost:
            return


def _module(frame: FrameType) -> str:
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _known(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    tell = _TOLD.get((_module(frame), frame.f_code.co_name))
    try:
        return tell(frame, frames) if tell is not None else None
    except Exception:  # foreign objects can be of any make
        return None


def _of(kind: str) -> Callable[[FrameType, dict[int, FrameType]], str | None]:
    def tell(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
        return kind.format(type_name(type(variable(frame, "self"))))
    return tell


def _thread(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    thread = variable(frame, "self")
    name = text(thread, "_name")
    return f"the end of thread {name[:_MAX_NAME]}" if name else "the end of a thread"


def _future(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    """A future; which thread works for it, or that none ever will."""
    future = variable(frame, "self")
    for ident, innermost in frames.items():
        for each in islice(outwards(innermost), 60):
            if each.f_code.co_name == "run" and _module(each) == executors.__name__:
                if attribute(variable(each, "self"), "future") is future:
                    return _thread_named(ident, "a future that is worked on by ")
    return "a future"


def _thread_named(ident: int, opening: str) -> str | None:
    known = threading._active.get(ident)  # type: ignore[attr-defined]
    name = text(known, "_name")
    return f"{opening}thread {name[:_MAX_NAME]}" if name else None


def _child(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    pid = attribute(variable(frame, "self"), "pid")
    return child(pid) if type(pid) is int else None


def _name_looked_up(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    host = variable(frame, "host")
    host = host.decode("ascii", "backslashreplace") if type(host) is bytes else host
    return f"the address of {host[:200]}" if type(host) is str else None


def _import_lock(frame: FrameType, frames: dict[int, FrameType]) -> str | None:
    lock = variable(frame, "self")
    name, owner = text(lock, "name"), attribute(lock, "owner")
    holder = type(owner) is int and _thread_named(owner, ", which is being imported by ") or ""
    return f"module {name[:_MAX_NAME]}{holder}" if name else None


def _lock(innermost: FrameType, frames: dict[int, FrameType]) -> str | None:
    called = called_by(innermost)
    if called is None or not called.name.startswith(_LOCKS):
        if called is not None and called.name == "queue.SimpleQueue.get":
            return "an item of queue.SimpleQueue"
        return None
    holder = locks.holder_of(called.receiver, frames)
    kind = called.name.rpartition(".")[0]
    if holder is None:
        return f"a {kind}"
    code, line = holder.code, holder.line
    if code is None:  # an RLock has told its owner, and not where that stands
        own = locks.standing(frames.get(holder.thread))
        code, line = (own.f_code, own.f_lineno or 0) if own is not None else (None, 0)
    where = "" if code is None else (
        f", which stands at {code.co_filename}:{line} in {code.co_name}")
    if threading.main_thread().ident == holder.thread and frames.get(holder.thread) is innermost:
        return f"a {kind} held by this very thread{where}"
    return (_thread_named(holder.thread, f"a {kind} held by ") or f"a {kind}") + where


_TOLD: dict[tuple[str, str], Callable[[FrameType, dict[int, FrameType]], str | None]] = {
    ("threading", "join"): _thread,
    ("threading", "_wait_for_tstate_lock"): _thread,
    ("threading", "wait"): _of("a {}"),
    ("threading", "wait_for"): _of("a {}"),
    ("threading", "acquire"): _of("a {}"),
    ("queue", "get"): _of("an item of {}"),
    ("queue", "put"): _of("room in {}"),
    ("queue", "join"): _of("the tasks of {}"),
    ("concurrent.futures._base", "result"): _future,
    ("concurrent.futures._base", "exception"): _future,
    ("concurrent.futures._base", "wait"): lambda frame, frames: "futures",
    ("concurrent.futures._base", "as_completed"): lambda frame, frames: "futures",
    ("subprocess", "wait"): _child,
    ("subprocess", "_wait"): _child,
    ("subprocess", "communicate"): _child,
    ("subprocess", "_communicate"): _child,
    ("multiprocessing.popen_fork", "poll"): _child,
    ("multiprocessing.popen_fork", "wait"): _child,
    ("socket", "getaddrinfo"): _name_looked_up,
    ("importlib._bootstrap", "acquire"): _import_lock,
    ("sqlalchemy.pool.impl", "_do_get"): lambda frame, frames: (
        "a free connection of SQLAlchemy's pool"),
}
_MODULES = {module for module, _ in _TOLD} | {"sqlalchemy.util.queue", "selectors", "_queue"}
