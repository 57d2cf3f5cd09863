"""What the monitor tells of a boot or a drain that takes long. Runs in the monitor thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from watchdog_worker import report
from watchdog_worker.capture import Camera
from watchdog_worker.diagnosis import stage as stage_diagnosis
from watchdog_worker.evidence import Evidence
from watchdog_worker.model import Diagnosis, Snapshot, Stage, Stall
from watchdog_worker.signs import Rules, Signs, State
from watchdog_worker.vitals.heartbeat import STARTUP, Heartbeat
from watchdog_worker.vitals.inflight import InFlight


class Emit(Protocol):
    """Sends a report on its way."""

    def __call__(
        self, event: str, snapshot: Snapshot, stall: Stall | None = None,
        diagnosis: Diagnosis | None = None, *, stage: Stage | None = None,
        level: int | None = None,
    ) -> None: ...


class LifeWatch:
    """Looks after one worker's boot and drain."""

    def __init__(
        self, camera: Camera, evidence: Evidence, emit: Emit, heartbeat: Heartbeat,
        in_flight: InFlight, rules: Rules,
    ) -> None:
        self._camera, self._evidence, self._emit = camera, evidence, emit
        self._heartbeat, self._in_flight, self._rules = heartbeat, in_flight, rules
        self.connections: Callable[[], int] = _none
        """How many are open; the server's, once there is one."""
        self._shutdown_told = False

    def tell_startup(self, signs: Signs, state: State, ended: bool = False) -> None:
        """The boot takes long; `ended`: too long."""
        assert signs.boot_since is not None
        stage = Stage("startup", round(signs.now - signs.boot_since, 3),
                      self._rules.startup_timeout or None, ended or None,
                      paused_s=round(state.stages.paused_s, 3) or None)
        self._tell(report.SLOW_STARTUP, signs, state, stage,
                   logging.CRITICAL if ended else None)

    def tell_shutdown(self, signs: Signs, state: State, cut_off: bool = False) -> None:
        """Half of the time for leaving is over; `cut_off`: all of it."""
        self._shutdown_told = True
        assert signs.leaving_since is not None
        stage = Stage("shutdown", round(signs.now - signs.leaving_since, 3),
                      self._rules.graceful_timeout, cut_off or None,
                      connections=self.connections() or None)
        self._tell(report.SLOW_SHUTDOWN, signs, state, stage)

    def tell_cut_off(self, signs: Signs, state: State) -> None:
        """The worker is to end now, whatever it waits for: say what that is, if nobody has."""
        if self._heartbeat.phase is not STARTUP and not self._shutdown_told:
            self.tell_shutdown(signs, state, cut_off=True)

    def _tell(
        self, event: str, signs: Signs, state: State, stage: Stage,
        level: int | None = None,
    ) -> None:
        _, paused_s = state.paused
        silent = not signs.loop_ended and (
            signs.last_sign is None or self._evidence.silent(signs, paused_s))
        snapshot, stall = self._evidence.picture(signs, state.episode or state.boot, silent)
        if not stall.silent:
            snapshot = self._with_waits(snapshot)
        snapshot = snapshot._replace(threads=_marked(snapshot))
        found = stage_diagnosis.held(stage, snapshot, stall)
        self._emit(
            event, snapshot, stall, stage_diagnosis.explain(stage, snapshot, found),
            stage=stage._replace(holder=found.holder, holder_name=found.name), level=level)

    def _with_waits(self, snapshot: Snapshot) -> Snapshot:
        """With where each request waits."""
        loop, numbers = self._heartbeat.loop, set(self._in_flight.requests)
        if loop is None or not numbers:
            return snapshot
        waiting = self._camera.take_slow(loop, numbers)
        return snapshot._replace(
            requests=waiting.requests, requests_total=waiting.requests_total, pools=waiting.pools)


def _marked(snapshot: Snapshot) -> tuple[Any, ...]:
    """The threads, with a mark on those that keep a process from its end."""
    known = list(threading._active.items())  # type: ignore[attr-defined]
    holds = {ident for ident, thread in known if getattr(thread, "_daemonic", True) is False}
    return tuple(
        thread._replace(holds_exit=True) if thread.id in holds and not thread.loop else thread
        for thread in snapshot.threads)


def _none() -> int:
    return 0
