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
from watchdog_worker.model import (
    Death,
    Diagnosis,
    Frame,
    Report,
    Snapshot,
    ThreadStack,
    innermost_app,
)
from watchdog_worker.phases import WHILE

TIMEOUT, OOM_SUSPECTED, CRASH = "timeout", "oom_suspected", "crash"
KILLED, EXIT, UNKNOWN = "killed", "exit", "unknown"

_SILENT_S = 1.0
"""A monitor that has not looked for longer had not got the GIL, or the process did not run."""
_IDLE_SHARE = 0.1
_LEAST_TURNS, _TURNS_A_SECOND = 20, 20.0
_WAITING_MODULES = ("threading", "queue", "selectors", "concurrent", "asyncio", "multiprocessing")


class Last(NamedTuple):
    """What is known of a worker's last moments, beside the snapshot; times in seconds."""

    death: Death
    silent_s: float
    """For how long the loop had shown no life."""
    blocked: bool
    """That is too long."""
    unwatched_s: float
    """For how long the monitor had not looked."""
    cpu_s: float | None = None
    """CPU time that the process used since then, at most; None where it is not known."""
    switches: int | None = None
    """How often its threads gave way by themselves since then; None where it is not known."""
    timer_wrote: bool = False
    """faulthandler's timer came to write, which needs no GIL."""
    crashed: ThreadStack | None = None
    """The thread that got the fatal signal."""
    told: Report | None = None
    """The last report of the silence in which it died."""
    evidence: tuple[str, ...] = ()
    """What the arbiter and the kernel say."""

    @property
    def unseen(self) -> bool:
        """The monitor, too, has missed most of the silence, or its end."""
        missed = self.silent_s / 2 if self.told is None else 0.0
        return self.unwatched_s > max(_SILENT_S, missed)

    @property
    def asked(self) -> bool | None:
        """Threads asked for the GIL meanwhile, each 190 times a second: the process ran. None: it
        is not known."""
        if self.switches is None:
            return None
        return self.switches > _LEAST_TURNS + _TURNS_A_SECOND * self.unwatched_s

    @property
    def idle(self) -> bool:
        """The process has hardly computed since the monitor last looked."""
        return self.cpu_s is not None and self.cpu_s < _IDLE_SHARE * self.unwatched_s


def explain(last: Last, snapshot: Snapshot) -> Diagnosis:
    """Who is to blame, and why it is thought so."""
    if last.death.reason == TIMEOUT and last.blocked:
        return _blocked(last, snapshot)
    frames = last.crashed.frames if last.crashed is not None else ()
    culprit, below = stack.split(frames) if frames else (None, ())
    end = Diagnosis(
        culprit=culprit,
        blocking_call=below[-1] if below and culprit is not None else culprit,
        summary=_summary(last, culprit),
        remedy=after_death(last.death, known=culprit is not None),
        evidence=tuple(_evidence(last, frames)),
        fingerprint=fingerprint(
            f"{last.death.reason} {last.death.signal or last.death.exit_code or ''}",
            stack.named_function(frames) if culprit is not None else None, None),
    )
    return _with_block(end, last, snapshot) if last.blocked and not frames else end


def _with_block(end: Diagnosis, last: Last, snapshot: Snapshot) -> Diagnosis:
    """It ended of something else, and its loop was blocked then: that is told with it."""
    block = _blocked(last, snapshot)
    return block._replace(
        summary=(f"{end.summary}; its loop had been silent for {last.silent_s:.1f} s by then: "
                 f"{block.summary}"),
        remedy=f"{end.remedy}. For the block: {block.remedy}",
        fingerprint=end.fingerprint)


def _blocked(last: Last, snapshot: Snapshot) -> Diagnosis:
    """The silence in which it died: as it was told, else why nobody has told of it."""
    told = last.told.diagnosis if last.told is not None else None
    if told is not None and not _has_moved(last, told, snapshot):
        return told._replace(evidence=(*told.evidence, *_evidence(last, ())))
    loop = snapshot.loop_thread
    frames = loop.frames if loop is not None else ()
    if last.unseen and last.asked:
        return _gil_held(last, _keeper(snapshot), _rivals(snapshot))
    if last.unseen and last.idle and last.asked is False:
        cause, summary = rules.SUSPENDED, (
            f"nothing of this process ran for {last.unwatched_s:.1f} s: it was stopped or frozen, "
            "and the loop is not to blame")
    else:
        cause, summary = rules.UNKNOWN, "what the loop's thread was at is not known"
    culprit, below = stack.split(frames) if frames and cause == rules.UNKNOWN else (None, ())
    return Diagnosis(
        cause=cause,
        culprit=culprit,
        blocking_call=below[-1] if below and culprit is not None else culprit,
        summary=summary,
        remedy=advice(cause, None, None, collected=False, in_thread=False),
        evidence=tuple(_evidence(last, frames)),
        fingerprint=fingerprint(
            cause, stack.named_function(frames) if culprit is not None else None, None),
    )


def _has_moved(last: Last, told: Diagnosis, snapshot: Snapshot) -> bool:
    """Whether the loop went on to something else after it was told of, and nobody could look."""
    loop = snapshot.loop_thread
    if last.unwatched_s <= _SILENT_S or not last.asked or loop is None or not last.timer_wrote:
        return False
    culprit, _ = stack.split(loop.frames) if loop.frames else (None, ())
    return culprit is not None and (told.culprit is None or (
        (culprit.file, culprit.function) != (told.culprit.file, told.culprit.function)))


def _gil_held(last: Last, keeper: ThreadStack | None, rivals: int) -> Diagnosis:
    """`keeper`: the thread that has kept it, as far as the stacks tell; `rivals`: how many others
    it could be."""
    frames = keeper.frames if keeper is not None else ()
    culprit, below = stack.split(frames) if frames else (None, ())
    how = ", and waited itself" if last.idle else ""
    if keeper is None or culprit is None:
        whose = "native code, it is not known in which thread,"
    elif keeper.loop:
        whose = "native code in the loop's thread" if not rivals else (
            f"native code, it seems in the loop's thread ({rivals} more stood in the "
            "application's code),")
    else:
        whose = (f"native code, it seems in the thread that stands in {culprit.function} (no other "
                 "was in the application's code),")
    return Diagnosis(
        cause=rules.GIL_HELD,
        culprit=culprit,
        blocking_call=below[-1] if below and culprit is not None else culprit,
        summary=(f"{whose} kept the GIL for {last.unwatched_s:.1f} s{how}: no Python code could "
                 "run in this process, the monitor's included"),
        remedy=advice(rules.GIL_HELD, None, None, collected=False,
                      in_thread=keeper is not None and not keeper.loop),
        evidence=tuple(_evidence(last, frames)),
        fingerprint=fingerprint(
            rules.GIL_HELD, stack.named_function(frames) if culprit is not None else None, None),
    )


def _keeper(snapshot: Snapshot) -> ThreadStack | None:
    """The loop's thread, unless it waits or is in nobody's code; then the one other thread that is
    in the application's own code at its very end. None: there is none, or more than one."""
    loop = snapshot.loop_thread
    if loop is not None and innermost_app(loop.frames) and not _waits(loop.frames[-1]):
        return loop
    found = _in_application(snapshot)
    return found[0] if len(found) == 1 else None


def _rivals(snapshot: Snapshot) -> int:
    return len(_in_application(snapshot))


def _in_application(snapshot: Snapshot) -> list[ThreadStack]:
    """Threads beside the loop's that are in the application's own code at their very end."""
    return [thread for thread in snapshot.threads
            if not thread.loop and thread.frames and thread.frames[-1].app]


def _waits(innermost: Frame) -> bool:
    """For another thread, or for the GIL: in what Python itself waits with."""
    return (innermost.module or "").split(".")[0] in _WAITING_MODULES


def _summary(last: Last, at: Frame | None) -> str:
    death = last.death
    when = WHILE.get(death.phase or "", "")
    if death.reason == CRASH:
        if at is not None:
            return (f"it died of {death.signal} in native code called from {at.function}, {when}; "
                    "no Python code can catch that")
        return (f"it died of {death.signal} {when}, with no code of the application on the stack: "
                "a library in C, or the signal was sent to it")
    if death.reason == EXIT:
        return (f"the process ended itself with status {death.exit_code} {when}, without a drain: "
                "os._exit(), sys.exit() in a task, or a library that does so")
    if death.reason == OOM_SUSPECTED:
        return f"it was killed {when}, and it seems that memory had run out"
    if death.reason == TIMEOUT:
        return _not_left(death)
    if death.by_arbiter:
        return ("gunicorn was ending all workers, and killed this one when graceful_timeout was "
                "over")
    if death.reason == KILLED:
        return f"somebody sent it {death.signal or 'a signal'} {when}"
    return f"it has ended {when}, and nobody saw how"


def _not_left(death: Death) -> str:
    """Killed for its silence with a loop that lived, or had ended: it was leaving."""
    since = death.last_notify_age_s
    notified = f"gunicorn had not been notified for {since:.1f} s" if since is not None else (
        "gunicorn was not notified any more")
    if death.phase == "left":
        return f"its server had ended, and its process went on: {notified}"
    return f"it was leaving, and its drain was not over although its loop lived: {notified}"


def _evidence(last: Last, frames: tuple[Frame, ...]) -> Iterator[str]:
    if frames:
        yield f"stack: {shown_stack(frames)}"
    if last.blocked and last.unwatched_s > _SILENT_S:
        yield (f"monitor: it last got to run {last.unwatched_s:.2f} s before the end" + (
            "; faulthandler's timer, which needs no GIL, could write" if last.timer_wrote else ""))
        if last.cpu_s is not None:
            turns = "" if last.switches is None else (
                f", and its threads gave way {last.switches} times")
            yield f"arbiter: the process used {last.cpu_s:.2f} s of CPU since then, at most{turns}"
    if last.told is not None:
        yield f"recorder: as told in {last.told.event} at {last.told.time}"
    yield from last.evidence
