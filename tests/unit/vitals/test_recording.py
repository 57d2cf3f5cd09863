"""What is read of a recorder's file, whoever has written it."""

from __future__ import annotations

import json
import math
import os
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.recorders import IDENTITY, Made
from watchdog_worker.model import LoopLag
from watchdog_worker.vitals import layout, recording
from watchdog_worker.vitals.heartbeat import LAG_BOUNDS
from watchdog_worker.vitals.outbox import REPORT_MOST
from watchdog_worker.vitals.recorder import started_at
from watchdog_worker.vitals.layout import Pulse
from watchdog_worker.vitals.recording import KeptReport, NotARecording, Recording

COUNTS = tuple(range(1, 16))
PULSE: tuple[Any, ...] = (
    1.5, 1.7e9, 3.5, 4.5, 5.5, 6.5, 6.75, 99, 7, 8, 9, -1, 11, 12, 13, 14, 15, 16)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path, boot_id=bytes(range(16)))
    yield found
    found.die()


def read(made: Made) -> Recording:
    return recording.load(made.file.fd)


def parsed(data: bytearray, raw: bytes = b"") -> Recording:
    return recording.read(bytes(data), raw)


def blank() -> bytearray:
    """A file whose worker has not begun to write."""
    data = bytearray(layout.SIZE)
    layout.IDENTITY.pack_into(data, 0, layout.MAGIC, layout.VERSION, *[0] * 10, *[b""] * 4)
    return data


def with_letter(
    packed: bytes, *, state: int = layout.UNDELIVERED, length: int | None = None,
    checksum: int | None = None, index: int = 0, number: int = 1,
) -> bytearray:
    """A file with one report."""
    data, at = blank(), layout.letter_at(index)
    layout.LETTER.pack_into(
        data, at, state, len(packed) if length is None else length, 0,
        zlib.crc32(packed) if checksum is None else checksum, number, 2.0, 1.0)
    data[at + layout.LETTER.size:at + layout.LETTER.size + len(packed)] = packed
    return data


def told(text: bytes) -> object:
    """What the reader makes of a report with this JSON."""
    (kept,) = parsed(with_letter(zlib.compress(text, 9))).reports
    return kept.plain()


def test_a_whole_file_is_read_as_it_was_written(made: Made) -> None:
    """Every part of it, the raw stacks behind it included."""
    recorder = made.recorder
    recorder.phase("shutdown", 20.5)
    recorder.notified(21.5)
    recorder.beat(22.5, 900, 0.25, 0.125, COUNTS)
    recorder.pulse(Pulse(*PULSE))
    made.request(1, 23.5, b"GET", b"/k%C3%A4se")
    recorder.details.write(1, {"client": "10.0.0.1:1", "headers": {"x": "y"}})
    recorder.outbox.delivered(recorder.outbox.put(b'{"a": 1}', 19.5))
    recorder.outbox.put(b'{"b": 2.5}', 0.0)
    made.overwrite(layout.RAW_AT, "Timeout (0:00:01)!\nkäse\n".encode())
    found = read(made)
    assert (found.arbiter_pid, found.age, found.uid, found.timeout, found.graceful_timeout,
            found.beat_interval, found.stall_threshold, found.startup_threshold,
            found.boot_id) == (
        os.getpid(), 3, os.geteuid(), 30.0, 30.0, 0.5, 1.0, 45.0, bytes(range(16)))
    assert (found.app, found.versions, found.host) == (
        IDENTITY.app, IDENTITY.versions, IDENTITY.host)
    assert (found.pid, found.started, found.loop_thread) == (
        os.getpid(), started_at(os.getpid()), threading.get_ident())
    assert 0 < found.made <= found.booted and found.made_wall > 1.7e9
    assert (found.phase, found.phase_since, found.last_notify, found.last_beat,
            found.requests_so_far) == ("shutdown", 20.5, 21.5, 22.5, 900)
    assert found.lag == LoopLag(LAG_BOUNDS, COUNTS, 0.25, 0.125)
    assert found.pulse == Pulse(*PULSE)
    assert found.requests == (recording.KeptRequest(
        1, 23.5, "GET", "/k%C3%A4se", {"client": "10.0.0.1:1", "headers": {"x": "y"}}),)
    assert [(kept.number, kept.delivered, kept.silent_since, kept.plain())
            for kept in found.reports] == [(1, True, 19.5, {"a": 1}), (2, False, 0.0, {"b": 2.5})]
    assert found.raw == "Timeout (0:00:01)!\nkäse\n"


@pytest.mark.parametrize("raw_from, raw", [
    (layout.RAW_AT + 4, "new\n"), (layout.RAW_AT + 8, ""), (layout.RAW_AT, "old\nnew\n"),
    (0, "old\nnew\n"), (layout.RAW_AT + 9, "old\nnew\n"), (2 ** 53 - 1, "old\nnew\n"),
])
def test_raw_stacks_that_are_forgotten_are_not_read(made: Made, raw_from: int, raw: str) -> None:
    """Those of a time that is over; a place that cannot be is not believed."""
    made.recorder.pulse(Pulse(*PULSE)._replace(raw_from=raw_from))
    made.overwrite(layout.RAW_AT, b"old\nnew\n")
    assert read(made).raw == raw


def test_a_worker_that_never_wrote_is_not_known(tmp_path: Path) -> None:
    """Only what the arbiter has put into the file is there."""
    made = Made(tmp_path)
    found = read(made)
    made.die()
    assert (found.age, found.app) == (3, "shop:app")
    assert (found.pid, found.phase, found.last_beat, found.raw) == (0, "boot", 0.0, "")
    assert (found.requests, found.reports) == ((), ())
    assert found.last_trace == found.made > 0


def test_a_glance_shows_whether_there_is_anything_to_tell(made: Made) -> None:
    """The worker's pid and phase, and a report that is not delivered."""
    assert recording.glance(made.file.fd)[:3] == (0, "boot", False)
    made.serve(1.0)
    assert recording.glance(made.file.fd)[:3] == (os.getpid(), "serving", False)
    number = made.recorder.outbox.put(b"{}", 0.0)
    assert recording.glance(made.file.fd).undelivered
    made.recorder.outbox.delivered(number)
    assert not recording.glance(made.file.fd).undelivered
    made.overwrite(layout.BOOT_AT, b"\xff" * layout.BOOT.size)
    made.overwrite(layout.PHASE_AT, b"\xff")
    assert recording.glance(made.file.fd)[:3] == (0, "boot", False)
    os.truncate(made.path, layout.SIZE - 1)
    with pytest.raises(NotARecording, match="too short"):
        recording.glance(made.file.fd)


def test_of_a_file_that_cannot_be_read_nothing_is_known() -> None:
    """It stands for one that a worker has spoilt."""
    found = recording.blank()
    assert (found.pid, found.phase, found.last_trace, found.app) == (0, "boot", 0.0, "")
    assert (found.requests, found.reports, found.raw) == ((), (), "")


@pytest.mark.parametrize("size", [0, 1, layout.SIZE - 1])
def test_a_short_file_is_none(size: int) -> None:
    """It is not read beyond its end."""
    with pytest.raises(NotARecording, match="too short"):
        parsed(blank()[:size])


@pytest.mark.parametrize("at, byte, why", [
    (0, b"X", "not a recorder's file"), (7, b"\0", "not a recorder's file"),
    (8, bytes([layout.VERSION + 1]), rf"another version \(layout {layout.VERSION + 1}\)"),
    (9, b"\1", "another version"),
])
def test_another_format_is_refused(at: int, byte: bytes, why: str) -> None:
    """By its magic, or by its version."""
    data = blank()
    data[at:at + 1] = byte
    with pytest.raises(NotARecording, match=why):
        parsed(data)


def test_what_is_no_regular_file_is_not_read() -> None:
    """A pipe would block."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(NotARecording, match="no regular file"):
            recording.load(reading)
    finally:
        os.close(reading)
        os.close(writing)


# Where each number stands that can be out of bounds: struct, its place, index, name.
FIELDS = [
    *((layout.IDENTITY, layout.IDENTITY_AT, index, name) for index, name in enumerate((
        "arbiter_pid", "age", "uid", "made_wall", "made", "timeout", "graceful_timeout",
        "beat_interval", "stall_threshold", "startup_threshold"), start=2)),
    (layout.BOOT, layout.BOOT_AT, 0, "pid"),
    (layout.BOOT, layout.BOOT_AT, 1, "started"),
    (layout.BOOT, layout.BOOT_AT, 3, "booted"),
    (layout.PHASE, layout.PHASE_AT, 1, "phase_since"),
    (layout.NOTIFIED, layout.NOTIFIED_AT, 0, "last_notify"),
    (layout.BEAT, layout.BEAT_AT, 0, "last_beat"),
    (layout.BEAT, layout.BEAT_AT, 1, "requests_so_far"),
    (layout.BEAT, layout.BEAT_AT, 2, "lag.sum_s"),
    (layout.BEAT, layout.BEAT_AT, 3, "lag.max_s"),
    *((layout.PULSE, layout.PULSE_AT, index, f"pulse.{name}")
      for index, name in enumerate(Pulse._fields) if name not in ("group", "threads")),
]
OUT_OF_BOUNDS = {"d": (math.nan, math.inf, -math.inf, -1e-9, 1e12, 1e300),
                 "q": (-2, 2 ** 53, 2 ** 63 - 1, -2 ** 63), "Q": (2 ** 53, 2 ** 64 - 1)}


@pytest.mark.parametrize("form, at, index, name", FIELDS, ids=[field[3] for field in FIELDS])
def test_a_number_out_of_bounds_is_not_known(
    form: struct.Struct, at: int, index: int, name: str
) -> None:
    """Each on its own: a time that is none, a negative pid, a count that nobody has counted to."""
    def taken(value: float) -> Any:
        data = blank()
        values = list(form.unpack_from(data, at))
        values[index] = value
        form.pack_into(data, at, *values)
        found: Any = parsed(data)
        for part in name.split("."):
            found = getattr(found, part)
        return found

    unknown = -1 if name.endswith("oom_kills") else 0
    assert taken(7) == 7
    for value in OUT_OF_BOUNDS[list(_kinds(form))[index]]:
        assert taken(value) == unknown


def _kinds(form: struct.Struct) -> Iterator[str]:
    """The format's letter of each value."""
    number = ""
    for letter in form.format:
        if letter.isdigit():
            number += letter
        elif letter not in "<x":
            yield from letter * (1 if letter == "s" else int(number or 1))
        number = number if letter.isdigit() else ""


@pytest.mark.parametrize("phase", [5, 255])
def test_a_phase_that_there_is_not_reads_as_the_first(phase: int) -> None:
    """There are five."""
    data = blank()
    data[layout.PHASE_AT] = phase
    assert parsed(data).phase == "boot"


def test_texts_end_at_their_first_zero_and_with_their_field() -> None:
    """What is no UTF-8 is replaced."""
    data = blank()
    layout.IDENTITY.pack_into(
        data, 0, layout.MAGIC, layout.VERSION, *[0] * 10, b"", b"a" * 200, b"cut\0off", b"\xff\xc3")
    found = parsed(data)
    assert (found.app, found.versions, found.host) == ("a" * 128, "cut", "\ufffd\ufffd")


def test_requests_are_read_oldest_first_and_with_the_spare(made: Made) -> None:
    """Wherever they stand; a slot that is not used, or half written, is none."""
    made.overwrite(layout.slot_at(0), layout.SLOT.pack(1, 9, 3.0, b"GET", b"/newest"))
    made.overwrite(layout.slot_at(100), layout.SLOT.pack(1, 4, 2.0, b"websocket", b"/older"))
    made.overwrite(layout.slot_at(layout.SLOTS), layout.SLOT.pack(1, 2, 1.0, b"", b"/spare"))
    made.overwrite(layout.slot_at(7), layout.SLOT.pack(0, 7, 1.0, b"GET", b"/over"))
    made.overwrite(layout.slot_at(8), layout.SLOT.pack(2, 8, 1.0, b"GET", b"/none"))
    found = read(made)
    assert [(each.number, each.method, each.path) for each in found.requests] == [
        (2, "", "/spare"), (4, "websocket", "/older"), (9, "GET", "/newest")]
    assert found.last_sign == 3.0


def test_a_request_out_of_bounds_keeps_what_is_sound() -> None:
    """Its number, its beginning, and the end of its path."""
    data = blank()
    layout.SLOT.pack_into(
        data, layout.slot_at(3), 1, 2 ** 60, math.nan, b"\xff" * 16, b"/" * 300)
    assert parsed(data).requests == (
        recording.KeptRequest(0, 0.0, "\ufffd" * 16, "/" * 216, {}),)


@pytest.mark.parametrize("text, length, details", [
    (b'{"client": "a"}', None, {"client": "a"}),
    (b'{"client": "a"}', 0, {}),
    (b'{"client": "a"}', 14, {}),
    (b'{"client": "%b"}' % (b"a" * 488), None, {"client": "a" * 488}),
    (b'{"client": "%b"}' % (b"a" * 488), 503, {}),
    (b'{"client": "a"}', 65535, {}),
    (b'["client"]', None, {}),
    (b"[" * 502, None, {}),
    (b'{"client": "\xff"}', None, {}),
    (b'{"a": 1e999, "b": NaN, "c": -Infinity, "d": %b}' % (b"9" * 400), None,
     {"a": 0.0, "b": None, "c": None, "d": 0}),
])
def test_details_are_held_to_bounds(
    text: bytes, length: int | None, details: dict[str, Any]
) -> None:
    """Their length, their shape, their numbers."""
    data = blank()
    layout.SLOT.pack_into(data, layout.slot_at(0), 1, 5, 1.0, b"GET", b"/")
    layout.DETAIL.pack_into(
        data, layout.detail_at(63), 5, len(text) if length is None else length, text)
    (request,) = parsed(data).requests
    assert request.details == details


def test_reports_are_read_in_the_order_in_which_they_were_made() -> None:
    """Their places are used again and again."""
    data = with_letter(zlib.compress(b"2"), number=2, index=0)
    for index, number in ((1, 3), (3, 1)):
        at = layout.letter_at(index)
        other = with_letter(zlib.compress(b"%d" % number), number=number, index=index)
        data[at:at + layout.LETTER_SIZE] = other[at:at + layout.LETTER_SIZE]
    assert [(kept.number, kept.plain()) for kept in parsed(data).reports] == [
        (1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("letter", [
    {"state": layout.FREE}, {"state": 3}, {"length": 0}, {"length": 2 ** 32 - 1},
    {"length": layout.LETTER_SIZE - layout.LETTER.size + 1}, {"checksum": 1}, {"length": 8},
])
def test_a_letter_that_was_not_finished_is_none(letter: dict[str, int]) -> None:
    """By its state, its length, its checksum."""
    packed = zlib.compress(b"[1]")
    assert len(parsed(with_letter(packed)).reports) == 1
    assert parsed(with_letter(packed, **letter)).reports == ()


def test_times_of_a_letter_are_held_to_bounds() -> None:
    """And its number."""
    data = with_letter(zlib.compress(b"1"))
    at = layout.letter_at(0)
    values = list(layout.LETTER.unpack_from(data, at))
    values[4:] = 2 ** 64 - 1, math.nan, -1.0
    layout.LETTER.pack_into(data, at, *values)
    (kept,) = parsed(data).reports
    assert (kept.number, kept.made, kept.silent_since) == (0, 0.0, 0.0)


@pytest.mark.parametrize("text", [
    b"", b"{", b"\xff\xfe\xfd", b"[" * 200_000, b'{"a":' * 50_000, b"\0" * 100, b'{"a": 1} x',
])
def test_what_is_no_json_says_nothing(text: bytes) -> None:
    """However it fails."""
    assert told(text) is None


def test_a_letter_that_is_packed_wrongly_says_nothing() -> None:
    """A checksum that is right proves nothing."""
    whole = zlib.compress(json.dumps(list(range(1000))).encode())
    for packed in (b"x", b"x" + whole, whole[:-20], whole[:10] + b"\xff" * 40):
        (kept,) = parsed(with_letter(packed)).reports
        assert kept.plain() is None


def test_a_bomb_is_not_unpacked() -> None:
    """No more than the longest report is, and that is read in full."""
    longest = b'"' + b"a" * (REPORT_MOST - 2) + b'"'
    assert told(longest) == "a" * (REPORT_MOST - 2)
    assert told(longest + b" " * 10) == "a" * (REPORT_MOST - 2)
    assert told(b'"' + b"a" * (REPORT_MOST - 1) + b'"') is None
    bomb = KeptReport(1, False, 0.0, 0.0, zlib.compress(bytes(30 * 2 ** 20), 9))
    assert len(bomb.packed) < layout.LETTER_SIZE
    tracemalloc.start()
    try:
        assert bomb.plain() is None
        assert tracemalloc.get_traced_memory()[1] < 8 * REPORT_MOST
    finally:
        tracemalloc.stop()


def test_numbers_of_a_report_are_held_to_bounds() -> None:
    """JSON knows no NaN, and no number of a thousand digits is one of ours."""
    assert told(b'[NaN, Infinity, -Infinity, 1e999, -1e999, 1e-999, 123, -12.5, %b, -%b]' % (
        b"9" * 1000, b"9" * 21)) == [None, None, None, 0.0, 0.0, 0.0, 123, -12.5, 0, 0]


def test_raw_stacks_are_read_so_far_and_no_further(made: Made) -> None:
    """Zeros at their end are a hole in the file."""
    made.overwrite(layout.RAW_AT, b"a\xffb\0c\n\0\0\0")
    assert read(made).raw == "a\ufffdb\0c\n"
    made.overwrite(layout.RAW_AT, b"x" * (recording.RAW_MOST + 1))
    assert read(made).raw == "x" * recording.RAW_MOST
    assert parsed(blank(), b"y" * (recording.RAW_MOST + 1)).raw == "y" * recording.RAW_MOST


def test_the_last_sign_is_the_newest_of_what_the_loop_has_done(tmp_path: Path) -> None:
    """A beat, a request that came, a look; the last trace is anything at all."""
    made = Made(tmp_path)
    made.serve(2e9, looked=2.5e9)
    assert (read(made).last_sign, read(made).last_trace) == (2e9, 2.5e9)
    made.request(1, 3e9, b"GET", b"/")
    assert read(made).last_sign == read(made).last_trace == 3e9
    made.pulse(5e9, last_sign=4e9)
    assert (read(made).last_sign, read(made).last_trace) == (4e9, 5e9)
    made.recorder.notified(6e9)
    assert (read(made).last_sign, read(made).last_trace) == (4e9, 6e9)
    made.die()
