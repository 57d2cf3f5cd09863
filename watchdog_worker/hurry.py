"""Shorter turns for all Python threads, while the loop is blocked and the monitor has to work."""

from __future__ import annotations

import os
import sys
import weakref

_SWITCH_S = 0.0005


class Hurry:
    """Lowers the interpreter's switch interval during a stall. Monitor thread.

    Beside threads that compute without pause, the monitor waits an interval (5 ms by default)
    for every turn of every one of them, and a picture takes a hundred turns: each file it reads
    gives up the GIL. The loop, whom shorter turns could cost, stands still meanwhile.
    """

    def __init__(self) -> None:
        self._before: float | None = None
        self._ours = 0.0
        _all.add(self)

    def begin(self) -> None:
        """Shorten the turns; once is as good as twice."""
        if self._before is None:
            self._before = sys.getswitchinterval()
            sys.setswitchinterval(min(self._before, _SWITCH_S))
            self._ours = sys.getswitchinterval()

    def end(self) -> None:
        """Put it back, unless the application has set it meanwhile."""
        if self._before is not None and sys.getswitchinterval() == self._ours:
            sys.setswitchinterval(self._before)
        self._before = None


_all: weakref.WeakSet[Hurry] = weakref.WeakSet()


def _end_in_child() -> None:
    # A process forked during a stall has no monitor that would put the interval back.
    for hurry in _all:
        hurry.end()


os.register_at_fork(after_in_child=_end_in_child)
