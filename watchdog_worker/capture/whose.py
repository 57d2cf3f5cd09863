"""Which request a frame belongs to. Runs in the monitor thread."""

from __future__ import annotations

import sys
from types import FrameType

from watchdog_worker.capture.stacks import outwards, walking
from watchdog_worker.vitals import boundary, context


def number_in(frame: FrameType) -> int | None:
    """The number of the request that enters the application in this frame."""
    if frame.f_code is not boundary.CODE and frame.f_code is not context.CODE:
        return None
    number = frame.f_locals.get("number")
    return number if isinstance(number, int) else None


@walking
def running(loop_thread_id: int) -> int | None:
    """The number of the request whose code the loop thread is in."""
    for frame in outwards(sys._current_frames().get(loop_thread_id)):
        number = number_in(frame)
        if number is not None:
            return number
    return None
