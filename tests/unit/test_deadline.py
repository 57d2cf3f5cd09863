"""When the arbiter will kill, from what it compares itself."""

from __future__ import annotations

import os
from time import monotonic
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config
from gunicorn.workers.workertmp import WorkerTmp

from watchdog_worker.deadline import Deadline, HeartbeatFile


class File(HeartbeatFile):
    """The heartbeat file, and how often it was asked."""

    def __init__(self) -> None:
        self.time, self.asked, self.fails = 1_700_000_000.0, 0, False

    def last_update(self) -> float:
        self.asked += 1
        if self.fails:
            raise OSError("no such file")
        return self.time


def worker(timeout: int = 6) -> Any:
    return SimpleNamespace(cfg=SimpleNamespace(timeout=timeout), tmp=File(), notifications=0)


def deadline_of(it: Any) -> Deadline:
    return Deadline(it, it.tmp, margin=1.0)


def test_a_worker_that_has_never_notified_is_never_killed() -> None:
    """A new file carries the time of day, far in the future of the monotonic clock."""
    assert deadline_of(worker()).at(100.0) is None


def test_the_file_is_asked_when_there_is_news_or_the_end_is_near() -> None:
    """Asking gives up the GIL, at a moment when that can cost the picture."""
    it = worker()
    deadline = deadline_of(it)
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
    assert deadline_of(it).at(100.0) is None
    assert it.tmp.asked == 0


def test_a_file_that_cannot_be_asked_leaves_the_deadline_as_it_was() -> None:
    """The arbiter has a descriptor of its own and goes on comparing."""
    it = worker()
    deadline = deadline_of(it)
    it.tmp.time, it.notifications = 100.0, 1
    assert deadline.at(100.0) == 106.0
    it.tmp.fails = True
    it.notifications = 2
    assert deadline.at(101.0) == 106.0


def test_the_arbiter_can_be_notified_after_gunicorn_has_closed_the_file() -> None:
    """It looks at the file until the process has gone."""
    config = Config()
    of_worker = WorkerTmp(config)
    of_arbiter = os.dup(of_worker.fileno())

    class Worker:
        tmp, notifications = of_worker, 0

        def notify(self) -> None:
            self.tmp.notify()
            self.notifications += 1

    it = Worker()
    file = HeartbeatFile(it)
    try:
        assert file.last_update() > monotonic() + 1.0
        file.notify()
        first = os.fstat(of_arbiter).st_mtime
        of_worker.close()
        file.notify()
        assert first < os.fstat(of_arbiter).st_mtime <= monotonic()
        assert (it.notifications, file.last_update()) == (2, os.fstat(of_arbiter).st_mtime)
    finally:
        os.close(of_arbiter)
