"""Have what may hang done in a thread of its own, and wait for it only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from watchdog_worker.ownthread import OwnThread


class _Piece:
    """Work that was asked for, and how it ended."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work, self.done, self.well = work, threading.Event(), False


class Budgeted(OwnThread):
    """Does one piece of work at a time for the thread that asks.

    Start it once, early: starting a thread takes a lock that a blocked thread may hold. While a
    piece of work hangs, later ones are refused at once, so that a hang costs its budget once.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._piece: _Piece | None = None
        self._asked = threading.Event()

    def ask(self, work: Callable[[], object], seconds: float) -> bool:
        """Whether `work` came to a good end within the time. One thread may ask."""
        if self._piece is not None:  # the last one hangs still
            return False
        piece = self._piece = _Piece(work)
        self._asked.set()
        return piece.done.wait(seconds) and piece.well

    def run(self) -> None:
        """The thread's body."""
        while True:
            self._asked.wait()
            self._asked.clear()
            piece = self._piece
            if piece is None:
                continue
            try:
                piece.work()
                piece.well = True
            except BaseException:  # it runs foreign loaders; its end is told by `well`
                pass
            self._piece = None
            piece.done.set()
