"""The samples of the loop thread's stack during one stall. Runs in the monitor thread."""

from __future__ import annotations

from collections import Counter

from watchdog_worker.capture.stacks import Place, RawFrame, RawStack, place

_MAX_PLACES = 1000
_MAX_SHOWN = 10
_MAX_NAMED = 30


class Samples:
    """Counts equal stacks, in bounded memory: what no longer fits is counted as one rest."""

    __slots__ = ("first", "last", "total", "latest", "callbacks", "_counts", "_stacks")

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.total = 0
        self.latest: RawStack | None = None
        self.callbacks = 1
        """How many callbacks of the loop were seen to hold it."""
        self._counts: Counter[Place] = Counter()
        self._stacks: dict[Place, RawStack] = {}

    def add(self, stack: RawStack, now: float) -> None:
        """One more sample, taken at `now` (monotonic)."""
        self.first = self.first or now
        self.last = now
        self.latest = stack
        self.total += 1
        key = place(stack.frames)
        if key in self._stacks or len(self._stacks) < _MAX_PLACES:
            self._stacks.setdefault(key, stack)
            self._counts[key] += 1

    def wants_names(self, stack: RawStack) -> bool:
        """This one has not been seen yet, and is early enough to be among those shown."""
        return len(self._stacks) < _MAX_NAMED and place(stack.frames) not in self._stacks

    def most_common(self) -> list[tuple[int, tuple[RawFrame, ...]]]:
        """The stacks that were seen most often, with their counts."""
        return [(count, self._stacks[key].frames)
                for key, count in self._counts.most_common(_MAX_SHOWN)]
