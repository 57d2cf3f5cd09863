"""Puts a Report together: what happened, in one value. Pure but for the clock's time of day."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import NamedTuple

from watchdog_worker.model import ContextLeak, Diagnosis, Report, Snapshot, Stall
from watchdog_worker.render.headline import headline

STALL, STALL_ENDED, PRE_KILL, ON_DEMAND = "stall", "stall_ended", "pre_kill", "on_demand"
SLOW_REQUEST, CONTEXT_LEAK, SUSPENDED = "slow_request", "context_leak", "suspended"

LEVELS = {
    STALL: logging.WARNING,
    STALL_ENDED: logging.WARNING,
    PRE_KILL: logging.CRITICAL,
    ON_DEMAND: logging.INFO,
    SLOW_REQUEST: logging.WARNING,
    CONTEXT_LEAK: logging.WARNING,
    SUSPENDED: logging.WARNING,
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
    context: ContextLeak | None = None,
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
        headline=headline(event, snapshot, stall, diagnosis, context),
        snapshot=snapshot,
        stall=stall,
        diagnosis=diagnosis,
        context=context,
    )
