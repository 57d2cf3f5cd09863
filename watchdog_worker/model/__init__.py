"""The values that travel from capture to the sinks, and their plain form.

Every stage of the pipe hands one frozen value to the next. `to_plain` turns a value into what
`json.dumps` takes; the result is the report of schema 1, so field names here are public.
Times are in seconds, sizes in bytes. A key that does not apply is absent: `None` and empty
collections are left out.

The values are named tuples: as frozen and slotted as a data class, made in a fifth of the time,
and their classes cost a fifth at import.
"""

from __future__ import annotations

from watchdog_worker.model.account import (
    SCHEMA,
    ContextLeak,
    Death,
    Diagnosis,
    Report,
    Stall,
)
from watchdog_worker.model.life import Connection, Progress, Stage, Waiting
from watchdog_worker.model.picture import (
    Effort,
    Frame,
    KernelWait,
    LoopLag,
    Process,
    Profile,
    Request,
    SampledStack,
    Snapshot,
    TaskGroup,
    Tasks,
    ThreadPool,
    ThreadStack,
    innermost_app,
)

__all__ = [
    "Connection",
    "ContextLeak",
    "Death",
    "Diagnosis",
    "Effort",
    "Frame",
    "KernelWait",
    "LoopLag",
    "Process",
    "Profile",
    "Progress",
    "Report",
    "Request",
    "SCHEMA",
    "SampledStack",
    "Snapshot",
    "Stage",
    "Stall",
    "TaskGroup",
    "Tasks",
    "ThreadPool",
    "ThreadStack",
    "Waiting",
    "innermost_app",
]
