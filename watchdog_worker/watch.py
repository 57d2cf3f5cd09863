"""One worker's watch: vitals, monitor, camera and sinks wired together, and what each event does.

Built in the worker process after the fork, in the main thread, which will run the loop. What
the monitor calls back runs in the monitor thread.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from time import monotonic
from typing import Any

from watchdog_worker import doorbell, outlets, report, settings
from watchdog_worker.capture import Camera, Limits, appcode
from watchdog_worker.capture.requests import Choice
from watchdog_worker.deadline import Deadline, HeartbeatFile
from watchdog_worker.signs import Action, Decision, Episode, Rules, Signs, State
from watchdog_worker.diagnosis import diagnose, suspension
from watchdog_worker.evidence import Evidence
from watchdog_worker.hurry import Hurry
from watchdog_worker.leaving import Leaving
from watchdog_worker.lifewatch import LifeWatch
from watchdog_worker.logbook import Logbook
from watchdog_worker.model import ContextLeak, Diagnosis, Snapshot, Stage, Stall
from watchdog_worker.monitor import Bell, Monitor
from watchdog_worker.ownthread import words
from watchdog_worker.requestwatch import RequestWatch
from watchdog_worker.vitals.heartbeat import SERVING, STARTUP, Heartbeat
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.recorder import Recorder

_SETTLE_S = 1.0


class Watch:
    """Everything that watches one worker."""

    def __init__(self, worker: Any, arbiter: Any, born_at: float) -> None:
        """`born_at`: when the worker was forked (monotonic)."""
        cfg = worker.cfg
        self._worker = worker
        self._timeout = float(cfg.timeout)
        self._identity = report.Identity(os.getpid(), worker.age, report.app_name(worker))
        self._recorder = recorder = Recorder(worker.recorder_file)
        self._episode: Episode | None = None
        self._loop_ended = False
        self._hurry = Hurry()
        self._hook = outlets.hook_of(worker)
        self._sinks = outlets.sinks_of(worker, outlets.kept_in(recorder.outbox), self._hook)
        self._signal = cfg.watchdog_dump_signal
        self.in_flight = InFlight(recorder.slots)
        file = HeartbeatFile(worker)
        self.heartbeat = Heartbeat(
            settings.beat_interval(cfg), file.notify, self._cannot_notify,
            drain_s=float(cfg.graceful_timeout), recorder=recorder, in_flight=self.in_flight)
        self.leaving = Leaving(
            worker, arbiter, self.heartbeat, recorder, self._sinks.settle, self._sinks.notice)
        appcode.claim(self._identity.app)
        self._camera = _camera(cfg, self.in_flight)
        self.requests = RequestWatch(
            self.in_flight, self._camera, self._emit, self._sinks.notice,
            slow_requests=cfg.watchdog_slow_request_threshold > 0)
        self._born_at = born_at
        rules = _rules(cfg)
        self._logbook = Logbook(
            recorder, self.in_flight, rules,
            describe=lambda entry: self._camera.request(entry).requests[0], failed=self.failed)
        self._deadline = Deadline(worker, file, margin=2 * rules.pre_kill_margin)
        self._evidence = Evidence(
            self._camera, self.heartbeat, self._deadline, self._timeout, born_at)
        self.life = LifeWatch(
            self._camera, self._evidence, self._emit, self.heartbeat, self.in_flight, rules)
        self._bell = Bell()
        self._monitor = Monitor(rules, self, self._bell)

    def start(self) -> None:
        """Begin to watch, right after the fork. Raises RuntimeError or OSError, and then nothing of
        ours runs on."""
        self._evidence.start()
        self._sinks.start()
        self._camera.start()
        self._monitor.start()
        self.leaving.install()
        atexit.register(self._recorder.clear_away)
        atexit.register(self.leaving.deafen)

    def settle_in(self) -> None:
        """Do what cannot be done before gunicorn has set up the worker: it resets signals."""
        if self._signal is not None:
            doorbell.install(self._signal, self._bell.write_end)
        self._logbook.begin(preloaded=bool(self._worker.cfg.preload_app))
        if self._hook is not None:
            self._hook.resolve()

    def loaded(self) -> None:
        """The application has been imported, and may have enabled faulthandler for itself."""
        self._logbook.loaded()

    async def settle(self) -> None:
        """On the loop, at the end of a drain: give reports under way a moment to arrive."""
        deadline = monotonic() + _SETTLE_S
        while not self._sinks.settled and monotonic() < deadline:
            await asyncio.sleep(0.01)

    def loop_ended(self) -> None:
        """The loop has returned: its silence is no stall any more."""
        self._loop_ended = True
        self.leaving.loop_has_ended()
        self._sinks.settle(_SETTLE_S)

    # What the monitor asks and does, in its thread.

    def came_late(self) -> None:
        """Catch the loop where it stands, before anything lets it go on."""
        self._evidence.catch()

    def look(self, now: float) -> Signs:
        """The signs of this moment, or of the one in which the loop was caught."""
        if self._loop_ended:
            self.heartbeat.tell_arbiter(now)
        last_sign = self._evidence.last_sign(now)
        return Signs(now, last_sign, self._deadline.at(now), self._loop_ended,
                     reading=self._evidence.reading(), oldest_request=self.requests.oldest_began,
                     leaks=self.requests.leaks(self.heartbeat.phase is SERVING),
                     last_beat=self.heartbeat.last_beat, gap=self.heartbeat.gap,
                     beats_late_s=self.heartbeat.late_s,
                     boot_since=self._booting_since, leaving_since=self.leaving.asked_at,
                     drained=self.leaving.drained)

    def tend(self, signs: Signs, state: State) -> None:
        """Write down what was seen, and see to it that what is to end does."""
        aborted = self._logbook.aborted
        if aborted and self.leaving.is_false_alarm():
            self._logbook.forget()
            aborted = False
        if not aborted:  # else what was so until then is to stay
            self._logbook.write(signs, state.episode)
        status = self.leaving.overdue(signs.now, signs.deadline)
        if status is not None:
            try:
                self.life.tell_cut_off(signs, state)
            finally:
                self.leaving.force(status)
        self.leaving.tend(signs.now, aborted)

    @property
    def _booting_since(self) -> float | None:
        """Not any more once it has been asked to leave: that is another story."""
        booting = (self.heartbeat.phase is STARTUP and self.leaving.asked_at is None
                   and not self._worker.notifications)
        return self._born_at if booting else None

    def episode_changed(self, episode: Episode | None) -> None:
        """Another silence has become too long (its samples begin), or none is."""
        self._episode = episode
        if episode is None:
            self._hurry.end()
        else:
            self._hurry.begin()
            self._evidence.begin(episode)

    def act(self, action: Action, signs: Signs, decision: Decision) -> None:
        """Do what was decided; nothing any more in a process that is being ended."""
        if self.leaving.ending:
            return
        episode = decision.state.episode
        if action is Action.STALL_ENDED and decision.ended is not None:
            self._emit(report.STALL_ENDED, *self._evidence.ended(decision.ended))
        elif action is Action.SAMPLE:
            self._evidence.sample(signs)
        elif action is Action.STALL:
            self._logbook.stalls += 1 + decision.withheld
            self._tell(report.STALL, signs, episode, decision.withheld)
        elif action is Action.PRE_KILL:
            self._logbook.speaking(signs.deadline)
            if self.life.holds(signs, decision.state):
                self.life.tell_shutdown(signs, decision.state, report.PRE_KILL)
            else:
                self._tell(report.PRE_KILL, signs, episode)
        elif action is Action.SLOW_REQUEST and decision.slow_before is not None:
            self.requests.tell_slow(decision.slow_before, self.heartbeat.loop)
        elif action is Action.NOTE_SLOW and decision.slow_before is not None:
            self.requests.note_slow(decision.slow_before)
        elif action is Action.CONTEXT_LEAK:
            self.requests.tell_leaks()
        elif action is Action.SUSPENDED:
            self._tell_paused(decision.paused_s)
        elif action is Action.SLOW_STARTUP:
            self.life.tell_startup(signs, decision.state)
        elif action is Action.SLOW_SHUTDOWN:
            self.life.tell_shutdown(signs, decision.state)
        elif action is Action.STARTUP_TIMEOUT:
            try:
                self.life.tell_startup(signs, decision.state, ended=True)
                self._sinks.settle(_SETTLE_S)
            finally:
                if self.heartbeat.phase is STARTUP:  # it may have come to its end meanwhile
                    self.leaving.force(1)

    def rung(self, signs: Signs, episode: Episode | None) -> None:
        """The dump signal came."""
        self._tell(report.ON_DEMAND, signs, episode)

    def failed(self, error: BaseException) -> None:
        """An action failed; said once."""
        self._sinks.notice(f"watchdog: a report could not be made: {words(error)}", logging.ERROR)

    def died(self, error: BaseException) -> None:
        """The monitor itself has come to its end."""
        self._hurry.end()
        self._logbook.speaking(None)  # nobody would push the timer ahead any more
        self._sinks.notice(
            "watchdog: the monitor stopped on an error of its own, the worker serves on "
            f"unwatched: {words(error)}", logging.ERROR)

    def _tell(
        self, event: str, seen: Signs, episode: Episode | None, withheld: int = 0
    ) -> None:
        silent = event == report.STALL or self._evidence.silent(seen)
        snapshot, stall = self._evidence.picture(seen, episode, silent)
        if event == report.ON_DEMAND and not silent and stall.running:
            self._emit(event, snapshot)
        else:
            self._emit(event, snapshot, stall._replace(withheld=withheld or None))

    def _tell_paused(self, paused_s: float) -> None:
        snapshot = self._camera.figures()
        self._emit(report.SUSPENDED, snapshot, Stall(
            blocked_s=round(paused_s, 3),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            gil_held=False,
        ), suspension.explain(snapshot, paused_s))

    def _emit(
        self, event: str, snapshot: Snapshot, stall: Stall | None = None,
        diagnosis: Diagnosis | None = None, context: ContextLeak | None = None,
        stage: Stage | None = None, level: int | None = None,
    ) -> None:
        if stage is None and stall is not None and stall.silent and snapshot.threads:
            diagnosis = diagnose(snapshot)
        if event in (report.STALL, report.PRE_KILL) and self._episode is not None:
            silent_since = self._episode.since
        else:
            silent_since = 0.0
        self._logbook.reports += 1
        self._sinks.emit(report.assemble(
            event, self._identity, snapshot, stall, diagnosis, context, stage=stage, level=level),
            silent_since)

    def _cannot_notify(self, error: Exception) -> None:
        self._sinks.notice(
            f"watchdog: cannot notify the arbiter: {words(error)}", logging.ERROR)


def _rules(cfg: Any) -> Rules:
    return Rules(
        stall_threshold=cfg.watchdog_stall_threshold,
        stall_rate_limit=cfg.watchdog_stall_rate_limit,
        sample_interval=cfg.watchdog_sample_interval,
        pre_kill_margin=settings.pre_kill_margin(cfg),
        slow_request_threshold=cfg.watchdog_slow_request_threshold,
        startup_threshold=settings.startup_threshold(cfg),
        startup_timeout=cfg.watchdog_startup_timeout,
        graceful_timeout=float(cfg.graceful_timeout),
    )


def _camera(cfg: Any, in_flight: InFlight) -> Camera:
    limits = Limits(
        max_tasks=cfg.watchdog_max_tasks,
        max_threads=cfg.watchdog_max_threads,
        max_frames=cfg.watchdog_max_frames,
        with_locals=cfg.watchdog_capture_locals,
    )
    choice = Choice(
        max_requests=cfg.watchdog_max_requests,
        headers=cfg.watchdog_request_headers,
        with_query=cfg.watchdog_capture_query,
    )
    return Camera(limits, choice, in_flight)
