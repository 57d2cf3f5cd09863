"""Run what may hang in a thread of its own, and wait for it only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Budgeted:
    """Runs one piece of work at a time in a daemon thread.

    While an earlier piece still hangs, later ones are not begun: one hung thread is what a
    hang costs, however often it is asked for.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._hung: threading.Thread | None = None

    def run(self, work: Callable[[], object], seconds: float) -> bool:
        """Whether `work` came to its end within the time; False also where it raised."""
        if self._hung is not None and self._hung.is_alive():
            return False
        done = threading.Event()

        def body() -> None:
            try:
                work()
                done.set()
            except Exception:
                pass

        thread = threading.Thread(target=body, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            return False
        thread.join(seconds)
        self._hung = thread if thread.is_alive() else None
        return done.is_set()
