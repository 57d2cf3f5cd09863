"""What the monitor writes to the flight recorder with every look, for those who look from outside.

Runs in the monitor thread, but for `begin` and `loaded`, which the main thread calls.
"""

from __future__ import annotations

import math
import resource
import threading
import time
from collections.abc import Callable

from watchdog_worker.capture import cgroup
from watchdog_worker.capture.process import rss
from watchdog_worker.model import Request
from watchdog_worker.rawstacks import RawStacks
from watchdog_worker.signs import Episode, Rules, Signs
from watchdog_worker.vitals.inflight import Entry, InFlight
from watchdog_worker.vitals.layout import Pulse
from watchdog_worker.vitals.recorder import Recorder

_FIGURES_S = 1.0
_LONG_S = 0.5
"""A request in flight for longer is described in full."""
_DESCRIBED_AT_ONCE = 16


class Logbook:
    """Keeps one worker's recorder up to date, and its raw stacks in readiness."""

    def __init__(
        self, recorder: Recorder, in_flight: InFlight, rules: Rules,
        describe: Callable[[Entry], Request], failed: Callable[[Exception], None],
    ) -> None:
        """`failed` is told why the recorder is not written to any more."""
        self._recorder, self._in_flight, self._describe = recorder, in_flight, describe
        self._threshold = rules.stall_threshold or math.inf
        self._failed, self._off = failed, False
        self._raw = (RawStacks(recorder.fd, rules.pre_kill_margin)
                     if recorder.fd is not None else None)
        self._figures = Pulse()
        self.stalls = 0
        self.reports = 0

    def begin(self, preloaded: bool) -> None:
        """Have the fatal signals written down. `preloaded`: the application is there already."""
        if self._raw is not None:
            self._raw.take(preloaded)

    def loaded(self) -> None:
        """The application has been imported."""
        if self._raw is not None:
            self._raw.retake()

    def speaking(self, deadline: float | None) -> None:
        """The monitor is about to report before this deadline; nobody has to do it for it."""
        if self._raw is not None:
            self._raw.rest(deadline)

    @property
    def aborted(self) -> bool:
        """SIGABRT has come, and was written down in C. Monitor thread."""
        return self._raw is not None and self._raw.aborted

    def forget(self) -> None:
        """What was written in C is of no account. Monitor thread."""
        if self._raw is not None:
            self._raw.forget()

    def write(self, signs: Signs, episode: Episode | None) -> None:
        """What this look has shown. Never raises: the watch itself goes on without it."""
        if not self._off:
            try:
                self._write(signs, episode)
            except Exception as error:
                self._off = True
                self.speaking(signs.deadline)
                self._failed(error)

    def _write(self, signs: Signs, episode: Episode | None) -> None:
        now = signs.now
        if now >= self._figures.figures_at + _FIGURES_S:
            self._figures = self._counted(now)
            self._describe_long_ones(now)
        if self._raw is not None:
            self._raw.tend(now, signs.deadline)
        used = resource.getrusage(resource.RUSAGE_SELF)  # as the arbiter will ask when it is dead
        blocked = episode is not None and now - episode.since > self._threshold
        figures = self._figures
        # Built anew, as in signs.State: CPython would keep 2,000 tuples that `_replace` has freed.
        self._recorder.pulse(Pulse(
            at=now,
            wall=time.time(),
            last_sign=signs.last_sign or 0.0,
            blocked_since=episode.since if episode is not None and blocked else 0.0,
            timer_due=(self._raw.due or 0.0) if self._raw is not None else 0.0,
            cpu_s=used.ru_utime + used.ru_stime,
            figures_at=figures.figures_at,
            switches=used.ru_nvcsw,
            rss_bytes=figures.rss_bytes,
            memory_limit_bytes=figures.memory_limit_bytes,
            memory_bytes=figures.memory_bytes,
            group_oom_kills=figures.group_oom_kills,
            machine_oom_kills=figures.machine_oom_kills,
            group=figures.group,
            threads=len(threading._active),  # type: ignore[attr-defined]
            stalls=self.stalls,
            reports=self.reports,
            reports_lost=self._recorder.outbox.lost,
            raw_from=self._raw.began if self._raw is not None else 0,
        ))

    @staticmethod
    def _counted(now: float) -> Pulse:
        """Of memory. Reads a few small files, and so gives up the GIL."""
        memory = cgroup.memory()
        return Pulse(
            figures_at=now,
            rss_bytes=rss() or 0,
            memory_limit_bytes=memory.limit_bytes,
            memory_bytes=memory.current_bytes,
            group_oom_kills=memory.group_oom_kills,
            machine_oom_kills=memory.machine_oom_kills,
            group=memory.group,
        )

    def _describe_long_ones(self, now: float) -> None:
        details, described = self._recorder.details, 0
        for entry in self._in_flight.entries():
            if now - entry.began < _LONG_S or described >= _DESCRIBED_AT_ONCE:
                break  # they are in the order in which they came
            if not details.has(entry.number):
                details.write(entry.number, _details(self._describe(entry)))
                described += 1


def _details(request: Request) -> dict[str, object]:
    """What a slot has no room for."""
    found = {"client": request.client, "headers": request.headers, "path": request.path}
    return {name: value for name, value in found.items() if value}
