"""When the arbiter will kill, from what it compares itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from watchdog_worker.deadline import Deadline


class File:
    """The heartbeat file, and how often it was asked."""

    def __init__(self) -> None:
        self.time, self.asked = 1_700_000_000.0, 0

    def last_update(self) -> float:
        self.asked += 1
        return self.time


def worker(timeout: int = 6) -> Any:
    return SimpleNamespace(cfg=SimpleNamespace(timeout=timeout), tmp=File(), notifications=0)


def test_a_worker_that_has_never_notified_is_never_killed() -> None:
    """A new file carries the time of day, far in the future of the monotonic clock."""
    assert Deadline(worker(), 1.0).at(100.0) is None


def test_the_file_is_asked_when_there_is_news_or_the_end_is_near() -> None:
    """Asking gives up the GIL, at a moment when that can cost the picture."""
    it = worker()
    deadline = Deadline(it, margin=1.0)
    it.tmp.time, it.notifications = 100.0, 1
    assert deadline.at(100.1) == 106.0
    asked = it.tmp.asked
    assert deadline.at(104.9) == 106.0
    assert it.tmp.asked == asked
    it.tmp.time = 104.9  # somebody notified past us
    assert deadline.at(105.0) == 110.9


def test_without_a_timeout_nothing_is_asked() -> None:
    """timeout = 0 switches the kill off."""
    it = worker(timeout=0)
    it.notifications = 3
    assert Deadline(it, 1.0).at(100.0) is None
    assert it.tmp.asked == 0


def test_a_file_that_is_closed_leaves_the_deadline_as_it_was() -> None:
    """The arbiter has a descriptor of its own and goes on comparing."""
    it = worker()
    deadline = Deadline(it, 1.0)
    it.tmp.time, it.notifications = 100.0, 1
    assert deadline.at(100.0) == 106.0

    def closed() -> float:
        raise ValueError("closed")

    it.tmp.last_update = closed
    it.notifications = 2
    assert deadline.at(101.0) == 106.0
