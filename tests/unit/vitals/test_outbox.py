"""Reports that are kept until the log has them."""

from __future__ import annotations

import random
import zlib
from types import SimpleNamespace
from typing import Any, SupportsIndex

import pytest

from watchdog_worker.vitals import layout, outbox, recording
from watchdog_worker.vitals.outbox import REPORT_MOST, Outbox


class TornOff(Exception):
    """The worker dies here."""


class Memory(bytearray):
    """The recorder's memory, in which one write may be the worker's last."""

    dies_at: int | None = None
    """Half-way through what is written from here on, unless it is FREE."""

    def __setitem__(self, at: SupportsIndex | slice, value: Any) -> None:
        begin: Any = at.start if isinstance(at, slice) else at
        if begin == self.dies_at and value != layout.FREE:
            if isinstance(at, slice):
                half = len(value) // 2
                super().__setitem__(slice(begin, begin + half), value[:half])
            raise TornOff
        super().__setitem__(at, value)


def blank() -> Memory:
    data = Memory(layout.SIZE)
    layout.IDENTITY.pack_into(data, 0, layout.MAGIC, layout.VERSION, *[0] * 10, *[b""] * 4)
    return data


def kept(memory: bytearray) -> list[tuple[int, bool, object]]:
    """Number, whether it is delivered, and the report, as a reader finds them."""
    return [(each.number, each.delivered, each.plain())
            for each in recording.read(bytes(memory)).reports]


def test_a_report_is_kept_until_it_is_delivered_and_after() -> None:
    """With the silence that it is about."""
    memory = blank()
    it = Outbox(memory)
    assert it.put(b'{"a": 1}', 12.5) == 1
    assert it.put(b'{"b": 2}', 0.0) == 2
    assert kept(memory) == [(1, False, {"a": 1}), (2, False, {"b": 2})]
    it.delivered(1)
    assert kept(memory) == [(1, True, {"a": 1}), (2, False, {"b": 2})]
    first, second = recording.read(bytes(memory)).reports
    assert (first.silent_since, second.silent_since) == (12.5, 0.0)
    assert 0.0 < first.made <= second.made


def test_delivered_ones_make_room_first_and_the_oldest_of_them() -> None:
    """Nothing is lost by that."""
    memory = blank()
    it = Outbox(memory)
    for number in range(1, layout.LETTERS + 1):
        it.put(b"%d" % number, 0.0)
    it.delivered(3)
    it.delivered(2)
    assert it.put(b"5", 0.0) == 5
    assert kept(memory) == [(1, False, 1), (3, True, 3), (4, False, 4), (5, False, 5)]
    assert it.put(b"6", 0.0) == 6
    assert kept(memory) == [(1, False, 1), (4, False, 4), (5, False, 5), (6, False, 6)]
    assert it.lost == 0


def test_where_none_is_delivered_the_oldest_is_lost_and_counted() -> None:
    """The newest is kept in any case."""
    memory = blank()
    it = Outbox(memory)
    for number in range(1, layout.LETTERS + 3):
        it.put(b"%d" % number, 0.0)
    assert kept(memory) == [(at, False, at) for at in range(3, layout.LETTERS + 3)]
    assert it.lost == 2


def test_a_number_that_has_made_room_is_delivered_to_nobody() -> None:
    """The log may take its time; what stands there now is another report."""
    memory = blank()
    it = Outbox(memory)
    for number in range(1, layout.LETTERS + 2):
        it.put(b"%d" % number, 0.0)
    before = kept(memory)
    for number in (1, 0, -1, 99):
        it.delivered(number)
    assert kept(memory) == before and not any(delivered for _, delivered, _ in before)


@pytest.mark.parametrize("report", [
    b'"' + random.Random(1).randbytes(layout.LETTER_SIZE).hex().encode() * 2 + b'"',
    b'"' + b"a" * (REPORT_MOST - 1) + b'"',
], ids=["packed", "unpacked"])
def test_one_that_is_too_long_is_not_kept(report: bytes) -> None:
    """Packed, for its place, or unpacked, for its readers; what is there stays as it is."""
    memory = blank()
    it = Outbox(memory)
    it.put(b"1", 0.0)
    before = bytes(memory)
    assert it.put(report, 0.0) == 0
    assert bytes(memory) == before
    assert it.put(b"2", 0.0) == 2


def test_the_longest_that_is_kept_is_read_in_full() -> None:
    """A reader reads as far as a writer may write."""
    memory = blank()
    assert Outbox(memory).put(b'"' + b"a" * (REPORT_MOST - 2) + b'"', 0.0) == 1
    assert kept(memory) == [(1, False, "a" * (REPORT_MOST - 2))]


@pytest.mark.parametrize("spare, number", [(0, 2), (1, 0)])
def test_one_that_fills_its_place_leaves_its_neighbour_alone(
    spare: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last byte."""
    memory = blank()
    room = layout.LETTER_SIZE - layout.LETTER.size
    monkeypatch.setattr(outbox, "zlib", SimpleNamespace(
        compress=lambda report, level: b"\xff" * (room + spare), crc32=zlib.crc32))
    it = Outbox(memory)
    it.put(b"1", 0.0)
    before = bytes(memory)
    assert it.put(b"2", 0.0) == number
    begin, end = layout.letter_at(1) + layout.LETTER.size, layout.letter_at(2)
    assert memory[begin:end] == (before[begin:end] if spare else b"\xff" * room)
    assert memory[end:] == before[end:]


@pytest.mark.parametrize("place", [layout.LETTER.size, 0], ids=["packed", "all but its state"])
def test_a_worker_that_dies_while_it_writes_leaves_the_others_whole(place: int) -> None:
    """What it was about to put there is none, nor what stood there before."""
    memory = blank()
    it = Outbox(memory)
    for number in range(1, layout.LETTERS + 1):
        it.put(b"%d" % number, 0.0)
    memory.dies_at = layout.letter_at(0) + place
    with pytest.raises(TornOff):
        it.put(b"5", 0.0)
    assert memory[layout.letter_at(0)] == layout.FREE
    assert kept(memory) == [(at, False, at) for at in range(2, layout.LETTERS + 1)]
