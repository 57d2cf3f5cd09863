"""Puts a Report together: what happened, in one value. Pure but for the clock's time of day."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from typing import NamedTuple

from watchdog_worker.model import Diagnosis, Frame, Report, Snapshot, Stall

STALL, STALL_ENDED, PRE_KILL, ON_DEMAND = "stall", "stall_ended", "pre_kill", "on_demand"

LEVELS = {
    STALL: logging.WARNING,
    STALL_ENDED: logging.WARNING,
    PRE_KILL: logging.CRITICAL,
    ON_DEMAND: logging.INFO,
}
"""The log level of every event."""


class Identity(NamedTuple):
    """Which worker reports."""

    pid: int
    worker_age: int
    app: str


def assemble(
    event: str,
    identity: Identity,
    snapshot: Snapshot,
    stall: Stall | None = None,
    diagnosis: Diagnosis | None = None,
    now: datetime | None = None,
) -> Report:
    """The report of `event`; `now` defaults to the time of day."""
    moment = now or datetime.now(timezone.utc)
    return Report(
        event=event,
        severity=logging.getLevelName(LEVELS[event]).lower(),
        time=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        pid=identity.pid,
        worker_age=identity.worker_age,
        app=identity.app,
        headline=headline(event, snapshot, stall, diagnosis),
        snapshot=snapshot,
        stall=stall,
        diagnosis=diagnosis,
    )


def headline(
    event: str, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None
) -> str:
    """One line that a person can act on."""
    if event == STALL_ENDED and stall is not None:
        return f"watchdog loop free again after {stall.blocked_s:.1f} s{_was_blocked(snapshot)}"
    if event == ON_DEMAND and stall is None:
        return f"watchdog stacks on demand: loop healthy{_counts(snapshot)}"
    opening = "watchdog stacks on demand: loop" if event == ON_DEMAND else "watchdog loop"
    parts = [f"{opening} blocked"]
    if stall is not None:
        parts[0] += f" {stall.blocked_s:.1f} s"
    parts.append(_where(diagnosis))
    if stall is not None and stall.phase != "serving":
        parts.append(f"during {stall.phase}")
    line = " ".join(part for part in parts if part)
    if stall is not None and stall.kill_in_s is not None:
        line += f"; {_kill(stall.kill_in_s)}"
    return line


def _kill(kill_in_s: float) -> str:
    if kill_in_s <= 0:
        return f"WORKER TIMEOUT was due {-kill_in_s:.1f} s ago"
    return f"WORKER TIMEOUT in {kill_in_s:.1f} s"


def _where(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None:
        return "(its stack could not be read)"
    frame = diagnosis.culprit or diagnosis.blocking_call
    return "" if frame is None else f"at {place(frame)}"


def place(frame: Frame) -> str:
    """A frame in one line: `shop/views.py:42 in checkout: time.sleep(30)`."""
    code = f": {frame.code}" if frame.code else ""
    return f"{short_path(frame.file)}:{frame.line} in {frame.function}{code}"


def short_path(path: str) -> str:
    """A path below the working directory is shown from there."""
    try:
        folder = os.getcwd().rstrip(os.sep) + os.sep
    except OSError:  # it has been removed
        return path
    return path[len(folder):] if path.startswith(folder) else path


def _was_blocked(snapshot: Snapshot) -> str:
    profile = snapshot.profile
    if profile is None:
        return ""
    top = profile.stacks[0]
    culprit = next((frame for frame in reversed(top.frames) if frame.app), None)
    frame = culprit or (top.frames[-1] if top.frames else None)
    if frame is None:
        return ""
    return f"; it was blocked at {place(frame)} ({top.count} of {profile.samples} samples)"


def _counts(snapshot: Snapshot) -> str:
    tasks = f", {snapshot.tasks.total} tasks" if snapshot.tasks is not None else ""
    return f"{tasks}, {snapshot.threads_total or 0} threads"
