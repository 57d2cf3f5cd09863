"""One worker's watch: vitals, monitor, camera and sinks wired together, and what each event does.

Built in the worker process after the fork, in the main thread, which will run the loop. What
the monitor calls back runs in the monitor thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
from time import monotonic
from typing import Any

from watchdog_worker import doorbell, outlets, report, settings
from watchdog_worker.capture import Camera, Limits, appcode
from watchdog_worker.capture.effort import Gauge
from watchdog_worker.capture.profile import Samples
from watchdog_worker.capture.requests import Choice
from watchdog_worker.capture.stacks import RawStack
from watchdog_worker.deadline import Deadline
from watchdog_worker.signs import Action, Decision, Episode, Rules, Signs
from watchdog_worker.diagnosis import diagnose, suspension
from watchdog_worker.hurry import Hurry
from watchdog_worker.leaving import Leaving
from watchdog_worker.logbook import Logbook
from watchdog_worker.model import ContextLeak, Diagnosis, Snapshot, Stall
from watchdog_worker.monitor import Bell, Monitor
from watchdog_worker.ownthread import words
from watchdog_worker.requestwatch import RequestWatch
from watchdog_worker.vitals.heartbeat import SERVING, Heartbeat
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.recorder import Recorder

_SETTLE_S = 1.0
_ON_TIME_S = 0.1
"""A beat that is later than this is no sign of a healthy loop."""


class Watch:
    """Everything that watches one worker."""

    def __init__(self, worker: Any, arbiter: Any, born_at: float) -> None:
        """`born_at`: when the worker was forked (monotonic)."""
        cfg = worker.cfg
        self._worker = worker
        self._timeout = float(cfg.timeout)
        self._identity = report.Identity(os.getpid(), worker.age, report.app_name(worker))
        recorder = Recorder(worker.recorder_file)
        self._episode: Episode | None = None
        self._samples, self._sampled_since = Samples(), 0.0
        self._last_callback: int | None = None
        self._caught: tuple[float | None, RawStack | None] | None = None
        self._looked_at = monotonic()
        self._missed = False
        """This look is at a silence that was over when the monitor came."""
        self._first: RawStack | None = None
        """The sample of a moment in which the monitor came late, for this look."""
        self._loop_ended = False
        self._gauge = Gauge()
        self._hurry = Hurry()
        self._sinks = outlets.sinks_of(worker, outlets.kept_in(recorder.outbox))
        self._signal = cfg.watchdog_dump_signal
        self.in_flight = InFlight(recorder.slots)
        self.heartbeat = Heartbeat(
            settings.beat_interval(cfg), worker.notify, self._cannot_notify,
            drain_s=float(cfg.graceful_timeout), recorder=recorder, in_flight=self.in_flight)
        self.leaving = Leaving(
            worker, arbiter, self.heartbeat, recorder, self._sinks.settle, self._sinks.notice)
        appcode.claim(self._identity.app)
        self._camera = _camera(cfg, self.in_flight)
        self.requests = RequestWatch(
            self.in_flight, self._camera, self._emit, self._sinks.notice,
            slow_requests=cfg.watchdog_slow_request_threshold > 0)
        rules = Rules(
            stall_threshold=cfg.watchdog_stall_threshold,
            stall_rate_limit=cfg.watchdog_stall_rate_limit,
            sample_interval=cfg.watchdog_sample_interval,
            pre_kill_margin=settings.pre_kill_margin(cfg),
            slow_request_threshold=cfg.watchdog_slow_request_threshold,
        )
        self._logbook = Logbook(
            recorder, self.in_flight, rules,
            describe=lambda entry: self._camera.request(entry).requests[0], failed=self.failed)
        self._deadline = Deadline(worker, margin=2 * rules.pre_kill_margin)
        self._bell = Bell()
        self._monitor = Monitor(rules, self, self._bell)

    def start(self) -> None:
        """Begin to watch. Raises RuntimeError or OSError, and then nothing of ours runs on."""
        self.leaving.install()
        if self._signal is not None:
            doorbell.install(self._signal, self._bell.write_end)
        self._logbook.begin(preloaded=bool(self._worker.cfg.preload_app))
        self._gauge.start()
        self._sinks.start()
        self._camera.start()
        self._monitor.start()

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
        self._sinks.settle(_SETTLE_S)

    # What the monitor asks and does, in its thread.

    def came_late(self) -> None:
        """Catch the loop where it stands, before anything lets it go on."""
        last_sign, gap = self.heartbeat.last_sign, self.heartbeat.gap
        if gap is not None and gap.until > self._looked_at:
            # It went on before we did: the silence is told all the same, but not who stood where.
            self._caught = (gap.since, None)
        else:
            self._caught = (last_sign, self._camera.sample())

    def look(self, now: float) -> Signs:
        """The signs of this moment, or of the one in which the loop was caught."""
        last_sign, self._first = self._caught or (self.heartbeat.last_sign, None)
        self._missed = self._caught is not None and self._first is None
        self._caught, self._looked_at = None, now
        signs = Signs(now, last_sign, self._deadline.at(now), self._loop_ended,
                      reading=self._gauge.reading(), oldest_request=self.requests.oldest_began,
                      leaks=self.requests.leaks(self.heartbeat.phase is SERVING),
                      last_beat=self.heartbeat.last_beat, gap=self.heartbeat.gap,
                      beats_late_s=self.heartbeat.late_s)
        self._logbook.write(signs, self._episode)
        self.leaving.tend(now, signs.deadline, self._loop_ended,
                          self._episode is not None and self._logbook.aborted)
        return signs

    def episode_changed(self, episode: Episode | None) -> None:
        """Another silence has become too long (its samples begin), or none is."""
        self._episode = episode
        if episode is None:
            self._hurry.end()
        else:
            self._hurry.begin()
            self._samples, self._sampled_since = Samples(), episode.since
            self._last_callback = None  # what held the loop in another silence says nothing of this

    def act(self, action: Action, signs: Signs, decision: Decision) -> None:
        """Do what was decided."""
        episode = decision.state.episode
        if action is Action.STALL_ENDED and decision.ended is not None:
            self._tell_ended(decision.ended)
        elif action is Action.SAMPLE:
            self._sample(signs)
        elif action is Action.STALL:
            self._logbook.stalls += 1 + decision.withheld
            self._tell(report.STALL, signs, episode, decision.withheld)
        elif action is Action.PRE_KILL:
            self._logbook.speaking(signs.deadline)
            self._tell(report.PRE_KILL, signs, episode)
        elif action is Action.SLOW_REQUEST and decision.slow_before is not None:
            self.requests.tell_slow(decision.slow_before, self.heartbeat.loop)
        elif action is Action.NOTE_SLOW and decision.slow_before is not None:
            self.requests.note_slow(decision.slow_before)
        elif action is Action.CONTEXT_LEAK:
            self.requests.tell_leaks()
        elif action is Action.SUSPENDED:
            self._tell_paused(decision.paused_s)

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

    def _sample(self, signs: Signs) -> None:
        if self._first is not None:
            self._samples.add(self._first, signs.now)
            return
        stack = self._camera.sample(self._samples.wants_names)
        if stack is not None and self.heartbeat.last_sign == signs.last_sign:
            self._samples.add(stack, signs.now)
        self._note_progress(signs.now)

    def _note_progress(self, now: float) -> None:
        """A loop that has gone on to another callback is busy, not stuck: no reason to kill.

        Many callbacks that are ready at once all run before the next timer does.
        """
        callback, last = self._camera.callback(), self._last_callback
        if callback is not None and callback != last:
            if last is not None:
                self._samples.callbacks += 1
                self.heartbeat.tell_arbiter(now)
            self._last_callback = callback

    def _tell(
        self, event: str, seen: Signs, episode: Episode | None, withheld: int = 0
    ) -> None:
        silent = event == report.STALL or self._silent(seen)
        if event == report.ON_DEMAND and not silent and seen.last_sign is not None:
            self._emit(event, self._snapshot(None))
            return
        reading, at = self._gauge.reading(), monotonic()
        snapshot = self._snapshot(seen.last_sign if silent else None)
        if silent and episode is not None:
            snapshot = snapshot._replace(effort=self._gauge.effort(
                episode, reading, at, self._missed))
        kill_at = self._deadline.at(monotonic())
        self._emit(event, snapshot, Stall(
            blocked_s=self._silence(seen.last_sign),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            kill_in_s=None if kill_at is None else round(kill_at - monotonic(), 3),
            gil_held=_gil_held(episode),
            withheld=withheld or None,
            silent=silent,
            running=seen.last_sign is not None,
        ))

    def _silent(self, seen: Signs) -> bool:
        """The next beat is overdue, also where that is no stall yet."""
        on_time = self.heartbeat.interval + _ON_TIME_S
        return seen.last_sign is not None and seen.now - seen.last_sign > on_time

    def _tell_ended(self, episode: Episode) -> None:
        samples = self._samples if self._sampled_since == episode.since else Samples()
        self._emit(report.STALL_ENDED, self._camera.develop_samples(samples), Stall(
            blocked_s=self._silence(episode.since),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            gil_held=_gil_held(episode),
        ))
        self._samples = Samples()

    def _tell_paused(self, paused_s: float) -> None:
        snapshot = self._camera.figures()
        self._emit(report.SUSPENDED, snapshot, Stall(
            blocked_s=round(paused_s, 3),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            gil_held=False,
        ), suspension.explain(snapshot, paused_s))

    def _silence(self, since: float | None) -> float:
        """How long the silence after this sign was, or has been until now."""
        gap, last_sign = self.heartbeat.gap, self.heartbeat.last_sign
        if since is None or last_sign is None:
            return 0.0
        if last_sign <= since:
            return round(monotonic() - since, 3)
        until = gap.until if gap is not None and gap.since == since else last_sign
        return round(until - since, 3)

    def _snapshot(self, silent_since: float | None) -> Snapshot:
        """The picture, with the profile if the loop is silent.

        Should the loop move on while it is taken, its thread is shown where it was last sampled.
        """
        if silent_since is None:
            return self._camera.take(self.heartbeat.loop, self.heartbeat.lag)
        return self._camera.take(
            self.heartbeat.loop, self.heartbeat.lag, self._samples,
            moved_on=lambda: self.heartbeat.last_sign != silent_since)

    def _emit(
        self, event: str, snapshot: Snapshot, stall: Stall | None = None,
        diagnosis: Diagnosis | None = None, context: ContextLeak | None = None,
    ) -> None:
        if stall is not None and stall.silent and snapshot.threads:
            diagnosis = diagnose(snapshot)
        if event in (report.STALL, report.PRE_KILL) and self._episode is not None:
            silent_since = self._episode.since
        else:
            silent_since = 0.0
        self._logbook.reports += 1
        self._sinks.emit(report.assemble(
            event, self._identity, snapshot, stall, diagnosis, context), silent_since)

    def _cannot_notify(self, error: Exception) -> None:
        self._sinks.notice(
            f"watchdog: cannot notify the arbiter: {words(error)}", logging.ERROR)


def _gil_held(episode: Episode | None) -> bool | None:
    if episode is None or not episode.monitor_was_late:
        return False
    return True if episode.gil_wait_s >= episode.late_s else None


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
