"""Which request a frame, a stack or a task belongs to. Runs in the monitor thread.

By the frame of the boundary where there is one; else by the mark in the task's context, which a
task has from the request that started it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextvars import Context
from types import FrameType
from typing import Any

from watchdog_worker.vitals import boundary
from watchdog_worker.vitals.context import MARK


def number_in(frame: FrameType) -> int | None:
    """The number of the request whose boundary this frame is."""
    if frame.f_code is not boundary.CODE:
        return None
    number = frame.f_locals.get("number")
    return number if isinstance(number, int) else None


def marked(task: Any) -> int | None:
    """The number of the request in whose context the task runs."""
    context = _context(task)
    return context.get(MARK) if context is not None else None


def _context(task: Any) -> Context | None:
    if hasattr(type(task), "get_context"):  # CPython 3.12
        context: Context = task.get_context()
        return context
    return next((each for each in gc.get_referents(task) if type(each) is Context), None)


def running(
    loop: asyncio.AbstractEventLoop | None, loop_thread_id: int
) -> int | None:
    """The number of the request whose code the loop is in."""
    frame = sys._current_frames().get(loop_thread_id)
    while frame is not None:
        number = number_in(frame)
        if number is not None:
            return number
        frame = frame.f_back
    task = asyncio.current_task(loop) if loop is not None else None
    return marked(task) if task is not None else None
