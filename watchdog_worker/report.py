"""Puts a Report together: what happened, in one value. Pure but for the clock's time of day."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any, NamedTuple

from watchdog_worker.model import ContextLeak, Death, Diagnosis, Report, Snapshot, Stall
from watchdog_worker.render.headline import headline

STALL, STALL_ENDED, PRE_KILL, ON_DEMAND = "stall", "stall_ended", "pre_kill", "on_demand"
SLOW_REQUEST, CONTEXT_LEAK, SUSPENDED = "slow_request", "context_leak", "suspended"
POST_MORTEM = "post_mortem"

LEVELS = {
    STALL: logging.WARNING,
    STALL_ENDED: logging.WARNING,
    PRE_KILL: logging.CRITICAL,
    ON_DEMAND: logging.INFO,
    SLOW_REQUEST: logging.WARNING,
    CONTEXT_LEAK: logging.WARNING,
    SUSPENDED: logging.WARNING,
    POST_MORTEM: logging.ERROR,
}
"""The log level of every event."""


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
        headline=headline(event, snapshot, stall, diagnosis, context, death, identity.pid),
        snapshot=snapshot,
        stall=stall,
        diagnosis=diagnosis,
        context=context,
        death=death,
    )


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
