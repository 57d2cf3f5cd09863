"""The post-mortem report: what a dead worker's recorder says, put into words. Any process.

Nothing of a recorder is trusted, and source files are read: call it where time is limited.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from watchdog_worker import report
from watchdog_worker.capture.appcode import is_application
from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.capture.sources import source_line
from watchdog_worker.diagnosis import death as causes
from watchdog_worker.model import (
    Death,
    Frame,
    Process,
    Report,
    Request,
    Snapshot,
    Stall,
    ThreadStack,
)
from watchdog_worker.postmortem.ending import Ending, judged
from watchdog_worker.postmortem.rawtext import RawDump, RawThread, parsed
from watchdog_worker.revive import NotAReport, revived
from watchdog_worker.vitals.recording import KeptReport, KeptRequest, Recording

_RAW_MOST = 64 * 1024
_TEXT_MOST = 1_000
_SAME_S = 0.05
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def undelivered(recording: Recording) -> list[Report]:
    """The reports that have not reached the log, in their order."""
    found = (_report(kept) for kept in recording.reports if not kept.delivered)
    return [each for each in found if each is not None and each.pid == recording.pid]


def examined(recording: Recording, ending: Ending, memory: Memory) -> Report:
    """The report of a worker that did not leave in an orderly way."""
    reason, evidence = judged(ending, recording, memory)
    dumps = [_identified(dump, recording.loop_thread) for dump in parsed(recording.raw)]
    at = recording.last_trace if ending.left_behind else ending.at
    told = _told(recording)
    death = Death(
        reason=reason,
        signal=ending.signal,
        exit_code=ending.exit_code,
        phase=recording.phase,
        last_beat_age_s=_age(at, recording.last_beat),
        last_notify_age_s=_age(at, recording.last_notify),
        left_behind=ending.left_behind or None,
        raw_stacks=recording.raw[:_RAW_MOST] or None,
    )
    snapshot = _snapshot(recording, dumps, told, at)
    current = _current(dumps, recording)
    last = causes.Last(
        death,
        silent_s=_age(at, recording.last_sign) or 0.0,
        unwatched_s=_age(at, recording.pulse.at) or 0.0,
        cpu_s=_cpu_since(recording, ending),
        timer_wrote=any(dump.fatal is None for dump in dumps),
        crashed=current,
        told=told,
        evidence=evidence,
    )
    diagnosis = causes.explain(last, snapshot)
    if reason == causes.TIMEOUT or (current is not None and current.loop):
        snapshot = _blamed(snapshot)
    identity = report.Identity(recording.pid, recording.age, recording.app)
    return report.assemble(
        report.POST_MORTEM, identity, snapshot, _stall(recording, last, diagnosis.cause),
        diagnosis, death=death)


def _stall(recording: Recording, last: causes.Last, cause: str | None) -> Stall | None:
    if last.death.reason != causes.TIMEOUT:
        return None
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
    for kept in reversed(recording.reports):
        if kept.silent_since and kept.silent_since >= recording.last_sign - _SAME_S:
            found = _report(kept)
            return found if found is not None and found.pid == recording.pid else None
    return None


def _snapshot(
    recording: Recording, dumps: list[RawDump], told: Report | None, at: float
) -> Snapshot:
    pulse = recording.pulse
    blocking = told.snapshot.blocking_request if told is not None else None
    threads = _threads(dumps, recording)
    if not threads and told is not None:
        threads = told.snapshot.threads
    return Snapshot(
        threads=threads,
        threads_total=len(threads) or None,
        requests=tuple(
            _request(each, at, each.number == blocking.id if blocking is not None else False)
            for each in recording.requests),
        requests_total=len(recording.requests),
        process=Process(
            rss_bytes=pulse.rss_bytes or None, threads=pulse.threads or None) if (
            pulse.at) else None,
        loop_lag=recording.lag if recording.last_beat else None,
    )


def _request(kept: KeptRequest, at: float, blocking: bool) -> Request:
    details = kept.details
    headers, client, path = (details.get(name) for name in ("headers", "client", "path"))
    websocket = kept.method == "websocket"
    return Request(
        id=kept.number,
        type="websocket" if websocket else "http",
        method=None if websocket else kept.method or None,
        path=_text(path) or unquote(kept.path, errors="replace"),
        age_s=_age(at, kept.began) or 0.0,
        blocking=blocking,
        client=_text(client) or None,
        headers={str(name)[:_TEXT_MOST]: _text(value) for name, value in headers.items()} or None
        if isinstance(headers, dict) else None,
    )


def _blamed(snapshot: Snapshot) -> Snapshot:
    """Where one request alone was in flight, and the loop stood in the application, it is the one.
    """
    loop = snapshot.loop_thread
    if len(snapshot.requests) != 1 or loop is None or not any(frame.app for frame in loop.frames):
        return snapshot
    return snapshot._replace(requests=(snapshot.requests[0]._replace(blocking=True),))


def _threads(dumps: list[RawDump], recording: Recording) -> tuple[ThreadStack, ...]:
    """All threads of the dump that has most of them, the loop's as it was seen last."""
    if not dumps:
        return ()
    most = max(reversed(dumps), key=lambda dump: len(dump.threads))
    own = next((thread for dump in reversed(dumps)
                if (thread := dump.thread(recording.loop_thread)) is not None), None)
    others = [thread for thread in most.threads
              if thread.ident != recording.loop_thread and not _is_ours(thread)]
    return tuple(_thread(thread, recording)
                 for thread in [*([own] if own is not None else []), *others])


def _is_ours(thread: RawThread) -> bool:
    """A thread of the watchdog, as a picture of a living process leaves it out."""
    return not thread.current and any(
        frame.function == "run" and frame.file.startswith(_PACKAGE) for frame in thread.frames)


def _identified(dump: RawDump, loop_thread: int) -> RawDump:
    """A dump of one thread alone does not say which: all but the loop's begin in `threading`."""
    return dump._replace(threads=tuple(
        thread._replace(ident=loop_thread)
        if not thread.ident and thread.frames[0].function != "_bootstrap" else thread
        for thread in dump.threads))


def _current(dumps: list[RawDump], recording: Recording) -> ThreadStack | None:
    fatal = next((dump for dump in reversed(dumps) if dump.fatal is not None), None)
    thread = fatal.current if fatal is not None else None
    return _thread(thread, recording) if thread is not None else None


def _thread(thread: RawThread, recording: Recording) -> ThreadStack:
    loop = thread.ident == recording.loop_thread
    return ThreadStack(
        id=thread.ident, name="MainThread" if loop else "", loop=loop,
        frames=tuple(_frames(thread)))


def _frames(thread: RawThread) -> Iterable[Frame]:
    for raw in thread.frames:
        yield Frame(
            file=raw.file, line=raw.line, function=raw.function,
            code=source_line(raw.file, raw.line) or None,
            app=is_application(raw.file) or None, module=_module(raw.file))


def _module(file: str) -> str | None:
    """Its name, as an import from the longest fitting entry of the path would have it."""
    roots = [folder.rstrip("/") + "/" for folder in sys.path if folder]
    root = max((each for each in roots if file.startswith(each)), key=len, default="")
    if not root or not file.endswith(".py"):
        return None
    name = file[len(root):-len(".py")].replace("/", ".")
    return name.removesuffix(".__init__")


def _cpu_since(recording: Recording, ending: Ending) -> float | None:
    if ending.cpu_s is None or not recording.pulse.at:
        return None
    return round(max(0.0, ending.cpu_s - recording.pulse.cpu_s), 3)


def _age(at: float, since: float) -> float | None:
    """None where it never was."""
    if not since or not math.isfinite(at):
        return None
    return round(max(0.0, at - since), 3)


def _text(value: Any) -> str:
    return value[:_TEXT_MOST] if isinstance(value, str) else ""
