"""Why a worker died, from what it left behind. Pure.

Nobody was there who could look: so what is said rests on the recorder, on what faulthandler wrote
in C, and on what the arbiter and the kernel count. It is never more certain than these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from watchdog_worker.diagnosis import rules, stack
from watchdog_worker.diagnosis.fingerprint import fingerprint
from watchdog_worker.diagnosis.remedies import advice, after_death
from watchdog_worker.diagnosis.words import shown_stack
from watchdog_worker.model import Death, Diagnosis, Frame, Report, Snapshot, ThreadStack

TIMEOUT, OOM_SUSPECTED, CRASH = "timeout", "oom_suspected", "crash"
KILLED, EXIT, UNKNOWN = "killed", "exit", "unknown"

_SILENT_S = 1.0
"""A monitor that has not looked for longer had not got the GIL, or the process did not run."""
_IDLE_SHARE = 0.1


class Last(NamedTuple):
    """What is known of a worker's last moments, beside the snapshot; times in seconds."""

    death: Death
    silent_s: float
    """For how long the loop had shown no life."""
    unwatched_s: float
    """For how long the monitor had not looked."""
    cpu_s: float | None = None
    """CPU time that the process used since then, at most; None where it is not known."""
    timer_wrote: bool = False
    """faulthandler's timer came to write, which needs no GIL."""
    crashed: ThreadStack | None = None
    """The thread that got the fatal signal."""
    told: Report | None = None
    """The last report of the silence in which it died."""
    evidence: tuple[str, ...] = ()
    """What the arbiter and the kernel say."""


def explain(last: Last, snapshot: Snapshot) -> Diagnosis:
    """Who is to blame, and why it is thought so."""
    told = last.told.diagnosis if last.told is not None else None
    if last.death.reason == TIMEOUT:
        if told is None:
            return _timeout(last, snapshot.loop_thread)
        return told._replace(evidence=(*told.evidence, *_as_told(last), *last.evidence))
    frames = last.crashed.frames if last.crashed is not None else ()
    culprit, below = stack.split(frames) if frames else (told and told.culprit, ())
    return Diagnosis(
        culprit=culprit,
        blocking_call=below[-1] if below else culprit,
        summary=_summary(last, culprit or (below[-1] if below else None)),
        remedy=after_death(last.death.reason),
        evidence=tuple(_evidence(last, frames)),
        fingerprint=fingerprint(
            f"{last.death.reason} {last.death.signal or last.death.exit_code or ''}",
            stack.named_function(frames), None),
    )


def _as_told(last: Last) -> Iterator[str]:
    if last.told is not None:
        yield f"recorder: as told in {last.told.event} at {last.told.time}"


def _timeout(last: Last, loop: ThreadStack | None) -> Diagnosis:
    """Nobody has told of this silence: why could nobody?"""
    frames = loop.frames if loop is not None else ()
    culprit, below = stack.split(frames) if frames else (None, ())
    unseen = last.unwatched_s > max(_SILENT_S, last.silent_s / 2)
    idle = last.cpu_s is not None and last.cpu_s < _IDLE_SHARE * last.unwatched_s
    if unseen and frames:
        cause, summary = rules.GIL_HELD, _kept(last, culprit)
    elif unseen and idle:
        cause, culprit, below = rules.SUSPENDED, None, ()
        summary = (f"nothing of this process ran for {last.unwatched_s:.1f} s, not even its C "
                   "code: it was stopped or frozen, and the loop is not to blame")
    else:
        cause = rules.UNKNOWN
        summary = "the loop fell silent, and what it was at is not known" if not frames else (
            "the loop fell silent; its last stack is below")
    blamed = cause != rules.SUSPENDED
    return Diagnosis(
        cause=cause,
        culprit=culprit,
        blocking_call=(below[-1] if below else culprit) if frames else None,
        summary=summary,
        remedy=advice(cause, None, None, collected=False, in_thread=False),
        evidence=tuple(_evidence(last, frames)),
        fingerprint=fingerprint(
            cause, stack.named_function(frames) if blamed else None, None),
    )


def _kept(last: Last, culprit: Frame | None) -> str:
    whose = ("native code in the loop's thread" if culprit is not None else
             "native code, it is not known in which thread,")
    idle = last.cpu_s is not None and last.cpu_s < _IDLE_SHARE * last.unwatched_s
    how = ", and waited itself" if idle else ""
    return (f"{whose} kept the GIL for {last.unwatched_s:.1f} s{how}: no Python code could run in "
            "this process, the monitor's included")


def _summary(last: Last, at: Frame | None) -> str:
    death = last.death
    where = f" while {death.phase}" if death.phase else ""
    if death.reason == CRASH:
        code = "in native code" if at is None else f"in native code called from {at.function}"
        return f"the process died of {death.signal} {code}{where}; no Python code can catch that"
    if death.reason == EXIT:
        return (f"the process ended itself with status {death.exit_code}{where}, without a drain: "
                "os._exit(), sys.exit() in a task, or a library that does so")
    if death.reason == OOM_SUSPECTED:
        return f"it was killed{where}, and the kernel has killed for memory at that time"
    if death.reason == KILLED:
        return f"it got {death.signal or 'a signal'}{where}, and nothing speaks for memory"
    return f"it has ended{where}, and nobody saw how"


def _evidence(last: Last, frames: tuple[Frame, ...]) -> Iterator[str]:
    if frames:
        yield f"stack: {shown_stack(frames)}"
    if last.unwatched_s > _SILENT_S and last.death.reason == TIMEOUT:
        yield (f"monitor: it last got to run {last.unwatched_s:.2f} s before the end" + (
            "; faulthandler's timer, which needs no GIL, could write" if last.timer_wrote else ""))
    if last.cpu_s is not None and last.death.reason == TIMEOUT:
        yield f"arbiter: the process used {last.cpu_s:.2f} s of CPU since then, at most"
    if not frames:
        yield from _as_told(last)
    yield from last.evidence
