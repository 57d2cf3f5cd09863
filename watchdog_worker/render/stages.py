"""The first line of a report about a boot or a drain that takes long. Pure."""

from __future__ import annotations

from watchdog_worker import phases
from watchdog_worker.model import Diagnosis, Frame, Snapshot, Stage, Stall
from watchdog_worker.render.names import (
    by,
    connection_name,
    handling,
    place,
    request_name,
    where,
)

_NAMED = 3
"""So many connections in the first line."""
_MAIN_THREAD = {"import": "importing,", "hook": "in a server hook,",
                "exit": "at the interpreter's end,"}
_SILENT = {"import": "importing: ", "hook": "in a server hook: ", "loop": "loop silent: ",
           "exit": "at the interpreter's end: "}


def line(
    stage: Stage, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None
) -> str:
    """One line; begins with `watchdog `; not yet safe."""
    opening, closing = _opening(stage)
    return ", ".join(filter(None, (opening, _held(stage, snapshot, stall, diagnosis)))) + closing


def last_line(
    stage: Stage, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None
) -> str:
    """The same of a drain that is about to be killed."""
    opening = ("watchdog loop has ended, and the process has not" if stage.step == phases.LOOP_ENDED
               else "watchdog loop alive, but the drain has outlasted graceful_timeout")
    return ", ".join(filter(None, (opening, _held(stage, snapshot, stall, diagnosis))))


def _opening(stage: Stage) -> tuple[str, str]:
    if stage.name == "startup":
        paused = f" ({stage.paused_s:.1f} s of it paused)" if stage.paused_s else ""
        opening = f"watchdog slow startup: {stage.seconds:.1f} s since the fork{paused}"
        return opening, f"; ended by watchdog_startup_timeout = {stage.limit_s or 0:g}" if (
            stage.ended) else ""
    of = f" of {stage.limit_s:g} s" if stage.limit_s is not None else ""
    opening = f"watchdog slow shutdown: {stage.seconds:.1f} s{of} (graceful_timeout) gone"
    return opening, "; cut off" if stage.ended else ""


def _held(
    stage: Stage, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None
) -> str:
    frame = diagnosis.blocking_call if diagnosis is not None else None
    if stage.holder in _SILENT and diagnosis is not None and diagnosis.cause == "suspended":
        return f"{_SILENT[stage.holder]}the process does not get to run"
    if stage.holder in _MAIN_THREAD:
        what = _MAIN_THREAD[stage.holder]
        call = f"in {diagnosis.call}" if diagnosis is not None and diagnosis.call else ""
        words = " ".join(filter(None, (what, call, where(diagnosis))))
        # Where the line is nobody's of the application, what it waits for says more.
        if diagnosis is not None and diagnosis.culprit is None and diagnosis.waits_for:
            words += f", for {diagnosis.waits_for}"
        return words
    if stage.holder == "loop":
        silent = f" {_blocked_s(snapshot, stall):.1f} s" if stall is not None else ""
        words = " ".join(filter(None, (f"loop blocked{silent}", by(diagnosis), where(diagnosis))))
        return words + handling(snapshot.blocking_request)
    if stage.holder in ("lifespan startup", "lifespan shutdown"):
        return f"waiting for {stage.holder}{_at(frame)}"
    if stage.holder == "requests":
        return _requests(snapshot)
    if stage.holder == "connections":
        return _connections(stage)
    if stage.holder in ("task", "thread"):
        return f"waiting for {stage.holder} {stage.holder_name or '?'}{_at(frame)}"
    return ""


def _blocked_s(snapshot: Snapshot, stall: Stall) -> float:
    """Without what the process was paused for."""
    effort = snapshot.effort
    if effort is None or not effort.silent_s:
        return stall.blocked_s
    return min(stall.blocked_s, effort.silent_s)


def _connections(stage: Stage) -> str:
    number = stage.connections or 0
    named = [connection_name(each) for each in stage.clients[:_NAMED]]
    if named and number > len(named):
        named.append("...")
    return (f"waiting for {number} connection{'' if number == 1 else 's'} to close"
            + (f": {', '.join(named)}" if named else ""))


def _requests(snapshot: Snapshot) -> str:
    first = next(iter(snapshot.requests), None)
    if first is None:
        return ""
    more = (snapshot.requests_total or 1) - 1
    text = f"waiting for {request_name(first)}, {first.age_s:.1f} s{_at(first.waits_at)}"
    return f"{text}; {more} more" if more else text


def _at(frame: Frame | None) -> str:
    return f" at {place(frame)}" if frame is not None else ""
