"""A loop that the main thread runs by itself, while the server's does not run. Monitor thread.

`asyncio.run` at import or in a hook: its thread waits in a selector then, and the line that counts
is its task's. uvloop's own `run_until_complete` leaves no frame to see it by; its `run` does.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events, runners
from typing import Any, NamedTuple

from watchdog_worker.capture.stacks import outwards, variable, walking

_RUNS = {base_events.BaseEventLoop.run_until_complete.__code__: "future"}
"""Which variable has the task in what runs a loop."""
if hasattr(runners, "Runner"):  # CPython 3.11
    _RUNS[runners.Runner.run.__code__] = "task"


class OwnLoop(NamedTuple):
    """The loop, and the task that it runs for."""

    loop: asyncio.AbstractEventLoop
    task: Any


@walking
def run_by(thread_id: int) -> OwnLoop | None:
    """The loop that this thread runs; None where there is none to be seen."""
    for frame in outwards(sys._current_frames().get(thread_id)):
        name = _RUNS.get(frame.f_code)
        if name is not None:
            owner, task = variable(frame, "self"), variable(frame, name)
            loop = getattr(owner, "_loop", owner)
            if isinstance(loop, asyncio.AbstractEventLoop) and isinstance(task, asyncio.Task):
                return OwnLoop(loop, task)
    return None


def lifespan_of(loop: asyncio.AbstractEventLoop, main: Any) -> OwnLoop | None:
    """The task of the server's lifespan: the one that runs `main`, a coroutine function.

    Raises RuntimeError if the loop's set of tasks never held still.
    """
    code = getattr(main, "__code__", None)
    for task in list(asyncio.all_tasks(loop)):
        if code is not None and getattr(task.get_coro(), "cr_code", None) is code:
            return OwnLoop(loop, task)
    return None
