"""The heartbeat: the loop shows that it lives, to the monitor and to the arbiter.

Runs in the loop thread; the monitor thread reads the attributes without a lock.
"""

from __future__ import annotations

import contextvars
from bisect import bisect_left
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from watchdog_worker.model import LoopLag
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.recorder import Recorder

if TYPE_CHECKING:  # commands that read recorders do without
    import asyncio

STARTUP, SERVING, SHUTDOWN, LEFT = "startup", "serving", "shutdown", "left"

LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the lag histogram's buckets, in seconds."""

_FRESH_SHARE = 5
"""A request notifies the arbiter when the last time is a fifth of an interval ago: so a block in
a request begins with nearly the whole timeout before it."""


class Gap(NamedTuple):
    """A time without a sign of life: the sign before it and the one after (monotonic)."""

    since: float
    until: float


class Heartbeat:
    """Beats every `interval` seconds on the loop, and notifies the arbiter once it serves.

    A chain of timers and no task: an application that cancels all tasks cannot reach it, it
    appears in nobody's list of tasks, and it goes on for as long as the loop turns (lifespan,
    drain, the clean-up after the server has returned).

    The arbiter is not notified during startup: it never kills a worker that has not notified
    yet, and a lifespan that blocks for longer than `timeout` while it loads must go on to work
    as it does on a plain UvicornWorker. Nor is it notified for longer than `drain_s` after the
    drain has begun: a worker that does not come to its end is then dumped and killed.
    """

    __slots__ = (
        "interval", "loop", "phase", "last_sign", "last_beat", "care_at", "gap", "failure",
        "_notify", "_on_failure", "_fresh", "_drain_s", "_silent_after", "_due", "_counts",
        "_sum", "_max", "_context", "_recorder", "_in_flight",
    )

    def __init__(
        self,
        interval: float,
        notify: Callable[[], None],
        on_failure: Callable[[Exception], None],
        drain_s: float = float("inf"),
        recorder: Recorder | None = None,
        in_flight: InFlight | None = None,
    ) -> None:
        """`in_flight`: whose number of requests is recorded with every beat."""
        self.interval = interval
        self.loop: asyncio.AbstractEventLoop | None = None
        self.phase = STARTUP
        self.last_sign: float | None = None
        """When the loop last showed life (monotonic), None until it runs."""
        self.care_at = 0.0
        """From when on a sign is more than a time to note: see `care`."""
        self.gap: Gap | None = None
        """The last time without a sign that was longer than an interval."""
        self.failure: Exception | None = None
        """Why the arbiter could not be notified; it is told once."""
        self.last_beat: float | None = None
        """When the last beat came (monotonic), None until the loop runs."""
        self._notify = notify
        self._on_failure = on_failure
        self._fresh = interval / _FRESH_SHARE
        self._drain_s = drain_s
        self._recorder = recorder or Recorder()
        self._in_flight = in_flight or InFlight(self._recorder.slots)
        self._silent_after = float("inf")
        self._due = 0.0
        self._counts = [0] * (len(LAG_BOUNDS) + 1)
        self._sum = 0.0
        self._max = 0.0
        # Not the context of whoever starts us: a timer would keep it alive for ever.
        self._context = contextvars.Context()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take up beating on this loop, at once; call it in the loop's thread."""
        self.loop = loop
        self._due = monotonic()
        self._recorder.phase(STARTUP, self._due)
        self._beat()

    def serve(self) -> None:
        """Startup is over: from now on the arbiter is notified, beginning at once."""
        self.phase = SERVING
        self._recorder.phase(SERVING, monotonic())
        self.care_at = 0.0
        self.sign()

    def drain(self, asked_at: float | None = None) -> None:
        """Shutdown has begun, which was asked for at that moment, or now; the arbiter is notified
        on, for so long as a drain may take."""
        self.phase = SHUTDOWN
        now = monotonic()
        self._silent_after = (now if asked_at is None else asked_at) + self._drain_s
        self._recorder.phase(SHUTDOWN, now)

    @property
    def draining(self) -> bool:
        """Shutdown has begun."""
        return self.phase is SHUTDOWN

    @property
    def has_requests(self) -> bool:
        """Some are in flight; any thread."""
        return bool(self._in_flight.requests)

    def leave(self) -> None:
        """All is done, and the process is about to end. Any thread."""
        self._recorder.phase(LEFT, monotonic())

    def sign(self) -> None:
        """The loop lives. `Boundary` does the same in its own body, as it is the hot path."""
        now = monotonic()
        if now >= self.care_at:
            self.care(now)
        self.last_sign = now

    def care(self, now: float) -> None:
        """A sign at `now` that comes some time after the last that was cared for.

        Keeps the silence before it, if it was one, and notifies the arbiter.
        """
        if self.last_sign is not None and now - self.last_sign > self.interval:
            self.gap = Gap(self.last_sign, now)
        # Before the arbiter is notified, which gives up the GIL: the loop has moved on by now.
        self.last_sign = now
        self.care_at = now + self._fresh
        self.tell_arbiter(now)

    @property
    def lag(self) -> LoopLag:
        """The lateness of all beats so far; any thread."""
        return LoopLag(LAG_BOUNDS, tuple(self._counts), round(self._sum, 6), round(self._max, 6))

    @property
    def late_s(self) -> float:
        """By how many seconds all beats so far have come late, in all; any thread."""
        return self._sum

    def tell_arbiter(self, now: float) -> None:
        """Notify, in the phases in which it is due. The monitor calls it too, for a loop that is
        busy with many callbacks and gets round to neither a timer nor a request."""
        if self.phase is STARTUP or now > self._silent_after:
            return
        try:
            self._notify()
            self._recorder.notified(now)
        except Exception as error:
            if self.failure is None:
                self.failure = error
                self._on_failure(error)

    def _beat(self) -> None:
        now = monotonic()
        assert self.loop is not None
        # First of all: whatever fails below, the next beat comes.
        self.loop.call_later(self.interval, self._beat, context=self._context)
        lag = max(0.0, now - self._due)
        self._due = now + self.interval
        self._counts[bisect_left(LAG_BOUNDS, lag)] += 1
        self._sum += lag
        self._max = max(self._max, lag)
        self.sign()
        self.last_beat = now
        self._recorder.beat(
            now, self._in_flight.last_number, self._sum, self._max, self._counts)
