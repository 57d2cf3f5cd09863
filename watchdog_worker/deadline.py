"""When the arbiter will kill this worker, and the file by which it tells."""

from __future__ import annotations

import os
from time import monotonic
from typing import Any


class HeartbeatFile:
    """gunicorn's file of a worker's last sign of life, as the worker itself has it.

    gunicorn closes it before it calls `worker_exit`, but its arbiter looks at it until the process
    has gone: what goes on after that would end in WORKER TIMEOUT. Built after the fork; any thread.
    """

    def __init__(self, worker: Any) -> None:
        """Raises OSError where there is no descriptor left."""
        self._worker, self._pid = worker, os.getpid()
        self._fd = os.dup(worker.tmp.fileno())

    def notify(self) -> None:
        """Tell the arbiter that the worker lives. May raise OSError."""
        try:
            self._worker.notify()
        except ValueError:  # it has been closed
            if os.getpid() == self._pid:
                now = monotonic()
                os.utime(self._fd, (now, now))
                self._worker.notifications += 1

    def last_update(self) -> float:
        """When the arbiter was last notified (monotonic); before the first time, the time of day,
        far in the future of that clock. Raises OSError."""
        return os.fstat(self._fd).st_mtime


class Deadline:
    """What the arbiter itself compares: the time of the heartbeat file, plus `timeout`.

    The file is asked when there is news of it or the deadline is near. Asking gives up the GIL:
    where native code has just let go of it, the loop thread would move on from the line that is
    to be shown. Read in the monitor thread.
    """

    def __init__(self, worker: Any, file: HeartbeatFile, margin: float) -> None:
        """`margin`: how many seconds before the deadline every look must be exact."""
        self._worker, self._file = worker, file
        self._timeout = float(worker.cfg.timeout)
        self._margin = margin
        self._known: float | None = None
        self._seen = 0

    def at(self, now: float) -> float | None:
        """The deadline (monotonic); None while the arbiter would never kill."""
        if not self._timeout:
            return None
        notifications = self._worker.notifications
        known = self._known
        if known is None or notifications != self._seen or now >= known - self._margin:
            self._known = self._ask(now)
            self._seen = notifications
        return self._known

    def _ask(self, now: float) -> float | None:
        try:
            notified = self._file.last_update()
        except OSError:
            return self._known
        # A file that was never notified through carries the time of day: the arbiter waits for it
        # for ever.
        return notified + self._timeout if notified <= now + 1.0 else None
