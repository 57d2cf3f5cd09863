"""What is known of the silence that goes on: samples, counts, and the picture made of them.

Built in the loop's thread; all else runs in the monitor thread.
"""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from watchdog_worker.capture import Camera
from watchdog_worker.capture.effort import Gauge
from watchdog_worker.capture.profile import Samples
from watchdog_worker.capture.stacks import RawStack, place
from watchdog_worker.deadline import Deadline
from watchdog_worker.lateness import Reading
from watchdog_worker.model import Snapshot, Stall
from watchdog_worker.signs import Episode, Signs
from watchdog_worker.vitals.heartbeat import STARTUP, Heartbeat

_ON_TIME_S = 0.1
"""A beat that is later than this is no sign of a healthy loop."""


class Caught(NamedTuple):
    """Where the loop stood in the moment in which the monitor came late."""

    last_sign: float | None
    stack: RawStack | None
    """None: it had gone on before we did. The silence is told all the same, but not who stood
    where."""


class Evidence:
    """Gathers it for one worker."""

    def __init__(
        self, camera: Camera, heartbeat: Heartbeat, deadline: Deadline, timeout: float,
        born_at: float,
    ) -> None:
        self._camera, self._heartbeat, self._deadline = camera, heartbeat, deadline
        self._timeout, self._born_at = timeout, born_at
        self._gauge = Gauge()
        self._samples, self._sampled_since = Samples(), 0.0
        self._last_callback: int | None = None
        self._caught: Caught | None = None
        self._seen: Caught | None = None
        """The moment in which the monitor came late, for this look."""
        self._looked_at = monotonic()

    def start(self) -> None:
        """Begin to count; main thread."""
        self._gauge.start()

    def reading(self) -> Reading:
        """What the counts are now."""
        return self._gauge.reading()

    def catch(self) -> None:
        """Catch the loop where it stands, before anything lets it go on."""
        last_sign, gap = self._heartbeat.last_sign, self._heartbeat.gap
        if gap is not None and gap.until > self._looked_at:
            self._caught = Caught(gap.since, None)
        else:
            self._caught = Caught(last_sign, self._camera.sample())

    def last_sign(self, now: float) -> float | None:
        """The loop's last sign of life, for a look at this moment: now, or when it was caught."""
        self._seen, self._caught, self._looked_at = self._caught, None, now
        return self._heartbeat.last_sign if self._seen is None else self._seen.last_sign

    def begin(self, episode: Episode) -> None:
        """Another silence begins: what held the loop before says nothing of this one."""
        self._samples, self._sampled_since = Samples(), episode.since
        self._last_callback = None

    def sample(self, signs: Signs) -> None:
        """Look where the loop's thread stands."""
        if self._seen is not None and self._seen.stack is not None:
            self._samples.add(self._seen.stack, signs.now)
            return
        stack = self._camera.sample(self._samples.wants_names)
        if stack is not None and self._heartbeat.last_sign == signs.last_sign:
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
                self._heartbeat.tell_arbiter(now)
            self._last_callback = callback

    def silent(self, seen: Signs, paused_s: float = 0.0) -> bool:
        """The next beat is overdue, also where that is no stall yet. `paused_s`: for how long it
        could not have come since the last sign."""
        on_time = self._heartbeat.interval + _ON_TIME_S
        return seen.last_sign is not None and seen.now - seen.last_sign - paused_s > on_time

    def picture(
        self, seen: Signs, episode: Episode | None, silent: bool
    ) -> tuple[Snapshot, Stall]:
        """The whole picture, with the profile if the loop is `silent`, and how long it is."""
        reading, at = self._gauge.reading(), monotonic()
        snapshot = self._snapshot(seen, silent)
        missed = self._seen is not None and self._seen.stack is None
        if silent and episode is not None:
            snapshot = snapshot._replace(effort=self._gauge.effort(episode, reading, at, missed))
        kill_at = self._deadline.at(monotonic())
        return snapshot, Stall(
            blocked_s=self._silence(seen.last_sign),
            phase=self._heartbeat.phase,
            timeout_s=self._timeout,
            kill_in_s=None if kill_at is None else round(kill_at - monotonic(), 3),
            gil_held=gil_held(episode),
            silent=silent,
            running=seen.last_sign is not None,
        )

    def _snapshot(self, seen: Signs, silent: bool) -> Snapshot:
        """Should the loop move on while it is taken, its thread is shown where it was last
        sampled."""
        beat = self._heartbeat
        if not silent:
            return self._camera.take(beat.loop, beat.lag)
        return self._camera.take(
            beat.loop, beat.lag, self._samples, moved_on=lambda: self._has_moved_on(seen))

    def _has_moved_on(self, seen: Signs) -> bool:
        """The loop's thread is at something else than when these signs were seen. Before the loop
        runs nothing but the place tells, where the thread was caught."""
        if self._heartbeat.last_sign != seen.last_sign:
            return True
        caught = self._seen.stack if self._seen is not None else None
        if seen.last_sign is not None or caught is None or caught is not self._samples.latest:
            return False
        stack = self._camera.sample(lambda stack: False)
        return stack is None or place(stack.frames) != place(caught.frames)

    def ended(self, episode: Episode) -> tuple[Snapshot, Stall]:
        """The profile of a silence that is over, and how long it was."""
        samples = self._samples if self._sampled_since == episode.since else Samples()
        self._samples = Samples()
        return self._camera.develop_samples(samples), Stall(
            blocked_s=self._silence(episode.since),
            phase=self._heartbeat.phase,
            timeout_s=self._timeout,
            gil_held=gil_held(episode),
        )

    def _silence(self, since: float | None) -> float:
        """How long the silence after this sign was, or has been until now."""
        gap, last_sign = self._heartbeat.gap, self._heartbeat.last_sign
        if since is None or last_sign is None:
            booting = self._heartbeat.phase is STARTUP and last_sign is None
            return round(monotonic() - self._born_at, 3) if booting else 0.0
        if last_sign <= since:
            return round(monotonic() - since, 3)
        until = gap.until if gap is not None and gap.since == since else last_sign
        return round(until - since, 3)


def gil_held(episode: Episode | None) -> bool | None:
    """Whether the GIL was kept in this silence; None where that cannot be told."""
    if episode is None or not episode.monitor_was_late:
        return False
    return True if episode.gil_wait_s >= episode.late_s else None
