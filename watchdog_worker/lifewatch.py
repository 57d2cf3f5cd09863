"""What the monitor tells of a boot or a drain that takes long. Runs in the monitor thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from typing import Any, Protocol

from watchdog_worker import phases, report
from watchdog_worker.capture import Camera, clients
from watchdog_worker.diagnosis import stage as stage_diagnosis, stagewords
from watchdog_worker.evidence import Evidence
from watchdog_worker.model import Diagnosis, Progress, Request, Snapshot, Stage, Stall
from watchdog_worker.signs import Rules, Signs, State
from watchdog_worker.vitals.heartbeat import STARTUP, Heartbeat
from watchdog_worker.vitals.inflight import InFlight

_NAMED = 5
"""So many connections are named, and the rest is counted."""
_LIFESPAN = (phases.LIFESPAN_STARTUP, phases.LIFESPAN_SHUTDOWN)
_OWN_LOOP = (phases.BEFORE_LOOP, phases.LOOP_ENDED)


class Emit(Protocol):
    """Sends a report on its way."""

    def __call__(
        self, event: str, snapshot: Snapshot, stall: Stall | None = None,
        diagnosis: Diagnosis | None = None, *, stage: Stage | None = None,
        level: int | None = None,
    ) -> None: ...


class Server(Protocol):
    """What is known of the server; all of it belongs to the loop's thread and is only read."""

    step: str | None
    """How far it has got; one of `phases`."""
    lifespan: Any
    server_state: Any


class LifeWatch:
    """Looks after one worker's boot and drain."""

    def __init__(
        self, camera: Camera, evidence: Evidence, emit: Emit, heartbeat: Heartbeat,
        in_flight: InFlight, rules: Rules,
    ) -> None:
        self._camera, self._evidence, self._emit = camera, evidence, emit
        self._heartbeat, self._in_flight, self._rules = heartbeat, in_flight, rules
        self.server: Server | None = None
        """Set in the loop's thread, once there is one."""
        self._shutdown_told = False

    def tell_startup(self, signs: Signs, state: State, ended: bool = False) -> None:
        """The boot takes long; `ended`: too long."""
        assert signs.boot_since is not None
        stage = Stage("startup", round(signs.now - signs.boot_since, 3),
                      self._rules.startup_timeout or None, ended or None,
                      paused_s=round(state.stages.paused_s, 3) or None)
        self._tell(report.SLOW_STARTUP, signs, state, stage,
                   logging.CRITICAL if ended else None)

    def tell_shutdown(
        self, signs: Signs, state: State, event: str = report.SLOW_SHUTDOWN, cut_off: bool = False
    ) -> None:
        """Half of the time for leaving is over; or all of it, and gunicorn is about to kill, or
        (`cut_off`) the worker to leave all the same."""
        self._shutdown_told = True
        assert signs.leaving_since is not None
        stage = Stage("shutdown", round(signs.now - signs.leaving_since, 3),
                      self._rules.graceful_timeout, cut_off or None)
        self._tell(event, signs, state, stage)

    def tell_cut_off(self, signs: Signs, state: State) -> None:
        """The worker is to end now, whatever it waits for: say what that is, if nobody has."""
        if self._heartbeat.phase is not STARTUP and not self._shutdown_told:
            self.tell_shutdown(signs, state, cut_off=True)

    def holds(self, signs: Signs, state: State) -> bool:
        """It is leaving, and what it waits for is no loop that is blocked."""
        _, paused_s = state.paused
        return signs.leaving_since is not None and (signs.loop_ended or (
            self._heartbeat.draining and not self._evidence.silent(signs, paused_s)))

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
        progress, snapshot = self._progress(signs, silent, snapshot)
        snapshot = snapshot._replace(threads=_marked(snapshot))
        found = stage_diagnosis.held(snapshot, stall, progress)
        stage = stage._replace(
            holder=found.holder, holder_name=found.name, step=progress.step,
            connections=progress.connections or None, clients=progress.clients[:_NAMED])
        self._emit(event, snapshot, stall,
                   stagewords.explain(stage, snapshot, found, progress), stage=stage, level=level)

    def _progress(
        self, signs: Signs, silent: bool, snapshot: Snapshot
    ) -> tuple[Progress, Snapshot]:
        """How far it has got; with the picture, which shows a loop that is not the server's."""
        server, loop = self.server, self._heartbeat.loop
        step = phases.BEFORE_LOOP if signs.last_sign is None else (
            phases.LOOP_ENDED if signs.loop_ended else server.step if server is not None else None)
        if step in _OWN_LOOP:
            tasks, waiting = self._camera.take_own_loop()
            return Progress(step, waiting=waiting), snapshot._replace(
                tasks=tasks if tasks is not None else snapshot.tasks)
        progress = Progress(step)
        if step in _LIFESPAN and loop is not None and server is not None and not silent:
            _, waiting = self._camera.take_lifespan(
                loop, getattr(type(server.lifespan), "main", None))
            progress = progress._replace(waiting=waiting)
        if step == phases.DRAIN and server is not None:
            known: Collection[Any] = server.server_state.connections
            progress = progress._replace(
                connections=len(known),
                clients=clients.seen(known, list(self._in_flight.entries())))
        return progress, snapshot

    def _with_waits(self, snapshot: Snapshot) -> Snapshot:
        """With where each request waits."""
        loop, numbers = self._heartbeat.loop, set(self._in_flight.requests)
        if loop is None or not numbers:
            return snapshot
        waiting = self._camera.take_slow(loop, numbers)
        return snapshot._replace(
            requests=tuple(map(self._judged, waiting.requests)),
            requests_total=waiting.requests_total, pools=waiting.pools)

    def _judged(self, request: Request) -> Request:
        """All of them hold a drain, and are not slow for that."""
        threshold = self._rules.slow_request_threshold
        return request._replace(slow=0 < threshold <= request.age_s or None)


def _marked(snapshot: Snapshot) -> tuple[Any, ...]:
    """The threads, with a mark on those that keep a process from its end."""
    known = list(threading._active.items())  # type: ignore[attr-defined]
    holds = {ident for ident, thread in known if getattr(thread, "_daemonic", True) is False}
    return tuple(
        thread._replace(holds_exit=True) if thread.id in holds and not thread.loop else thread
        for thread in snapshot.threads)
