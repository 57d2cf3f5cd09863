"""The post-mortem report: what a dead worker's recorder says, put into words.

Nothing of a recorder is trusted, and source files are read: call it where time is limited.
"""

from __future__ import annotations

import math
import socket
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

from watchdog_worker import report
from watchdog_worker.diagnosis import death as causes
from watchdog_worker.model import Death, Diagnosis, Process, Report, Request, Snapshot, Stall
from watchdog_worker.postmortem import stacks
from watchdog_worker.postmortem.caps import Caps
from watchdog_worker.postmortem.ending import Ending
from watchdog_worker.postmortem.reason import ABORTED, DRAINED, judged
from watchdog_worker.revive import NotAReport, revived
from watchdog_worker.vitals.recording import KeptReport, KeptRequest, Recording

_RAW_MOST = 64 * 1024
_TEXT_MOST = 1_000
_SILENT_S = 1.0
"""Silent for longer is worth a word, where the setting for it is 0."""


def undelivered(recording: Recording) -> list[Report]:
    """The reports that have not reached the log, in their order."""
    found = (_report(kept) for kept in recording.reports if not kept.delivered)
    return [each for each in found if each is not None and each.pid == recording.pid
            and each.event != report.POST_MORTEM]


def examined(recording: Recording, ending: Ending, caps: Caps = Caps()) -> Report:
    """The report of a worker that did not leave in an orderly way."""
    at = recording.last_trace if ending.left_behind else ending.at
    reason, evidence = judged(ending, recording)
    told = _told(recording)
    found = stacks.completed(
        stacks.read(recording.raw, recording.loop_thread, caps),
        told.snapshot.loop_thread if told is not None else None, caps)
    silent_s = _age(at, recording.last_sign) or 0.0
    cpu_s, switches = _since_last_look(recording, ending)
    death = _death(recording, ending, reason, at)
    snapshot = _snapshot(recording, found, told, at, caps)
    last = causes.Last(
        death,
        silent_s=silent_s,
        blocked=_is_long(recording, silent_s) or (
            reason == causes.TIMEOUT and recording.phase not in DRAINED),
        unwatched_s=_age(at, recording.pulse.at) or 0.0,
        cpu_s=cpu_s,
        switches=switches,
        timer_wrote=found.timer_wrote,
        crashed=found.crashed,
        told=told,
        evidence=(*evidence, *_more(ending), *_cut(found)),
    )
    diagnosis = causes.explain(last, snapshot)
    if found.in_request:
        snapshot = _blamed(snapshot, diagnosis)
    identity = report.Identity(recording.pid, recording.age, recording.app)
    return report.assemble(
        report.POST_MORTEM, identity, snapshot,
        _stall(recording, last, diagnosis.cause) if last.blocked else None,
        diagnosis, death=death)


def _death(recording: Recording, ending: Ending, reason: str, at: float) -> Death:
    pulse = recording.pulse
    elsewhere = recording.host if recording.host != socket.gethostname() else ""
    return Death(
        reason=reason,
        signal=ending.signal or ("SIGABRT" if recording.end == ABORTED else None),
        exit_code=ending.exit_code,
        by_arbiter=ending.by_arbiter or None,
        phase=recording.phase,
        last_beat_age_s=_age(at, recording.last_beat),
        last_notify_age_s=_age(at, recording.last_notify),
        left_behind=ending.left_behind or None,
        last_trace=_time_of_day(pulse.wall) if ending.left_behind and pulse.wall else None,
        host=elsewhere or None,
        uptime_s=_age(at, recording.booted),
        requests_served=max(0, recording.requests_so_far - len(recording.requests)) or None,
        reports_lost=pulse.reports_lost or None,
        versions=recording.versions or None,
        raw_stacks=recording.raw[:_RAW_MOST] or None,
    )


def _more(ending: Ending) -> tuple[str, ...]:
    if not ending.untold:
        return ()
    return (f"arbiter: {ending.untold} more workers died as they booted and were not told "
            "(watchdog_stall_rate_limit)",)


def _cut(found: stacks.Stacks) -> tuple[str, ...]:
    if not found.loop_as_told:
        return ()
    return ("recorder: the stacks that C wrote were cut off before the end of the loop's thread; "
            "its stack is as it was told then",)


def _is_long(recording: Recording, silent_s: float) -> bool:
    """Whether the loop was blocked when it died, whatever it died of."""
    threshold = (recording.stall_threshold or _SILENT_S) + recording.beat_interval
    return bool(recording.last_beat) and recording.phase != "left" and silent_s > threshold


def _stall(recording: Recording, last: causes.Last, cause: str | None) -> Stall:
    told = last.told.stall if last.told is not None else None
    return Stall(
        blocked_s=round(last.silent_s, 3), phase=recording.phase, timeout_s=recording.timeout,
        gil_held=told.gil_held if told is not None else cause == "gil_held" or None)


def _report(kept: KeptReport) -> Report | None:
    try:
        return revived(kept.plain())
    except NotAReport:
        return None


def _told(recording: Recording) -> Report | None:
    """The last report of the silence in which it died, delivered or not."""
    for kept in recording.told_of_silence():
        found = _report(kept)
        if found is not None and found.pid == recording.pid:
            return found
    return None


def _snapshot(
    recording: Recording, found: stacks.Stacks, told: Report | None, at: float, caps: Caps
) -> Snapshot:
    pulse, seen = recording.pulse, told.snapshot if told is not None else Snapshot()
    blocking = seen.blocking_request.id if seen.blocking_request is not None else None
    known = {request.id: request for request in seen.requests}
    threads, total = found.threads, found.total
    if not threads:  # as they were seen then
        threads, total = seen.threads[:caps.threads], seen.threads_total or 0
    elif len(threads) == 1 and threads[0].loop and seen.threads:  # the signal shows its own alone
        others = tuple(each for each in seen.threads if not each.loop)
        threads, total = (*threads, *others)[:caps.threads], seen.threads_total or 0
    process = Process(rss_bytes=pulse.rss_bytes or None, threads=pulse.threads or None)
    return Snapshot(
        threads=threads,
        threads_total=total or None,
        requests=tuple(
            _request(each, at, each.number == blocking, known.get(each.number))
            for each in caps.of_requests(recording.requests, blocking)),
        requests_total=len(recording.requests),
        process=process if pulse.at else None,
        loop_lag=recording.lag if recording.last_beat else None,
    )


def _blamed(snapshot: Snapshot, diagnosis: Diagnosis) -> Snapshot:
    """Where one request alone was in flight, and the loop's thread in it is to blame: that one."""
    loop = snapshot.loop_thread
    to_blame = loop is not None and diagnosis.culprit in loop.frames
    if len(snapshot.requests) != 1 or not to_blame:
        return snapshot
    return snapshot._replace(requests=(snapshot.requests[0]._replace(blocking=True),))


def _request(
    kept: KeptRequest, at: float, blocking: bool, known: Request | None
) -> Request:
    """`known`: the same request as a report had it, which knows more of it."""
    age_s = _age(at, kept.began) or 0.0
    if known is not None:
        return known._replace(age_s=age_s, blocking=blocking, slow=None)
    details = kept.details
    headers, path = details.get("headers"), details.get("path")
    websocket = kept.method == "websocket"
    return Request(
        id=kept.number,
        type="websocket" if websocket else "http",
        method=None if websocket else kept.method or None,
        path=_text(path) or unquote(kept.path, errors="replace"),
        age_s=age_s,
        blocking=blocking,
        client=_text(details.get("client")) or None,
        headers=_headers(headers) or None if isinstance(headers, dict) else None,
    )


def _headers(headers: dict[Any, Any]) -> dict[str, str]:
    return {str(name)[:_TEXT_MOST]: _text(value) for name, value in headers.items()}


def _since_last_look(recording: Recording, ending: Ending) -> tuple[float | None, int | None]:
    """CPU time, and how often threads gave way, since the monitor last looked."""
    used, pulse = ending.used, recording.pulse
    if used is None or not pulse.at:
        return None, None
    return (round(max(0.0, used.cpu_s - pulse.cpu_s), 3), max(0, used.switches - pulse.switches))


def _age(at: float, since: float) -> float | None:
    """None where it never was."""
    if not since or not math.isfinite(at):
        return None
    return round(max(0.0, at - since), 3)


def _time_of_day(wall: float) -> str | None:
    try:
        moment = datetime.fromtimestamp(wall, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _text(value: Any) -> str:
    return value[:_TEXT_MOST] if isinstance(value, str) else ""
