"""The requests in flight, as they are written to the recorder when they start.

So the one that ends the process is there. The loop thread writes slots, the monitor thread
details; each is used by one thread only.
"""

from __future__ import annotations

import json
import mmap
from typing import Any

from watchdog_worker.vitals import layout
from watchdog_worker.vitals.asgi import Scope

METHODS = {name: name.encode() for name in (
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT")}
WEBSOCKET = b"websocket"

SPARE = layout.slot_at(layout.SLOTS)
"""For whom there is no other."""
write = layout.SLOT.pack_into
"""`write(map, slot, 1, number, began, method, path)`."""


class Slots:
    """Which place in the recorder belongs to which request. Loop thread.

    `Boundary` takes, writes and gives back a slot in its own body, as it is the hot path: the last
    one given back is taken first, for its memory is warm. Where none is left, all share the
    spare, so that at least the newest is told.
    """

    __slots__ = ("map", "free")

    _SOCKETS_LEAVE = layout.SLOTS // 2

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self.map = memory
        self.free = [layout.slot_at(index) for index in reversed(range(layout.SLOTS))]

    def write_odd(self, slot: int, number: int, began: float, scope: Scope) -> int:
        """Write a request that has no everyday scope; its slot. Never raises.

        WebSockets, which stay, leave half of the slots to others.
        """
        try:
            is_socket = scope.get("type") == "websocket"
            if is_socket and slot != SPARE and len(self.free) < self._SOCKETS_LEAVE:
                self.free.append(slot)
                slot = SPARE
            method = WEBSOCKET if is_socket else str(scope.get("method", "")).encode()
            path = scope.get("raw_path") or str(scope.get("path", "")).encode("utf-8", "replace")
            write(self.map, slot, 1, number, began, method, path)
        except Exception:  # a server whose scopes are no scopes
            write(self.map, slot, 1, number, began, b"", b"")
        return slot


class Details:
    """What is written of requests that take long: who asked, and the chosen headers. Monitor
    thread."""

    __slots__ = ("map", "_next", "_written")

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self.map = memory
        self._next = 0
        self._written: dict[int, int] = {}
        """Index by number of request."""

    def has(self, number: int) -> bool:
        """Whether this request's details are there already."""
        return number in self._written

    def write(self, number: int, details: dict[str, Any]) -> None:
        """Keep these in the place of the ones written longest ago; those too long are left out."""
        packed = json.dumps(details).encode()
        if len(packed) > layout.DETAIL.size - 10:
            packed = b"{}"
        index, self._next = self._next, (self._next + 1) % layout.DETAILS
        self._written = {kept: at for kept, at in self._written.items() if at != index}
        self._written[number] = index
        layout.DETAIL.pack_into(
            self.map, layout.detail_at(index), number, len(packed), packed)
