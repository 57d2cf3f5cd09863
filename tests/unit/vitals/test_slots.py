"""Requests in flight, as they are written for those who look from outside."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog_worker.vitals import layout, recording
from watchdog_worker.vitals.recording import KeptRequest
from watchdog_worker.vitals.slots import SPARE, Details, Slots, write


@pytest.fixture
def memory() -> bytearray:
    data = bytearray(layout.SIZE)
    layout.IDENTITY.pack_into(data, 0, layout.MAGIC, layout.VERSION, *[0] * 10, *[b""] * 4)
    return data


def requests(memory: bytearray) -> tuple[KeptRequest, ...]:
    return recording.read(bytes(memory)).requests


class NoText:
    """What a server's scope should not hold."""

    def __str__(self) -> str:
        raise ValueError("no text")


class NoScope(dict[str, Any]):
    """What should be no server's scope."""

    def get(self, name: str, default: Any = None) -> Any:
        raise RuntimeError("no scope")


@pytest.mark.parametrize("scope, method, path", [
    ({"type": "http", "method": "GET", "raw_path": b"/a%20b", "path": "/a b"}, "GET", "/a%20b"),
    ({"type": "http", "method": "PROPFIND", "path": "/käse"}, "PROPFIND", "/käse"),
    ({"type": "http", "method": "GET", "raw_path": None, "path": "/\ud800"}, "GET", "/?"),
    ({"type": "websocket", "path": "/live"}, "websocket", "/live"),
    ({"type": "http", "method": "M" * 50, "path": "/" + "x" * 500}, "M" * 16, "/" + "x" * 215),
    ({"type": "http"}, "", ""),
    ({"type": "http", "method": "GET", "raw_path": "no bytes"}, "", ""),
    ({"type": "http", "method": "\ud800", "path": "/"}, "", ""),
    ({"type": "http", "method": NoText(), "path": "/"}, "", ""),
    ({"type": "http", "method": "GET", "path": NoText()}, "", ""),
    (NoScope(), "", ""),
])
def test_whatever_the_scope_is_the_request_is_told(
    memory: bytearray, scope: dict[str, Any], method: str, path: str
) -> None:
    """Cut to its place, or with its number alone; nothing is raised into the server."""
    slots = Slots(memory)
    slot = slots.free.pop()
    assert slots.write_odd(slot, 7, 1.5, scope) == slot
    assert requests(memory) == (KeptRequest(7, 1.5, method, path, {}),)


def test_no_two_requests_share_a_slot_but_the_spare(memory: bytearray) -> None:
    """As many as there are slots, and the newest of those for whom none was left."""
    slots = Slots(memory)
    for number in range(1, layout.SLOTS + 4):
        slot = slots.free.pop() if slots.free else SPARE
        slots.write_odd(slot, number, float(number), {"type": "http"})
    assert [each.number for each in requests(memory)] == [
        *range(1, layout.SLOTS + 1), layout.SLOTS + 3]


def test_slots_lie_within_their_part_and_the_warm_one_comes_first(memory: bytearray) -> None:
    """The last one given back is taken next."""
    slots = Slots(memory)
    everywhere = [*slots.free, SPARE]
    assert len(set(everywhere)) == layout.SLOTS + 1
    assert min(everywhere) == layout.SLOT_AT
    assert max(everywhere) + layout.SLOT.size <= layout.DETAIL_AT
    first, second = slots.free.pop(), slots.free.pop()
    slots.free.append(first)
    assert slots.free.pop() == first != second


def test_websockets_leave_half_of_the_slots_to_others(memory: bytearray) -> None:
    """They stay for hours; beyond that, they share the spare, and give back what they were given.
    """
    slots = Slots(memory)
    socket = {"type": "websocket", "path": "/live"}
    for number in range(1, layout.SLOTS + 1):
        slots.write_odd(slots.free.pop(), number, 1.0, socket)
    assert len(slots.free) == layout.SLOTS // 2
    assert len(requests(memory)) == layout.SLOTS // 2 + 1
    assert requests(memory)[-1].number == layout.SLOTS
    slot = slots.free.pop()
    assert slots.write_odd(slot, 1000, 1.0, {"type": "http"}) == slot
    slots.free.clear()
    assert slots.write_odd(SPARE, 1001, 1.0, socket) == SPARE
    assert slots.free == []


def test_a_slot_that_is_given_back_is_none(memory: bytearray) -> None:
    """By its first byte alone."""
    slots = Slots(memory)
    slot = slots.free.pop()
    write(memory, slot, 1, 1, 1.0, b"GET", b"/")
    assert len(requests(memory)) == 1
    memory[slot] = 0
    assert requests(memory) == ()


def test_details_are_kept_for_the_newest(memory: bytearray) -> None:
    """As many as there is room for; whoever made room is described again."""
    details = Details(memory)
    for number in range(1, layout.DETAILS + 2):
        assert not details.has(number)
        details.write(number, {"client": f"10.0.0.{number}:1"})
        assert details.has(number)
    assert not details.has(1)
    slots = Slots(memory)
    for number in (1, 2, layout.DETAILS + 1):
        slots.write_odd(slots.free.pop(), number, float(number), {"type": "http"})
    assert [each.details for each in requests(memory)] == [
        {}, {"client": "10.0.0.2:1"}, {"client": f"10.0.0.{layout.DETAILS + 1}:1"}]


@pytest.mark.parametrize("spare, kept", [(0, True), (1, False)])
def test_details_that_are_too_long_are_left_out(
    memory: bytearray, spare: int, kept: bool
) -> None:
    """A part of them would be no JSON."""
    room = layout.DETAIL.size - 10
    client = "c" * (room - len('{"client": ""}') + spare)
    details = Details(memory)
    details.write(5, {"client": client})
    Slots(memory).write_odd(layout.slot_at(0), 5, 1.0, {"type": "http"})
    (request,) = requests(memory)
    assert request.details == ({"client": client} if kept else {})
    assert layout.DETAIL.unpack_from(memory, layout.detail_at(0))[1] == (room if kept else 2)
    assert details.has(5)
    assert not any(memory[layout.detail_at(1):layout.LETTER_AT])
