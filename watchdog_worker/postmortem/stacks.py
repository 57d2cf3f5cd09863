"""The stacks that faulthandler wrote, as the report shows them.

A path in them may be any: only regular files of source are read for a line of it. Runs in the
reporter.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import NamedTuple

from watchdog_worker.capture.appcode import is_application
from watchdog_worker.capture.ends import both_ends, shares
from watchdog_worker.capture.sources import source_line
from watchdog_worker.model import Frame, ThreadStack
from watchdog_worker.postmortem.caps import Caps
from watchdog_worker.postmortem.rawtext import RawDump, RawFrame, RawThread, parsed

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BOUNDARY = os.path.join(_PACKAGE, "vitals", "boundary.py")
_SOURCE_MOST = 2 * 2 ** 20
_CRASHED = "that crashed"
_DEEPEST = 100
"""So many frames of a stack are written, the innermost."""


class Stacks(NamedTuple):
    """What was written, read."""

    threads: tuple[ThreadStack, ...] = ()
    """The loop's first, as it was seen last; of the dump that has most of them."""
    total: int = 0
    crashed: ThreadStack | None = None
    """The thread that got the fatal signal."""
    in_request: bool = False
    """The loop's thread stood in a request, and not in a task of the application's own."""
    timer_wrote: bool = False
    """faulthandler's timer came to write, which needs no GIL."""
    loop_as_told: bool = False
    """The text ends before the loop's stack does; that is as a report had it."""


def read(raw: str, loop_thread: int, caps: Caps) -> Stacks:
    """The stacks in this text. `loop_thread`: its ident."""
    dumps = [_identified(dump, loop_thread) for dump in parsed(raw)]
    if not dumps:
        return Stacks()
    most = max(reversed(dumps), key=lambda dump: len(dump.threads))
    fatal = next((dump for dump in reversed(dumps) if dump.fatal is not None), None)
    current = fatal.current if fatal is not None else None
    own = next((thread for dump in reversed(dumps)
                if (thread := dump.thread(loop_thread)) is not None), None)
    others = [thread for thread in most.threads
              if thread.ident != loop_thread and not _is_ours(thread)]
    if current is not None and current.ident != loop_thread:
        others = [current, *(each for each in others if each.ident != current.ident)]
    chosen = [*([own] if own is not None else []), *others]
    return Stacks(
        threads=tuple(_thread(each, loop_thread, caps) for each in chosen[:caps.threads]),
        total=len(chosen),
        crashed=_thread(current, loop_thread, caps) if current is not None else None,
        in_request=own is not None and any(
            frame.file == _BOUNDARY and frame.function == "__call__" for frame in own.frames),
        timer_wrote=any(dump.fatal is None for dump in dumps),
    )


def completed(found: Stacks, told: ThreadStack | None, caps: Caps) -> Stacks:
    """With the loop's thread as it was told before, where the text was cut before or in its stack:
    it is written last, and SIGKILL may follow within milliseconds."""
    if not found.threads or told is None or not told.frames:
        return found
    own = next((thread for thread in found.threads if thread.loop), None)
    if own is not None and _is_whole(own, told):
        return found
    others = [thread for thread in found.threads if not thread.loop]
    return found._replace(
        threads=(told, *others[:caps.threads - 1]), total=found.total + (own is None),
        in_request=False, loop_as_told=True)


def _is_whole(own: ThreadStack, told: ThreadStack) -> bool:
    """It begins where the same thread's stack began before."""
    depth = own.frames_total or len(own.frames)
    began, begins = told.frames[0], own.frames[0]
    return depth >= _DEEPEST or (begins.file, begins.function) == (began.file, began.function)


def _identified(dump: RawDump, loop_thread: int) -> RawDump:
    """A dump of one thread alone does not say which: all but the loop's begin in `threading`."""
    return dump._replace(threads=tuple(
        thread._replace(ident=loop_thread)
        if not thread.ident and thread.frames[0].function != "_bootstrap" else thread
        for thread in dump.threads))


def _is_ours(thread: RawThread) -> bool:
    """A thread of the watchdog, as a picture of a living process leaves it out."""
    return not thread.current and any(
        frame.function == "run" and frame.file.startswith(_PACKAGE) for frame in thread.frames)


def _thread(thread: RawThread, loop_thread: int, caps: Caps) -> ThreadStack:
    loop = thread.ident == loop_thread
    name = "MainThread" if loop else _CRASHED if thread.current else ""
    cut = len(thread.frames) > caps.frames
    return ThreadStack(
        id=thread.ident, name=name, loop=loop, frames=tuple(_frames(thread.frames, caps.frames)),
        frames_total=len(thread.frames) if cut else None)


def _frames(frames: tuple[RawFrame, ...], most: int) -> Iterator[Frame]:
    outer, inner, omitted = both_ends(frames, *shares(most))
    for at, raw in enumerate((*outer, *inner)):
        yield Frame(
            file=raw.file, line=raw.line, function=raw.function,
            code=_source(raw.file, raw.line) or None,
            app=is_application(raw.file) or None, module=_module(raw.file),
            omitted=omitted or None if at == len(outer) - 1 else None)


def _source(file: str, line: int) -> str:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return ""
    plain = stat.S_ISREG(status.st_mode) and status.st_size <= _SOURCE_MOST
    return source_line(file, line) if plain and file.endswith(".py") else ""


def _module(file: str) -> str | None:
    """Its name, as an import from the longest fitting entry of the path would have it."""
    roots = [folder.rstrip("/") + "/" for folder in sys.path if folder]
    root = max((each for each in roots if file.startswith(each)), key=len, default="")
    if not root or not file.endswith(".py"):
        return None
    name = file[len(root):-len(".py")].replace("/", ".")
    return name.removesuffix(".__init__")
