"""Where reports go: log, file, hook.

Each sink has a thread of its own, or several: one that hangs delays neither the monitor, nor
the loop, nor the other sinks.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from watchdog_worker.model import Report
from watchdog_worker.sinks.lane import Lane
from watchdog_worker.sinks.log import Entry, LogSink


Keep = Callable[[Report, float], Callable[[], None]]
"""Keeps a report, about a silence since then, until what it gives is called: the log has it."""


class Sinks:
    """Hands every report to all sinks and waits for none. Called by the monitor thread."""

    def __init__(
        self,
        log: LogSink,
        entry: Callable[[Report], Entry],
        keep: Keep,
        file: Callable[[Report], None] | None = None,
        hook: Callable[[Report], None] | None = None,
    ) -> None:
        self._entry, self._keep = entry, keep
        self._log = log
        self._lanes = [
            Lane(name, deliver, self.notice)
            for name, deliver in (("watchdog-file", file), ("watchdog-hook", hook)) if deliver]

    def start(self) -> None:
        """Start the threads. Raises RuntimeError if none can be had."""
        self._log.start()
        for lane in self._lanes:
            lane.start()

    def emit(self, report: Report, silent_since: float = 0.0) -> None:
        """Send it on its way: it is kept first, so that it survives us, and the log is next."""
        arrived = self._keep(report, silent_since)
        self._log.submit(self._entry(report), arrived)
        for lane in self._lanes:
            lane.submit(report)

    def notice(self, text: str, level: int | None = None) -> None:
        """One line of our own in the log, about ourselves; any thread."""
        self._log.submit(Entry.notice(text, level))

    @property
    def settled(self) -> bool:
        """Whether everything has arrived."""
        return self._log.settled and all(lane.settled for lane in self._lanes)

    def settle(self, seconds: float) -> None:
        """Wait at most so long, in all, for what is under way; the log last, as the others may have
        something to say in it."""
        deadline = monotonic() + seconds
        for lane in self._lanes:
            lane.settle(max(0.0, deadline - monotonic()))
        self._log.settle(max(0.0, deadline - monotonic()))
