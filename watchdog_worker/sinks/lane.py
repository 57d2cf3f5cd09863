"""A sink's own thread, with a bounded queue before it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")

_CAPACITY = 50


class Lane(Generic[Item]):
    """Delivers items one after the other in a daemon thread that is started when needed.

    Submitting never blocks and never raises. What does not fit is dropped, counted and said.
    The first of a row of failures is said; the next item is tried again.
    """

    def __init__(
        self, name: str, deliver: Callable[[Item], None], say: Callable[[str], None]
    ) -> None:
        self._name, self._deliver, self._say = name, deliver, say
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._busy = False
        self._failing = False
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def submit(self, item: Item) -> None:
        """Queue one item for delivery."""
        thread = None
        with self._changed:
            if len(self._items) >= _CAPACITY:
                self._dropped += 1
                return
            self._items.append(item)
            self._changed.notify_all()
            if self._thread is None:
                thread = self._thread = threading.Thread(
                    target=self._run, name=self._name, daemon=True)
        if thread is not None:
            self._start(thread)

    def settle(self, seconds: float) -> bool:
        """Wait so long for the queue to be empty; whether it is."""
        deadline = monotonic() + seconds
        with self._changed:
            while self._items or self._busy:
                left = deadline - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: then it is done here and now
            self._thread = None
            self._deliver_queued()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._items:
                    self._changed.wait()
            self._deliver_queued()

    def _deliver_queued(self) -> None:
        while True:
            with self._changed:
                if not self._items:
                    return
                item, self._busy = self._items.popleft(), True
                dropped, self._dropped = self._dropped, 0
            try:
                self._attempt(item)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
            if dropped:
                self._say(f"watchdog: {self._name} fell behind, {dropped} reports were dropped")

    def _attempt(self, item: Item) -> None:
        try:
            self._deliver(item)
            self._failing = False
        except BaseException as error:  # a hook may raise SystemExit: it ends nothing here
            if not self._failing:
                self._say(f"watchdog: {self._name} failed: {type(error).__name__}: {error}")
            self._failing = True
