"""What is made of a picture: what happened, why, and the report of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from watchdog_worker.model.life import Stage
from watchdog_worker.model.picture import Frame, Snapshot
from watchdog_worker.plainform import to_plain

SCHEMA = 1


class Stall(NamedTuple):
    """How long the loop has been silent and how long the arbiter will bear it."""

    blocked_s: float
    phase: str
    timeout_s: float
    kill_in_s: float | None = None
    gil_held: bool | None = None
    withheld: int | None = None
    """Stalls that the rate limit kept back since the last one that was told."""
    silent: bool = True
    """False: the loop shows life, the report is about something else."""
    running: bool = True
    """False: the loop has not begun to run."""


class ContextLeak(NamedTuple):
    """A ContextVar that is not each request's own; never its value."""

    variable: str
    type: str
    origin: str
    """`request`: it would have come from another request; `startup`: all share one object."""


class Death(NamedTuple):
    """How a worker ended; ages are at that moment, in seconds."""

    reason: str
    """`timeout`, `oom_suspected`, `crash`, `killed`, `exit` or `unknown`."""
    signal: str | None = None
    """Its name, such as `SIGKILL`."""
    exit_code: int | None = None
    by_arbiter: bool | None = None
    """True where gunicorn itself has ended it: at its timeout, or at the end of its drain."""
    phase: str | None = None
    """What it was at: `boot`, `startup`, `serving`, `shutdown`."""
    last_beat_age_s: float | None = None
    last_notify_age_s: float | None = None
    left_behind: bool | None = None
    """True where nobody saw it end: its recorder was found later."""
    last_trace: str | None = None
    """When it was last known to live (RFC 3339, UTC), where nobody saw it end."""
    host: str | None = None
    """Where that was, if it was elsewhere."""
    uptime_s: float | None = None
    requests_served: int | None = None
    reports_lost: int | None = None
    """Reports that neither the log nor the recorder had room for."""
    versions: str | None = None
    raw_stacks: str | None = None
    """What faulthandler wrote in its last moments."""


class Diagnosis(NamedTuple):
    """Why the loop is blocked, or why something else is told."""

    cause: str | None = None
    """One of `diagnosis.causes`; None where the loop is not blocked."""
    culprit: Frame | None = None
    """The innermost frame of the application's own code."""
    blocking_call: Frame | None = None
    """The frame that really blocks: the culprit's own line, or a library's below it."""
    summary: str | None = None
    """What has happened, in a sentence."""
    remedy: str | None = None
    """What to do about it."""
    evidence: tuple[str, ...] = ()
    """What speaks for the cause, a sentence each; begins with where it comes from."""
    waits_for: str | None = None
    """Such as `tcp 10.0.3.4:5432`."""
    call: str | None = None
    """What blocks, as a developer calls it: `time.sleep`."""
    fingerprint: str | None = None
    """The same for the same fault, wherever its lines have moved to."""


class Report(NamedTuple):
    """One event, told in full."""

    event: str
    severity: str
    time: str
    """RFC 3339, UTC."""
    pid: int
    worker_age: int
    app: str
    headline: str
    snapshot: Snapshot
    stall: Stall | None = None
    diagnosis: Diagnosis | None = None
    context: ContextLeak | None = None
    death: Death | None = None
    stage: Stage | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report of schema 1: one JSON object, the snapshot's parts at its top level."""
        plain = {"schema": SCHEMA, **to_plain(self)}
        plain.update(plain.pop("snapshot", {}))
        if self.stall is not None:
            # `null` means "not known" here, which is something else than "does not apply".
            plain["stall"]["gil_held"] = self.stall.gil_held
        return plain
