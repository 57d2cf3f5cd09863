"""How long the garbage collector kept everybody waiting.

Runs in whatever thread triggers a collection, within it: the GIL is held, nothing is locked, and
all but the rare full collections end at the first line.
"""

from __future__ import annotations

import gc
import sys
from time import monotonic

_OLDEST = 2


class Garbage:
    """Adds up the time of full collections. Hangs on `gc.callbacks` from `start` on."""

    __slots__ = ("collected_s", "_began")

    def __init__(self) -> None:
        self.collected_s = 0.0
        """Seconds in all."""
        self._began = 0.0

    def start(self) -> None:
        """Begin to count, where that is safe.

        CPython 3.11 can collect in the middle of a walk over another thread's frames, and must not
        give up the GIL then, as a callback in Python may: see `capture.stacks.walking`. Others walk
        as well, such as profilers.
        """
        if sys.version_info[:2] != (3, 11):
            gc.callbacks.append(self.note)

    def note(self, phase: str, info: dict[str, int]) -> None:
        """The collector calls it, before and after."""
        if info["generation"] < _OLDEST:
            return
        if phase == "start":
            self._began = monotonic()
        elif self._began:
            self.collected_s += monotonic() - self._began
            self._began = 0.0


CODE = Garbage.note.__code__
"""Pictures of the thread that collects leave it out."""
