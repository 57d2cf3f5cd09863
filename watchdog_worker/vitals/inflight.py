"""The requests that are in the application now.

Written by the loop thread at the boundary, read by the monitor thread without a lock: a reader
copies the table in one C call, under the GIL, and each entry is one tuple.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from watchdog_worker.vitals import layout
from watchdog_worker.vitals.asgi import Scope, Send
from watchdog_worker.vitals.slots import Slots


class InFlight:
    """The table. `Boundary` writes it by itself: a call each way would double its cost."""

    __slots__ = ("requests", "last_number", "slots")

    def __init__(self, slots: Slots | None = None) -> None:
        """`slots`: where the same is written for those outside; by default, nobody reads it."""
        self.slots = slots or Slots(bytearray(layout.SIZE))
        self.requests: dict[int, tuple[float, Scope, Send]] = {}
        """By number: when it entered (monotonic), and the server's own scope and send."""
        self.last_number = 0

    def entries(self) -> Iterator[Entry]:
        """Of a copy, the oldest first; any thread."""
        return (Entry(number, *entry) for number, entry in list(self.requests.items()))


class Entry(NamedTuple):
    """One request of the table, for a reader."""

    number: int
    began: float
    scope: Scope
    send: Any
