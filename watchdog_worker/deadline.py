"""When the arbiter will kill this worker. Read in the monitor thread."""

from __future__ import annotations

from typing import Any


class Deadline:
    """What the arbiter itself compares: the time of the heartbeat file, plus `timeout`.

    The file is asked when there is news of it or the deadline is near. Asking gives up the GIL:
    where native code has just let go of it, the loop thread would move on from the line that is
    to be shown.
    """

    def __init__(self, worker: Any, margin: float) -> None:
        """`margin`: how many seconds before the deadline every look must be exact."""
        self._worker = worker
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
            notified = float(self._worker.tmp.last_update())
        except (OSError, ValueError):  # the worker is leaving and has closed it
            return self._known
        # A file that was never notified through carries the time of day, far in the future of
        # the monotonic clock: the arbiter waits for it for ever.
        return notified + self._timeout if notified <= now + 1.0 else None
