"""Where reports go, in the order in which they must arrive: log, file, hook.

Each sink has a lane, a thread of its own: one that hangs delays neither the monitor, nor the
loop, nor the other sinks beyond its time budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchdog_worker.model import Report
from watchdog_worker.sinks.lane import Lane
from watchdog_worker.sinks.log import Entry, LogSink

_LOG_S = 1.0
_FILE_S = 0.5


class Sinks:
    """Hands every report to all sinks. Called by the monitor thread."""

    def __init__(
        self,
        log: LogSink,
        entry: Callable[[Report], Entry],
        file: Callable[[Report], None] | None = None,
        hook: Callable[[Report], None] | None = None,
    ) -> None:
        self._entry = entry
        self._log = Lane("watchdog-log", log.write, lambda words: None)
        self._file = Lane("watchdog-file", file, self.notice) if file else None
        self._hook = Lane("watchdog-hook", hook, self.notice) if hook else None

    def emit(self, report: Report) -> None:
        """Deliver to the log and wait for it a while, then to the rest."""
        self._log.submit(self._entry(report))
        self._log.settle(_LOG_S)
        if self._file is not None:
            self._file.submit(report)
            self._file.settle(_FILE_S)
        if self._hook is not None:
            self._hook.submit(report)

    def notice(self, words: str, level: int | None = None) -> None:
        """One line of our own in the log, about ourselves."""
        self._log.submit(Entry.notice(words, level))

    def settle(self, seconds: float) -> None:
        """Give what is still under way so long to arrive, sink by sink."""
        for lane in (self._log, self._file, self._hook):
            if lane is not None:
                lane.settle(seconds)


def plain_hook(hook: Callable[[Any, dict[str, Any]], object], worker: Any) -> (
        Callable[[Report], None]):
    """The user's `watchdog_on_report` as a sink: it gets the report as a dict of schema 1."""

    def deliver(report: Report) -> None:
        hook(worker, report.to_dict())

    return deliver
