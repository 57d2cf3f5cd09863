"""Have what may hang done in a thread of its own, and wait for it only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from watchdog_worker.ownthread import OwnThread


class Budgeted(OwnThread):
    """Does one piece of work at a time for the thread that asks.

    Start it once, early: starting a thread takes a lock that a blocked thread may hold. While a
    piece of work hangs, later ones are refused at once, so that a hang costs its budget once.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._work: Callable[[], object] | None = None
        self._asked, self._done = threading.Event(), threading.Event()
        self._well = False

    def ask(self, work: Callable[[], object], seconds: float) -> bool:
        """Whether `work` came to a good end within the time. One thread may ask."""
        if self._work is not None:  # the last one hangs still
            return False
        self._done.clear()
        self._work = work
        self._asked.set()
        return self._done.wait(seconds) and self._well

    def run(self) -> None:
        """The thread's body."""
        while True:
            self._asked.wait()
            self._asked.clear()
            work = self._work
            try:
                if work is not None:
                    work()
                self._well = True
            except Exception:
                self._well = False
            self._work = None
            self._done.set()
