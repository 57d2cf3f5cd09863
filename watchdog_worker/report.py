"""Puts a Report together: what happened, in one value. Pure but for the clock's time of day."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any, NamedTuple

from watchdog_worker.model import ContextLeak, Death, Diagnosis, Report, Snapshot, Stage, Stall
from watchdog_worker.render.headline import headline

STALL, STALL_ENDED, PRE_KILL, ON_DEMAND = "stall", "stall_ended", "pre_kill", "on_demand"
SLOW_REQUEST, CONTEXT_LEAK, SUSPENDED = "slow_request", "context_leak", "suspended"
POST_MORTEM = "post_mortem"
SLOW_STARTUP, SLOW_SHUTDOWN = "slow_startup", "slow_shutdown"

LEVELS = {
    STALL: logging.WARNING,
    STALL_ENDED: logging.WARNING,
    PRE_KILL: logging.CRITICAL,
    ON_DEMAND: logging.INFO,
    SLOW_REQUEST: logging.WARNING,
    CONTEXT_LEAK: logging.WARNING,
    SUSPENDED: logging.WARNING,
    POST_MORTEM: logging.ERROR,
    SLOW_STARTUP: logging.WARNING,
    SLOW_SHUTDOWN: logging.WARNING,
}
"""The log level of every event, unless a report is of a graver one."""


_FEW, _SOME = 3, 20


class Identity(NamedTuple):
    """Which worker reports."""

    pid: int
    worker_age: int
    app: str


def app_name(worker: Any) -> str:
    """What was asked for on the command line, such as `shop.main:app`."""
    return str(getattr(worker.app, "app_uri", None) or worker.cfg.proc_name)


def assemble(
    event: str,
    identity: Identity,
    snapshot: Snapshot,
    stall: Stall | None = None,
    diagnosis: Diagnosis | None = None,
    context: ContextLeak | None = None,
    now: datetime | None = None,
    death: Death | None = None,
    stage: Stage | None = None,
    level: int | None = None,
) -> Report:
    """The report of `event`; `now` defaults to the time of day, `level` to the event's."""
    moment = now or datetime.now(timezone.utc)
    return Report(
        event=event,
        severity=logging.getLevelName(level or LEVELS[event]).lower(),
        time=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        pid=identity.pid,
        worker_age=identity.worker_age,
        app=identity.app,
        headline=headline(event, snapshot, stall, diagnosis, context, death, identity.pid, stage),
        snapshot=snapshot,
        stall=stall,
        diagnosis=diagnosis,
        context=context,
        death=death,
        stage=stage,
    )


def level(told: Report) -> int:
    """The log level of a report."""
    critical = told.severity == logging.getLevelName(logging.CRITICAL).lower()
    return logging.CRITICAL if critical else LEVELS[told.event]


def shortened(told: Report) -> Report:
    """The same with what matters most of its stacks, for where there is little room."""
    snapshot = told.snapshot
    own = snapshot.loop_thread
    return told._replace(snapshot=snapshot._replace(
        threads=(own,) if own is not None else (),
        tasks=None,
        profile=snapshot.profile and snapshot.profile._replace(
            stacks=snapshot.profile.stacks[:_FEW]),
        requests=tuple(each for at, each in enumerate(snapshot.requests)
                       if at < _SOME or each.blocking),
        incomplete=(*snapshot.incomplete, "other threads and tasks: there was no room for them"),
    ))
