"""What the monitor tells about requests on a healthy loop: slow ones, and ContextVars that are not
each request's own.

Runs in the monitor thread but for `begin`, which the loop thread calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol

from watchdog_worker import report
from watchdog_worker.capture import Camera, contextvars
from watchdog_worker.diagnosis import contexts as context_diagnosis
from watchdog_worker.diagnosis import slow as slow_diagnosis
from watchdog_worker.model import ContextLeak, Diagnosis, Snapshot
from watchdog_worker.ownthread import words
from watchdog_worker.vitals.context import Contexts, Plan
from watchdog_worker.vitals.inflight import InFlight


_MAX_LEAKS = 20
"""So many variables are told of in a worker's life: they are to push nothing else out."""


class Emit(Protocol):
    """Sends a report on its way."""

    def __call__(
        self, event: str, snapshot: Snapshot, *,
        diagnosis: Diagnosis | None = None, context: ContextLeak | None = None,
    ) -> None: ...


class Notice(Protocol):
    """Says a line about ourselves; may not block."""

    def __call__(self, text: str, level: int | None = None) -> None: ...


class RequestWatch:
    """Looks after one worker's requests."""

    def __init__(
        self, in_flight: InFlight, camera: Camera, emit: Emit, notice: Notice,
        slow_requests: bool,
    ) -> None:
        """`slow_requests`: they are to be told of at all."""
        self.plan = Plan()
        """What is to be done with their contexts; settle it before `begin`."""
        self._in_flight, self._camera = in_flight, camera
        self._emit, self._notice, self._slow_requests = emit, notice, slow_requests
        self._contexts: Contexts | None = None
        self._looked_at_startup = False
        self._leaks_told = 0
        self._oldest = 0
        """The number of the oldest request that may still become slow."""
        self._passed = 0
        """Up to this number, none does: they are WebSockets, or have been told."""
        self._withheld: set[int] = set()
        """Slow ones that the rate limit has kept from being told so far."""

    def begin(self) -> Contexts | None:
        """On the loop, when serving begins: what is set now is what every request starts from.

        None where requests are to be left in the context in which they come.
        """
        contexts = self._contexts = Contexts(self.plan, self._in_flight, self._failed)
        return None if self.plan.idle else contexts

    def _failed(self, name: str, error: BaseException) -> None:
        self._notice(f"watchdog: {name} failed, and the request goes on; this is said once: "
                     f"{words(error)}", logging.ERROR)

    @property
    def oldest_began(self) -> float | None:
        """When the oldest HTTP request began (monotonic) that was not told to be slow."""
        if not self._slow_requests:
            return None
        last, entry = self._in_flight.last_number, self._in_flight.requests.get(self._oldest)
        if entry is None and last > self._passed:
            self._oldest, _ = next(self._untold(), (0, 0.0))
            entry = self._in_flight.requests.get(self._oldest)
            # A thousand WebSockets are not to be passed again at every look.
            self._passed = self._oldest - 1 if self._oldest else last
        return entry[0] if entry is not None else None

    def _untold(self) -> Iterator[tuple[int, float]]:
        """The HTTP requests that may still become slow, the oldest first, and when they began."""
        return ((number, began)
                for number, (began, scope, _) in list(self._in_flight.requests.items())
                if number > self._passed and scope.get("type") == "http")

    def note_slow(self, before: float) -> None:
        """Remember those that cannot be told now, to count them if they end meanwhile."""
        self._withheld |= self._slow(before)

    def tell_slow(self, before: float, loop: asyncio.AbstractEventLoop | None) -> None:
        """One report of all that began before this moment."""
        numbers = self._slow(before)
        if not numbers or loop is None:
            return
        self._passed, self._oldest = max(numbers), 0
        snapshot = self._camera.take_slow(loop, numbers)
        if not snapshot.slow_total:  # they have ended meanwhile
            return
        ended, self._withheld = len(self._withheld - numbers), set()
        self._emit(report.SLOW_REQUEST, snapshot._replace(slow_ended=ended or None),
                   diagnosis=slow_diagnosis.explain(snapshot))

    def _slow(self, before: float) -> set[int]:
        return {number for number, began in self._untold() if began <= before}

    def leaks(self, serving: bool) -> bool:
        """Whether there are variables to be looked at."""
        contexts = self._contexts
        return contexts is not None and (
            bool(contexts.crossed) or (serving and not self._looked_at_startup))

    def tell_leaks(self) -> None:
        """A report for each variable."""
        contexts = self._contexts
        assert contexts is not None
        if not self._looked_at_startup:
            self._looked_at_startup = True
            for leak in contextvars.shared(contexts):
                self._tell_leak(leak, Snapshot())
        found = [contexts.crossed.popleft() for _ in range(len(contexts.crossed))]
        for leak, crossed in contextvars.crossed(found):
            self._tell_leak(leak, self._camera.request(crossed.request))

    def _tell_leak(self, leak: ContextLeak, snapshot: Snapshot) -> None:
        self._leaks_told += 1
        if self._leaks_told > _MAX_LEAKS:
            if self._leaks_told == _MAX_LEAKS + 1:
                self._notice(f"watchdog: {_MAX_LEAKS} ContextVars have been told of, and there "
                             "are more: they are not told")
            return
        self._emit(report.CONTEXT_LEAK, snapshot, context=leak,
                   diagnosis=context_diagnosis.explain(leak))
