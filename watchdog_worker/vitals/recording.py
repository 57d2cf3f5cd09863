"""What a recorder's file holds, for a reader that trusts nothing of it.

The worker that wrote it may have been taken over, or have died in the middle of a write. So every
length, text and number is held to bounds, nothing is executed or unpickled, and what makes no
sense reads as not known. Pure but for `load`; any process.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zlib
from typing import Any, NamedTuple

from watchdog_worker.model import LoopLag
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.heartbeat import LAG_BOUNDS
from watchdog_worker.vitals.layout import Pulse
from watchdog_worker.vitals.outbox import REPORT_MOST

RAW_MOST = 256 * 1024
"""So much of what faulthandler wrote is read: the stacks of a hundred threads, as a rule."""
_SECONDS_MOST = 1e12
_COUNT_MOST = 2 ** 53
_DIGITS_MOST = 20
_TEXT_MOST = 500
_SAME_SIGN_S = 0.01
_MAY_BE_UNTOLD = ("group_oom_kills", "machine_oom_kills")


class NotARecording(ValueError):
    """A file that no recorder of this version has written; the text says why."""


class KeptRequest(NamedTuple):
    """A request that was in flight."""

    number: int
    began: float
    method: str
    """`websocket` for one."""
    path: str
    """As it was sent, with its percent signs."""
    details: dict[str, Any]
    """`client`, `headers`, `path`: untrusted values, empty for what was not there for long."""


class KeptReport(NamedTuple):
    """A report as the worker left it, still packed."""

    number: int
    delivered: bool
    """It has reached the log."""
    made: float
    silent_since: float
    """The last sign of life before the silence that it is about; 0: about none."""
    packed: bytes

    def plain(self) -> object:
        """What the JSON in it says; None where it is damaged. Takes memory of some times
        REPORT_MOST, for as long as the caller keeps it."""
        try:
            return _parsed(zlib.decompressobj().decompress(self.packed, REPORT_MOST))
        except (ValueError, zlib.error, RecursionError, MemoryError):
            return None


class Recording(NamedTuple):
    """A whole file; 0 and empty texts for what is not known."""

    arbiter_pid: int
    age: int
    uid: int
    made_wall: float
    made: float
    timeout: float
    graceful_timeout: float
    beat_interval: float
    stall_threshold: float
    startup_threshold: float
    boot_id: bytes
    app: str
    versions: str
    host: str
    pid: int
    """Of the worker; 0: it never began to write."""
    started: int
    """Its start in ticks since boot."""
    loop_thread: int
    booted: float
    phase: str
    phase_since: float
    last_notify: float
    last_beat: float
    requests_so_far: int
    lag: LoopLag
    pulse: Pulse
    requests: tuple[KeptRequest, ...]
    """The oldest first."""
    reports: tuple[KeptReport, ...]
    """In the order in which they were made."""
    raw: str
    """What faulthandler wrote."""
    end: str = ""
    """One of `layout.ENDS`."""

    @property
    def last_sign(self) -> float:
        """The last thing that is known of the loop: a beat, or a request that came."""
        newest = max((request.began for request in self.requests), default=0.0)
        return max(self.last_beat, newest, self.pulse.last_sign)

    def told_of_silence(self) -> tuple[KeptReport, ...]:
        """The reports of the silence that goes on, or in which it died; the newest first."""
        return tuple(kept for kept in reversed(self.reports)
                     if kept.silent_since and kept.silent_since >= self.last_sign - _SAME_SIGN_S)

    @property
    def last_trace(self) -> float:
        """The last thing that is known of the process."""
        return max(self.last_sign, self.pulse.at, self.last_notify, self.booted, self.made)


class Glance(NamedTuple):
    """The little that the arbiter itself looks at, to know whether there is anything to tell."""

    pid: int = 0
    phase: str = layout.PHASES[0]
    undelivered: bool = False
    """A report has not reached the log."""
    pulse: Pulse = Pulse()
    end: str = ""


def glance(fd: int) -> Glance:
    """Look at a few fields of fixed size. Raises OSError and NotARecording."""
    data = _whole(fd)
    _check(data)
    (phase, _), (pid, *_) = (layout.PHASE.unpack_from(data, layout.PHASE_AT),
                             layout.BOOT.unpack_from(data, layout.BOOT_AT))
    undelivered = any(
        data[layout.letter_at(index)] == layout.UNDELIVERED for index in range(layout.LETTERS))
    return Glance(_count(pid), _phase(phase), undelivered, _pulse(data), _end(data))


def blank() -> Recording:
    """What is known where nothing is."""
    data = bytearray(layout.SIZE)
    data[:len(layout.MAGIC)] = layout.MAGIC
    data[len(layout.MAGIC)] = layout.VERSION
    return read(bytes(data))


def load(fd: int) -> Recording:
    """Read an open file. Raises OSError and NotARecording; never blocks on a regular file."""
    data = _whole(fd)
    _check(data)
    began = _pulse(data).raw_from
    if not layout.RAW_AT <= began <= os.fstat(fd).st_size:
        began = layout.RAW_AT
    return read(data, os.pread(fd, RAW_MOST, began))


def _whole(fd: int) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise NotARecording("no regular file")
    return os.pread(fd, layout.SIZE, 0)


def read(data: bytes, raw: bytes = b"") -> Recording:
    """The recording in the first SIZE bytes of a file, and what comes after them.

    Raises NotARecording.
    """
    _check(data)
    _, _, *identity = layout.IDENTITY.unpack_from(data, layout.IDENTITY_AT)
    (arbiter_pid, age, uid, made_wall, made, timeout, graceful_timeout, beat_interval,
     stall_threshold, startup_threshold, boot_id, app, versions, host) = identity
    pid, started, loop_thread, booted = layout.BOOT.unpack_from(data, layout.BOOT_AT)
    phase, since = layout.PHASE.unpack_from(data, layout.PHASE_AT)
    (last_notify,) = layout.NOTIFIED.unpack_from(data, layout.NOTIFIED_AT)
    last_beat, requests, late_s, latest_s, *counts = layout.BEAT.unpack_from(data, layout.BEAT_AT)
    return Recording(
        _count(arbiter_pid), _count(age), _count(uid), _seconds(made_wall), _seconds(made),
        _seconds(timeout), _seconds(graceful_timeout), _seconds(beat_interval),
        _seconds(stall_threshold), _seconds(startup_threshold), boot_id,
        _text(app), _text(versions), _text(host),
        _count(pid), _count(started), loop_thread, _seconds(booted),
        _phase(phase), _seconds(since), _seconds(last_notify), _seconds(last_beat),
        _count(requests),
        LoopLag(LAG_BOUNDS, tuple(map(_count, counts)), _seconds(late_s), _seconds(latest_s)),
        _pulse(data), _requests(data), _reports(data),
        raw[:RAW_MOST].rstrip(b"\0").decode("utf-8", "replace"), _end(data))


def _check(data: bytes) -> None:
    if len(data) < layout.SIZE:
        raise NotARecording("too short")
    magic, version = layout.IDENTITY.unpack_from(data, layout.IDENTITY_AT)[:2]
    if magic != layout.MAGIC:
        raise NotARecording("not a recorder's file")
    if version != layout.VERSION:
        raise NotARecording(f"written by another version (layout {version})")


def _pulse(data: bytes) -> Pulse:
    found = Pulse._make(layout.PULSE.unpack_from(data, layout.PULSE_AT))
    return Pulse._make(
        _seconds(value) if isinstance(value, float)
        else _count(value, least=-1 if name in _MAY_BE_UNTOLD else 0)
        for name, value in zip(Pulse._fields, found, strict=True))


def _requests(data: bytes) -> tuple[KeptRequest, ...]:
    details = _details(data)
    found: dict[int, KeptRequest] = {}
    for index in range(layout.SLOTS + 1):
        at = layout.slot_at(index)
        if data[at] == 1:
            _, number, began, method, path = layout.SLOT.unpack_from(data, at)
            number = _count(number)
            found[number] = KeptRequest(
                number, _seconds(began), _text(method), _text(path), details.get(number, {}))
    return tuple(found[number] for number in sorted(found))


def _details(data: bytes) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for index in range(layout.DETAILS):
        number, length, packed = layout.DETAIL.unpack_from(data, layout.detail_at(index))
        if number and 0 < length <= len(packed):
            try:
                value = _parsed(packed[:length])
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found[_count(number)] = value
    return found


def _reports(data: bytes) -> tuple[KeptReport, ...]:
    found = []
    for index in range(layout.LETTERS):
        at = layout.letter_at(index)
        state, length, _, checksum, number, made, since = layout.LETTER.unpack_from(data, at)
        if state not in (layout.UNDELIVERED, layout.DELIVERED):
            continue
        if not 0 < length <= layout.LETTER_SIZE - layout.LETTER.size:
            continue
        packed = data[at + layout.LETTER.size:at + layout.LETTER.size + length]
        if zlib.crc32(packed) == checksum:  # else it was being written
            found.append(KeptReport(
                _count(number), state == layout.DELIVERED, _seconds(made), _seconds(since), packed))
    return tuple(sorted(found, key=lambda report: report.number))


def _phase(index: int) -> str:
    return layout.PHASES[index] if index < len(layout.PHASES) else layout.PHASES[0]


def _end(data: bytes) -> str:
    (index,) = layout.END.unpack_from(data, layout.END_AT)
    return layout.ENDS[index] if index < len(layout.ENDS) else layout.ENDS[0]


def _seconds(value: float) -> float:
    return value if math.isfinite(value) and 0 <= value < _SECONDS_MOST else 0.0


def _count(value: int, least: int = 0) -> int:
    return value if least <= value < _COUNT_MOST else least


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")[:_TEXT_MOST]


def _parsed(text: bytes) -> Any:
    """What this JSON says, its numbers within bounds. Raises ValueError and RecursionError."""
    return json.loads(text, parse_int=_parsed_int, parse_float=_parsed_float,
                      parse_constant=lambda name: None)


def _parsed_int(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS_MOST else 0


def _parsed_float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else 0.0
