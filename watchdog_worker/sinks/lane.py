"""A sink's own thread, with a bounded queue before it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from watchdog_worker.ownthread import OwnThread, words

Item = TypeVar("Item")

_CAPACITY = 50


class Lane(OwnThread, Generic[Item]):
    """Delivers items one after the other.

    Start it early: starting a thread takes a lock that a blocked thread may hold. Submitting
    never blocks and never raises, from any thread. What does not fit is dropped, counted and
    said. The first of a row of failures is said; the next item is tried again.
    """

    def __init__(
        self, name: str, deliver: Callable[[Item], None], say: Callable[[str], None]
    ) -> None:
        super().__init__(name)
        self._deliver, self._say = deliver, say
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._busy = False
        self._failing = False
        self._dropped = 0

    def submit(self, item: Item) -> None:
        """Queue one item for delivery."""
        with self._changed:
            if len(self._items) >= _CAPACITY:
                self._dropped += 1
                return
            self._items.append(item)
            self._changed.notify_all()

    @property
    def settled(self) -> bool:
        """Whether nothing is queued or under way."""
        return not self._items and not self._busy

    def settle(self, seconds: float) -> bool:
        """Wait so long for everything to be delivered; whether it is."""
        deadline = monotonic() + seconds
        with self._changed:
            while not self.settled:
                left = deadline - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def run(self) -> None:
        """The thread's body."""
        while True:
            with self._changed:
                while not self._items:
                    self._changed.wait()
                item, self._busy = self._items.popleft(), True
                dropped, self._dropped = self._dropped, 0
            self._attempt(item)
            with self._changed:
                self._busy = False
                self._changed.notify_all()
            if dropped:
                self._say(f"watchdog: {self.name} fell behind, {dropped} reports were dropped")

    def _attempt(self, item: Item) -> None:
        try:
            self._deliver(item)
            self._failing = False
        except BaseException as error:  # a hook may raise SystemExit: it ends nothing here
            if not self._failing:
                self._say(" ".join(f"watchdog: {self.name} failed: {words(error)}".split()))
            self._failing = True
