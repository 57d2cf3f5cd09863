"""Connections of the server's, read from another thread while they go on."""

from __future__ import annotations

from typing import Any

from watchdog_worker.capture import clients
from watchdog_worker.model import Connection
from watchdog_worker.vitals.inflight import Entry


class Transport:
    def __init__(self, closing: bool = False) -> None:
        self.closing = closing

    def is_closing(self) -> bool:
        return self.closing


class Flow:
    def __init__(self, write_paused: bool) -> None:
        self.write_paused = write_paused


class Protocol:
    """As uvicorn's, as far as it is looked at."""

    def __init__(
        self, port: int, path: str | None = None, closing: bool = False, paused: bool = False
    ) -> None:
        self.client: Any = ("10.0.0.9", port)
        self.scope = None if path is None else {"path": path, "method": "GET"}
        self.transport, self.flow = Transport(closing), Flow(paused)


class Hostile:
    """Of foreign make."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


def test_those_come_first_who_take_nothing_and_then_the_oldest_requests() -> None:
    """With the last path of each, and the request in flight; idle ones have none yet."""
    young, old = Protocol(1, "/young"), Protocol(2, "/old")
    full, closed, idle = Protocol(3, "/full", paused=True), Protocol(4, closing=True), Protocol(5)
    entries = [Entry(number, 0.0, connection.scope or {}, None)
               for number, connection in ((7, old), (8, full), (9, young))]
    assert clients.seen({young, old, full, closed, idle}, entries) == (
        Connection("10.0.0.9:3", "GET", "/full", 8, unread=True),
        Connection("10.0.0.9:4", unread=True),
        Connection("10.0.0.9:2", "GET", "/old", 7),
        Connection("10.0.0.9:1", "GET", "/young", 9),
        Connection("10.0.0.9:5"))


def test_a_websocket_that_closes_waits_for_its_client() -> None:
    """It is not the same as one that does not take what it is sent."""
    made: Any = type("WSProtocol", (Protocol,), {"__module__": "uvicorn.protocols.websockets.x"})
    assert clients.seen([made(1, "/ws", closing=True)], []) == (
        Connection("10.0.0.9:1", "GET", "/ws", websocket=True),)


def test_what_cannot_be_read_is_left_out() -> None:
    """A set that changes while it is copied, a protocol of foreign make, a path without an end."""
    class Changes(list[Any]):
        def __iter__(self) -> Any:
            raise RuntimeError("Set changed size during iteration")

    unix = Protocol(1, "/" + "x" * 100_000)
    unix.client = None
    found = clients.seen([Hostile(), unix], [])
    assert [(each.client, len(each.path or "")) for each in found] == [(None, 2000)]
    assert clients.seen(Changes([unix]), []) == ()
