"""One worker's watch: vitals, monitor, camera and sinks wired together, and what each event does.

Built in the worker process after the fork. `Watch.start` runs in the main thread; what the
monitor calls back runs in the monitor thread.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, process_time
from typing import Any

from watchdog_worker import doorbell, report, settings
from watchdog_worker.capture import Camera, Limits
from watchdog_worker.capture.profile import Samples
from watchdog_worker.diagnosis import diagnose
from watchdog_worker.model import Report, Snapshot, Stall
from watchdog_worker.monitor import Action, Bell, Decision, Episode, Monitor, Rules, Signs, State
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.sinks import Sinks, plain_hook
from watchdog_worker.sinks.files import DumpFolder
from watchdog_worker.sinks.log import Entry, LogSink
from watchdog_worker.vitals.heartbeat import Heartbeat

_SWITCH_S = 0.0005


class Watch:
    """Everything that watches one worker."""

    def __init__(self, worker: Any) -> None:
        cfg = worker.cfg
        self._worker = worker
        self._timeout = float(cfg.timeout)
        self._identity = report.Identity(os.getpid(), worker.age, _app_name(worker))
        self._samples = Samples()
        self._sampled_since = 0.0
        self._loop_ended = False
        self._deadline_s: float | None = None
        self._seen_notifications = 0
        self._sinks = _sinks(worker)
        self.heartbeat = Heartbeat(
            settings.beat_interval(cfg), worker.notify, self._cannot_notify)
        self._camera = Camera(Limits(
            max_tasks=cfg.watchdog_max_tasks,
            max_threads=cfg.watchdog_max_threads,
            max_frames=cfg.watchdog_max_frames,
            with_locals=cfg.watchdog_capture_locals,
        ))
        self._bell = Bell()
        self._signal = cfg.watchdog_dump_signal
        self._monitor = Monitor(
            Rules(
                stall_threshold=cfg.watchdog_stall_threshold,
                stall_rate_limit=cfg.watchdog_stall_rate_limit,
                sample_interval=cfg.watchdog_sample_interval,
                pre_kill_margin=settings.pre_kill_margin(cfg),
            ),
            look=self._look, act=self._act, rung=self._rung, bell=self._bell,
            on_failure=self._report_failed, on_death=self._monitor_died,
        )

    def start(self) -> None:
        """Begin to watch; call it in the main thread, which will run the loop."""
        self._monitor.start()
        if self._signal is not None:
            doorbell.install(self._signal, self._bell.write_end)

    def loop_ended(self) -> None:
        """The loop has returned: its silence is no stall any more."""
        self._loop_ended = True
        self.settle()

    def settle(self) -> None:
        """Wait for reports that are under way, a second for each sink at most."""
        self._sinks.settle(1.0)

    # What the monitor asks and does, in its thread.

    def _look(self, now: float) -> Signs:
        return Signs(now, self.heartbeat.last_sign, self._deadline(), self._loop_ended,
                     cpu_s=process_time())

    def _deadline(self) -> float | None:
        """What the arbiter compares; None while it would never kill.

        The file is asked only when there is news: asking gives up the GIL, and where native code
        has just let go of it, the loop thread would move on from the line to be shown.
        """
        notifications = self._worker.notifications
        # A file that was never notified through carries the time of day, far in the future of
        # the monotonic clock: the arbiter waits for it for ever.
        if self._timeout and notifications != self._seen_notifications:
            try:
                self._deadline_s = self._worker.tmp.last_update() + self._timeout
            except (OSError, ValueError):  # the worker is leaving and has closed it
                return self._deadline_s
            self._seen_notifications = notifications
        return self._deadline_s

    def _act(self, action: Action, signs: Signs, decision: Decision) -> None:
        if action is Action.STALL_ENDED:
            self._tell_ended(signs, decision)
            return
        episode = decision.state.episode
        self._sample_into(episode)
        if action is Action.SAMPLE:
            stack = self._camera.sample()
            if stack is not None:
                self._samples.add(stack, signs.now)
        else:
            late = episode is not None and episode.monitor_was_late
            event = report.STALL if action is Action.STALL else report.PRE_KILL
            self._tell_blocked(event, signs, late, decision.withheld)

    def _sample_into(self, episode: Episode | None) -> None:
        """Every silence has samples of its own."""
        since = episode.since if episode is not None else 0.0
        if since != self._sampled_since:
            self._samples, self._sampled_since = Samples(), since

    def _rung(self, signs: Signs, state: State) -> None:
        if state.episode is not None:
            self._tell_blocked(report.ON_DEMAND, signs, state.episode.monitor_was_late, 0)
        else:
            self._emit(report.ON_DEMAND, self._snapshot(), None)

    def _tell_blocked(self, event: str, seen: Signs, late: bool, withheld: int) -> None:
        with _eager_switching():
            snapshot = self._snapshot(self._samples)
        self._emit(event, snapshot, self._stall(seen, late, withheld))

    def _tell_ended(self, signs: Signs, decision: Decision) -> None:
        episode = decision.ended
        assert episode is not None and signs.last_sign is not None
        stall = Stall(
            blocked_s=round(signs.last_sign - episode.since, 3),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            gil_held=None if episode.monitor_was_late else False,
        )
        self._sample_into(episode)
        self._emit(report.STALL_ENDED, self._camera.develop_samples(self._samples), stall)
        self._sample_into(None)

    def _stall(self, seen: Signs, late: bool, withheld: int) -> Stall:
        """The silence that was seen, as of now: the picture took its time."""
        signs = self._look(monotonic())
        since = seen.last_sign or seen.now
        still_silent = signs.last_sign == seen.last_sign
        return Stall(
            blocked_s=round((signs.now if still_silent else seen.now) - since, 3),
            phase=self.heartbeat.phase,
            timeout_s=self._timeout,
            kill_in_s=None if signs.deadline is None else round(signs.deadline - signs.now, 3),
            gil_held=None if late else False,
            withheld=withheld or None,
        )

    def _snapshot(self, samples: Samples | None = None) -> Snapshot:
        return self._camera.take(self.heartbeat.loop, self.heartbeat.lag, samples)

    def _emit(self, event: str, snapshot: Snapshot, stall: Stall | None) -> None:
        diagnosis = diagnose(snapshot) if stall is not None and snapshot.threads else None
        self._sinks.emit(report.assemble(event, self._identity, snapshot, stall, diagnosis))

    # What goes wrong with us.

    def _cannot_notify(self, error: BaseException) -> None:
        self._sinks.notice(
            f"watchdog: cannot notify the arbiter: {type(error).__name__}: {error}",
            logging.ERROR)

    def _report_failed(self, error: Exception) -> None:
        self._sinks.notice(
            f"watchdog: a report could not be made: {type(error).__name__}: {error}",
            logging.ERROR)

    def _monitor_died(self, error: BaseException) -> None:
        self._sinks.notice(
            "watchdog: the monitor stopped on an error of its own, the worker serves on "
            f"unwatched: {type(error).__name__}: {error}", logging.ERROR)


def _sinks(worker: Any) -> Sinks:
    cfg = worker.cfg
    as_json = cfg.watchdog_log_format == "json"

    def entry(told: Report) -> Entry:
        message = json_render.line(told) if as_json else text_render.text(told)
        return Entry(report.LEVELS[told.event], message, {"watchdog": told.to_dict()})

    folder = cfg.watchdog_dump_dir and DumpFolder(
        cfg.watchdog_dump_dir, cfg.watchdog_dump_keep, json_render.line)
    hook = cfg.watchdog_on_report
    return Sinks(
        LogSink(worker.log.error_log),
        entry,
        file=folder.write if folder else None,
        hook=plain_hook(hook, worker) if hook else None,
    )


def _app_name(worker: Any) -> str:
    """What was asked for on the command line, such as `shop.main:app`."""
    return str(getattr(worker.app, "app_uri", None) or worker.cfg.proc_name)


@contextmanager
def _eager_switching() -> Iterator[None]:
    """Beside a thread that computes without pause, wait less long for every turn.

    Each file read gives up the GIL and gets it back only after the switch interval, 5 ms by
    default: the hundred small reads of a picture would cost more than the margin has.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_S))
    ours = sys.getswitchinterval()
    try:
        yield
    finally:
        if sys.getswitchinterval() == ours:  # else the application has set it meanwhile
            sys.setswitchinterval(before)
