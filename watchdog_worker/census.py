"""The workers on this machine, as their recorders tell. `state` is pure; any process.

Only files are read: no signal is sent and nothing is attached to, so that a worker whose GIL is
held, or that is stopped, is told like any other, and none notices. A recorder can hold any garbage:
its texts are to be shown through `plain`, and what it says of a worker is checked where the kernel
says the same thing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, NamedTuple

from watchdog_worker import rundir
from watchdog_worker.model import Report
from watchdog_worker.plainform import to_plain
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.recording import KeptReport, NotARecording, Recording, load

BOOT, STARTUP = layout.PHASES[:2]
_BLOCKED_S = 1.0
"""Silent for longer is blocked where the setting for it is 0."""
_LOOK_OVERDUE_S = 1.5
_MONITOR_SILENT_S = 3.0
"""The monitor looks every second at least, as long as it gets the GIL."""
_TELL_OF_BLOCKS = ("stall", "pre_kill")
_GONE = ("Z", "X", "x")
_STOPPED = ("T", "t")
_AWAKE = ("R", "S")
_PARENT_FIELD, _STARTED_FIELD = 1, 19


class Kernel(NamedTuple):
    """What the kernel says of a worker; a part is None where it does not tell."""

    state: str | None = None
    """Of its main thread, a letter of proc(5); `X` too where the worker is known to have gone."""
    rss_bytes: int | None = None
    parent: int | None = None
    """The pid of its parent process."""


class OldestRequest(NamedTuple):
    """The request that has been in flight for longest."""

    method: str
    """`websocket` for one."""
    path: str
    """As it was sent, with its percent signs."""
    age_s: float


class WorkerState(NamedTuple):
    """How a worker is; None for what is not known or does not apply.

    Of a dead one `phase`, `in_flight`, `oldest_request`, `rss_bytes` and `uptime_s` are as of its
    last trace.
    """

    pid: int
    """0: it has not come to its recorder yet."""
    arbiter_pid: int
    age: int
    """gunicorn's ordinal."""
    app: str
    phase: str
    alive: bool
    held: bool
    """The worker or its arbiter lives: the death of a worker will be told by its arbiter if this
    is True, and by the next start of gunicorn if not."""
    orphaned: bool
    """Its arbiter has gone: nobody will replace it."""
    lag_s: float | None
    """How late the next beat is now."""
    blocked_s: float | None
    """For how long the loop has shown no life, where that is too long."""
    booting_s: float | None
    """For how long it has been booting, where that is longer than its watchdog_startup_threshold.
    """
    gil_held: bool | None
    stopped: bool
    blocked_by: str | None
    """What blocks, and where: `time.sleep at /srv/shop.py:18 charge`."""
    in_flight: int
    oldest_request: OldestRequest | None
    """WebSockets, which stay open on purpose, count only where there is nothing else."""
    rss_bytes: int | None
    timeout_s: float
    """0: the arbiter never kills."""
    kill_in_s: float | None
    """Negative: the kill is overdue."""
    uptime_s: float | None
    versions: str
    path: str = ""
    """Of the recorder."""
    owner: int | None = None
    """The uid that the recorder belongs to."""


class Unread(NamedTuple):
    """How many recorders are there that cannot be told of."""

    denied: int
    """They belong to other users."""
    foreign: int
    """They were written by another version, or are garbage."""


def census(folders: Iterable[str]) -> list[WorkerState]:
    """All workers whose recorders in these folders can be read, by arbiter, then by ordinal.

    Raises OSError where a folder cannot be read.
    """
    found = [
        state(each.recording, each.locked, asked(each.recording, each.path), monotonic())._replace(
            path=each.path, owner=each.uid)
        for folder in _once(folders) for each in rundir.found(folder)]
    return sorted(found, key=lambda worker: (worker.arbiter_pid, worker.age, worker.pid))


def unread(folders: Iterable[str]) -> Unread:
    """What `census` passes over in these folders. Raises OSError as it does."""
    denied = foreign = 0
    for folder in _once(folders):
        for name in rundir.names(folder):
            try:
                with rundir.opened(os.path.join(folder, name)) as fd:
                    load(fd)
            except PermissionError:
                denied += 1
            except NotARecording:
                foreign += 1
            except OSError:  # it has gone, or was never one
                continue
    return Unread(denied, foreign)


def _once(folders: Iterable[str]) -> Iterator[str]:
    """Each folder once, by whatever names it was given."""
    return iter(dict.fromkeys(map(os.path.realpath, folders)))


def to_dict(worker: WorkerState) -> dict[str, Any]:
    """For JSON, without what is None."""
    plain: dict[str, Any] = to_plain(worker)
    return plain


def state(recording: Recording, held: bool, kernel: Kernel, now: float) -> WorkerState:
    """What a recording and the kernel say of its worker at `now` (monotonic).

    `held`: the recorder is locked, by the worker or by its arbiter. Pure.
    """
    alive = held and kernel.state not in _GONE
    running = alive and recording.pid != 0
    at = now if alive else recording.last_trace
    blocked_s = _blocked_s(recording, now) if running else None
    return WorkerState(
        pid=recording.pid,
        arbiter_pid=recording.arbiter_pid,
        age=recording.age,
        app=recording.app,
        phase=recording.phase if recording.pid else BOOT,
        alive=alive,
        held=held,
        orphaned=running and kernel.parent not in (None, recording.arbiter_pid),
        lag_s=_since(recording.last_beat + recording.beat_interval, now)
        if running and recording.last_beat else None,
        blocked_s=blocked_s,
        booting_s=_booting_s(recording, now) if running else None,
        gil_held=_gil_held(recording, blocked_s, kernel, now) if running else None,
        stopped=running and kernel.state in _STOPPED,
        blocked_by=_blocked_by(recording) if blocked_s is not None else None,
        in_flight=len(recording.requests),
        oldest_request=_oldest(recording, at),
        rss_bytes=kernel.rss_bytes or recording.pulse.rss_bytes or None,
        timeout_s=recording.timeout,
        kill_in_s=round(recording.last_notify + recording.timeout - now, 3)
        if running and recording.timeout and recording.last_notify else None,
        uptime_s=_since(recording.booted, at) if recording.pid and recording.booted else None,
        versions=recording.versions)


def _since(moment: float, now: float) -> float:
    return round(max(0.0, now - moment), 3)


def _blocked_s(recording: Recording, now: float) -> float | None:
    """How long the loop has been silent, if that is too long and it was running before."""
    if recording.phase == BOOT or not recording.last_beat:
        return None
    silent_s = _since(recording.last_sign, now)
    return silent_s if silent_s > (recording.stall_threshold or _BLOCKED_S) else None


def _booting_s(recording: Recording, now: float) -> float | None:
    booting_s = _since(recording.booted, now)
    late = 0 < recording.startup_threshold < booting_s
    return booting_s if late and recording.phase in (BOOT, STARTUP) else None


def _gil_held(
    recording: Recording, blocked_s: float | None, kernel: Kernel, now: float
) -> bool | None:
    """Whether the monitor is silent as well, and nothing but the GIL can be why."""
    looked = recording.pulse.at
    if blocked_s is None or kernel.state in _STOPPED:
        return False
    if looked and now - looked <= _LOOK_OVERDUE_S:
        return False
    if not looked or now - looked <= _MONITOR_SILENT_S:
        return None
    if recording.last_sign - looked > _MONITOR_SILENT_S:
        return None  # it had fallen silent before the loop did: the monitor has died
    # Else it may be stopped or frozen: a thread that asks for the GIL sleeps or runs.
    return True if kernel.state in _AWAKE else None


def _blocked_by(recording: Recording) -> str | None:
    """What the newest report about this silence says."""
    return next(filter(None, map(_diagnosed, recording.told_of_silence())), None)


def _diagnosed(kept: KeptReport) -> str | None:
    # Here, for it costs a probe some milliseconds, and a healthy worker has nothing to revive.
    from watchdog_worker.revive import NotAReport, revived

    try:
        report = revived(kept.plain())
    except NotAReport:
        return None
    return _what(report) if report.event in _TELL_OF_BLOCKS else None


def _what(report: Report) -> str | None:
    diagnosis, request = report.diagnosis, report.snapshot.blocking_request
    if diagnosis is None or diagnosis.cause == "suspended":  # where it stood is not to blame then
        return None
    cause = diagnosis.cause if diagnosis.cause != "unknown" else None
    frame = diagnosis.culprit or diagnosis.blocking_call
    where = f"{frame.file}:{frame.line} {frame.qualname or frame.function}" if frame else None
    what = " at ".join(filter(None, (diagnosis.call or cause, where)))
    if what and request is not None:
        what += f", handling {request.method or request.type} {request.path}"
    return what or None


def _oldest(recording: Recording, now: float) -> OldestRequest | None:
    requests = [request for request in recording.requests if request.began]
    chosen = min(
        requests, key=lambda request: (request.method == "websocket", request.began), default=None)
    return chosen and OldestRequest(chosen.method, chosen.path, _since(chosen.began, now))


def asked(recording: Recording, path: str) -> Kernel:
    """What /proc says of the worker whose recorder is at `path`.

    A pid means nothing by itself: it may be another process's by now, or that of a process of
    another container. So the start has to be the same, and a worker counts as gone only where
    pids are known to mean here what they meant to its arbiter.
    """
    if not recording.pid:
        return Kernel()
    try:
        with open(f"/proc/{recording.pid}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        letter, started = fields[0].decode("ascii", "replace"), int(fields[_STARTED_FIELD])
    except (FileNotFoundError, ProcessLookupError):
        return Kernel("X") if _pids_are_ours(recording, path) else Kernel()
    except (OSError, ValueError, IndexError):
        return Kernel()
    if started == recording.started:
        return Kernel(letter, _rss(recording.pid), int(fields[_PARENT_FIELD]))
    return Kernel("X") if recording.started and _pids_are_ours(recording, path) else Kernel()


def _pids_are_ours(recording: Recording, path: str) -> bool:
    """Whether the kernel names the arbiter by the very pid that it has written down.

    The lock is listed under the pid that its taker has for us. And /proc must show everybody's
    processes (`hidepid`): the first one is always there.
    """
    try:
        inode = str(os.lstat(path).st_ino)
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            locks = [line.split() for line in file]
    except OSError:
        return False
    return os.path.exists("/proc/1") and any(
        len(lock) > 5 and lock[1] == "FLOCK" and lock[4] == str(recording.arbiter_pid)
        and lock[5].rpartition(":")[2] == inode for lock in locks)


def _rss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read(4096).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
