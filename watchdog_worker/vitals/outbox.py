"""Reports that are on their way to the log, kept until they have arrived.

Written by the monitor thread before the log is asked for anything; a lane of the log, in its own
thread, says when one has arrived. What has not when the worker is dead, the arbiter delivers.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from time import monotonic

from watchdog_worker.vitals import layout
from watchdog_worker.vitals.layout import DELIVERED, FREE, LETTER, LETTERS, UNDELIVERED, letter_at

REPORT_MOST = 512 * 1024
"""So long may a report be, unpacked; a reader reads no further."""
_LEVEL = 1
_ROOM = layout.LETTER_SIZE - LETTER.size


class Outbox:
    """The last few reports, undelivered ones as long as possible."""

    __slots__ = ("map", "lost", "_number", "_at", "_changing")

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self.map = memory
        self.lost = 0
        """Undelivered ones that had to make room."""
        self._number = 0
        self._at: dict[int, int] = {}
        """Index by number."""
        # Of threads of ours only, and held for microseconds.
        self._changing = threading.Lock()

    def put(self, report: bytes, silent_since: float) -> int:
        """Keep a report (JSON); its number, 0 if it is too long. `silent_since`: the last sign of
        life before the silence that it is about, 0 for none."""
        if len(report) > REPORT_MOST:
            return 0
        packed = zlib.compress(report, _LEVEL)
        if len(packed) > _ROOM:
            return 0
        with self._changing:
            index = self._room()
            self._number += 1
            at = letter_at(index)
            self.map[at] = FREE  # until all of it is there
            self.map[at + LETTER.size:at + LETTER.size + len(packed)] = packed
            LETTER.pack_into(
                self.map, at, FREE, len(packed), len(report), zlib.crc32(packed), self._number,
                monotonic(), silent_since)
            self.map[at] = UNDELIVERED
            self._at = {number: kept for number, kept in self._at.items() if kept != index}
            self._at[self._number] = index
            return self._number

    def delivered(self, number: int) -> None:
        """This one has arrived. Any thread; a number that has made room is nothing to do."""
        with self._changing:
            index = self._at.get(number)
            if index is not None:
                self.map[letter_at(index)] = DELIVERED

    @property
    def all_delivered(self) -> bool:
        """Nothing is left for those who come after us. Any thread."""
        return all(self.map[letter_at(index)] != UNDELIVERED for index in range(LETTERS))

    def _room(self) -> int:
        """A free place, else the oldest of the delivered ones, else the oldest."""
        in_use = {index: number for number, index in self._at.items()}
        for index in range(LETTERS):
            if index not in in_use:
                return index
        arrived = [index for index in in_use if self.map[letter_at(index)] == DELIVERED]
        if not arrived:
            self.lost += 1
        return min(arrived or in_use, key=lambda index: in_use[index])
