"""How many a minute. Pure but for the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

_MINUTE_S = 60.0


class Limit:
    """So many a minute: a worker that dies as it boots does so again and again."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: deque[float] = deque()
        self._untold = 0

    def admit(self, most: int) -> tuple[bool, int]:
        """Whether one more may be told, and how many were not since the last that was."""
        now = self._clock()
        while self._told and now - self._told[0] > _MINUTE_S:
            self._told.popleft()
        if len(self._told) >= most:
            self._untold += 1
            return False, 0
        self._told.append(now)
        untold, self._untold = self._untold, 0
        return True, untold
