"""The side thread that notices when the loop falls silent.

It asks `decide` what follows from the signs and has it done. Runs in the monitor thread of a
worker and takes no lock that the application could hold.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from watchdog_worker.decision import decide
from watchdog_worker.signs import LATE_S, Action, Decision, Episode, Rules, Signs, State
from watchdog_worker.ownthread import OwnThread

_HEADING = b"(most recent call first)"


class Bell:
    """A pipe that wakes the monitor; faulthandler rings it from its signal handler in C."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.set_blocking(self.write_end, False)
        self._poll = select.poll()
        self._poll.register(self.read_end, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Whether it rang within that time; it may also return early for no reason.

        One ring is a traceback in many small writes. The first of them is its heading, and only
        that counts: the others may come at any time after.
        """
        if not self._poll.poll(max(0.0, seconds) * 1000):
            return False
        return _HEADING in os.read(self.read_end, 65536)


class Watcher(Protocol):
    """What the monitor asks and tells, in its thread. Only `look` and `tend` may not raise."""

    def came_late(self) -> None:
        """The monitor was kept from running; `look` comes next. Gives up the GIL nowhere: who
        kept it must still stand where it did."""

    def look(self, now: float) -> Signs:
        """The signs of this moment."""

    def tend(self, signs: Signs, state: State) -> None:
        """Do what is done with every look; `state`: what is remembered of the look before."""

    def episode_changed(self, episode: Episode | None) -> None:
        """Another silence has become too long, or none is."""

    def act(self, action: Action, signs: Signs, decision: Decision) -> None:
        """Do what was decided."""

    def rung(self, signs: Signs, episode: Episode | None) -> None:
        """The bell has been rung."""

    def failed(self, error: BaseException) -> None:
        """An action failed."""

    def died(self, error: BaseException) -> None:
        """The thread has come to its end."""


class Monitor(OwnThread):
    """Asks `decide` what to do and does it, until the process ends.

    An action that fails is told to the watcher the first time, and the watch goes on; if the
    thread itself dies of an error of its own, it is told that, and the worker serves on
    unwatched.
    """

    def __init__(
        self, rules: Rules, watcher: Watcher, bell: Bell, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__("watchdog-monitor")
        self._rules, self._watcher, self._bell, self._clock = rules, watcher, bell, clock
        self._failed = False

    def run(self) -> None:
        """The thread's body."""
        try:
            self._watch()
        except BaseException as error:
            self._watcher.died(error)

    def _watch(self) -> None:
        state = State(wake_at=self._clock())
        while True:
            before, now = state.episode, self._clock()
            if now - state.wake_at > LATE_S:
                self._attempt(self._watcher.came_late)
            signs = self._look(now, state)
            decision = decide(signs, state, self._rules)
            state = decision.state
            self._carry_out(decision, signs, before)
            if decision.actions:
                # What the actions took is not a pause of the process.
                after = self._look(self._clock(), state)
                state = state._replace(
                    wake_at=max(state.wake_at, after.now), reading=after.reading)
            if self._bell.wait(state.wake_at - self._clock()):
                rung_at = self._clock()
                self._attempt(self._watcher.rung, self._look(rung_at, state), state.episode)
                # At once; if it woke late, that is still to be told, and what the answer took is
                # no part of it.
                took_s = self._clock() - rung_at
                state = state._replace(wake_at=min(state.wake_at, rung_at) + took_s)

    def _look(self, now: float, state: State) -> Signs:
        signs = self._watcher.look(now)
        looked_at = self._clock()
        if looked_at - now > LATE_S:
            # The GIL was taken from us in the middle of it: some of it is of the time before that,
            # and some of the time after.
            self._attempt(self._watcher.came_late)
            signs = self._watcher.look(looked_at)
        self._watcher.tend(signs, state)
        return signs

    def _carry_out(self, decision: Decision, signs: Signs, before: Episode | None) -> None:
        """All actions. One silence is told to its end before another begins."""
        actions, now = list(decision.actions), decision.state.episode
        if Action.STALL_ENDED in actions:
            actions.remove(Action.STALL_ENDED)
            self._attempt(self._watcher.act, Action.STALL_ENDED, signs, decision)
        if (before and before.since) != (now and now.since):
            self._attempt(self._watcher.episode_changed, now)
        for action in actions:
            self._attempt(self._watcher.act, action, signs, decision)

    def _attempt(self, do: Callable[..., None], *arguments: object) -> None:
        try:
            do(*arguments)
        except BaseException as error:  # a picture runs into foreign objects
            if not self._failed:
                self._failed = True
                self._watcher.failed(error)
