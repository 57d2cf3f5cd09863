"""Recorders' files as they are written, and some that mean harm: what mutations begin with.

The same on every run: what is of this process or of this moment is set to fixed values.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.fuzz import hostile, rawtexts
from tests.unit import recorded, reports
from watchdog_worker.model import Report, Stage
from watchdog_worker.render.json import line
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.recorder import Identity, Recorder, RecorderFile
from watchdog_worker.vitals.slots import SPARE

_LAG = (5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2)
_PULSE = layout.Pulse(
    1040.0, 1.7e9, 1035.5, 1035.5, 1044.0, 12.5, 1039.0, 900, 10 ** 8, 2 ** 29, 10 ** 8, 0, -1,
    0xDEADBEEF, 12, 3, 4, 0)
_IDENTITY = Identity(
    age=3, uid=os.geteuid(), gid=os.getegid(), timeout=30.0, graceful_timeout=30.0,
    beat_interval=0.5, stall_threshold=1.0, startup_threshold=30.0, boot_id=bytes(range(16)),
    app="shop.main:app", versions="CPython 3.11.7, gunicorn 27.0.1", host="web-1")
_LONG_THREADS = 50


class Base(NamedTuple):
    """One file to begin with."""

    name: str
    data: bytes
    texts: tuple[bytes, ...]
    """The JSON of its letters, unpacked."""
    genuine: bool
    """Everything in it is as a worker of ours writes it."""


def bases() -> list[Base]:
    """All of them."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return [*_genuine(folder), *_hostile(folder)]


def put_letter(
    data: bytearray, index: int, packed: bytes, number: int, state: int = layout.UNDELIVERED
) -> None:
    """A letter whose length and checksum are right, whatever it holds."""
    at = layout.letter_at(index)
    packed = packed[:layout.LETTER_SIZE - layout.LETTER.size]
    layout.LETTER.pack_into(
        data, at, state, len(packed), 0, zlib.crc32(packed), number, 1041.0, 1035.5)
    data[at + layout.LETTER.size:at + layout.LETTER.size + len(packed)] = packed


def made(
    folder: str, name: str, *writers: Callable[[Recorder], None],
    texts: Sequence[bytes] = (), raw: bytes = b"",
) -> Base:
    """A file that Recorder has written."""
    file = RecorderFile(folder, _IDENTITY)
    try:
        if writers:
            recorder = Recorder(file)
            for write in writers:
                write(recorder)
            for text in texts:
                assert recorder.outbox.put(text, 1035.5), "it is to have room"
        os.pwrite(file.fd, raw, layout.RAW_AT)
        data = bytearray(os.pread(file.fd, layout.SIZE + len(raw), 0))
        if writers:
            recorder.abandon()
    finally:
        file.remove()
        file.close()
    _settle(data)
    return Base(name, bytes(data), tuple(texts), genuine=True)


def vitals(recorder: Recorder) -> None:
    """A worker that serves."""
    recorder.phase("serving", 1001.0)
    recorder.notified(1035.5)
    recorder.beat(1035.5, 900, 0.25, 0.125, _LAG)
    recorder.pulse(_PULSE)


def requests(recorder: Recorder) -> None:
    """Some of each kind, with details of those that take long."""
    slots = recorder.slots
    for number in range(1, 71):
        scope = {"type": "websocket" if number % 7 == 0 else "http", "method": "GET",
                 "path": f"/käse/{number}" + "x" * (number * 5),
                 "raw_path": None if number % 3 else f"/k%C3%A4se/{number}?".encode()}
        slots.write_odd(slots.free.pop(), number, 1000.0 + number / 10, scope)
        recorder.details.write(number, {
            "client": f"10.0.0.{number}:5000", "path": f"/{number}",
            "headers": {"x-request-id": f"{number:032x}", "traceparent": "é\x1b[31m"}})


def all_slots(recorder: Recorder) -> None:
    """As many as there is room for, and more."""
    slots = recorder.slots
    for number in range(1, layout.SLOTS + 10):
        slot = slots.free.pop() if slots.free else SPARE
        slots.write_odd(
            slot, number, 1000.0 + number / 100, {"type": "http", "path": f"/{number}"})


def _genuine(folder: str) -> list[Base]:
    told = [recorded.told(recorded.load(name)) for name in recorded.NAMES]
    real = [_text(each) for each in told]
    small = [_text(each) for each in (
        reports.pre_kill(), reports.pre_kill()._replace(event="stall", severity="warning"),
        told[-1]._replace(snapshot=told[-1].snapshot._replace(threads=(), tasks=None)),
        _bare(told[0]))]
    timer, fatal = rawtexts.timer(), rawtexts.fatal()
    return [
        made(folder, "empty"),
        made(folder, "booted", vitals),
        made(folder, "small", vitals, requests, texts=small, raw=timer),
        made(folder, "fatal", vitals, requests, texts=small[:1], raw=fatal),
        made(folder, "both", vitals, raw=timer + fatal),
        made(folder, "odd", vitals, raw=rawtexts.odd()),
        made(folder, "devices", vitals, raw=rawtexts.devices()),
        made(folder, "slots", vitals, all_slots, texts=small[1:]),
        made(folder, "stages", vitals, texts=[_text(each) for each in _of_stages()]),
        made(folder, "long", vitals, texts=[_long(told[-1]), real[0]], raw=rawtexts.long()),
        *(made(folder, f"real {at}", vitals, texts=real[at:at + layout.LETTERS])
          for at in range(0, len(real), layout.LETTERS)),
    ]


def _hostile(folder: str) -> list[Base]:
    plain = made(folder, "hostile", vitals, requests)
    found, letters = [], [*hostile.letters(_text(reports.pre_kill()))]
    for first in range(0, len(letters), layout.LETTERS):
        data = bytearray(plain.data)
        some = letters[first:first + layout.LETTERS]
        for index, letter in enumerate(some):
            put_letter(data, index, letter.packed, number=index + 1)
        for index, detail in enumerate(hostile.details()):
            at = layout.detail_at(index)
            layout.DETAIL.pack_into(data, at, index + 1, len(detail), detail)
        found.append(Base(
            f"hostile {first}", bytes(data), tuple(each.text for each in some), genuine=False))
    return found


def _of_stages() -> Iterator[Report]:
    """A boot that is ended, and a drain."""
    told = reports.pre_kill()
    yield told._replace(event="slow_startup", stage=Stage(
        "startup", 30.25, 30.0, ended=True, holder="task", holder_name="warm-up"))
    yield told._replace(event="slow_shutdown", severity="warning", stage=Stage(
        "shutdown", 15.5, 30.0, holder="requests", connections=3))


def _text(told: Report) -> bytes:
    return line(told).encode()


def _bare(told: Report) -> Report:
    """Without anything that can be missing."""
    return told._replace(
        snapshot=type(told.snapshot)(), stall=None, diagnosis=None, context=None, stage=None)


def _long(told: Report) -> bytes:
    """As long as one with many threads gets."""
    (thread, *_) = told.snapshot.threads
    threads = tuple(thread._replace(id=at, name=f"worker-{at}", frames=thread.frames[at % 9:])
                    for at in range(_LONG_THREADS))
    return _text(told._replace(snapshot=told.snapshot._replace(threads=threads)))


def _settle(data: bytearray) -> None:
    """Give fixed values to what differs from run to run: pids, times."""
    identity = list(layout.IDENTITY.unpack_from(data, layout.IDENTITY_AT))
    identity[2], identity[4:7] = 4700, (33, 1.7e9, 1000.0)
    layout.IDENTITY.pack_into(data, layout.IDENTITY_AT, *identity)
    if layout.BOOT.unpack_from(data, layout.BOOT_AT)[0]:
        layout.BOOT.pack_into(
            data, layout.BOOT_AT, 4711, 123456, rawtexts.LOOP_THREAD, 1000.5)
    for index in range(layout.LETTERS):
        at = layout.letter_at(index)
        letter = list(layout.LETTER.unpack_from(data, at))
        if letter[0] != layout.FREE:
            letter[5] = 1041.0
            layout.LETTER.pack_into(data, at, *letter)
