"""The side thread that notices when the loop falls silent.

`decide` is a pure function of what it is told; `Monitor` is the loop that asks it and does what
it says. Runs in the monitor thread of a worker and takes no lock that the application could hold.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic
from typing import NamedTuple, Protocol

from watchdog_worker.ownthread import OwnThread

_IDLE_S = 1.0
"""The monitor looks at least so often, for a loop that may have begun to run meanwhile."""
_LATE_S = 0.25
"""Woken later than this, the monitor itself could not run."""
_GRACE_S = 0.1
"""What the loop gets after such a pause to show that it lives."""
_SILENT_S = 0.5
_MOST_LATE_S = 1.0
_HEADING = b"(most recent call first)"
_RATE_WINDOW_S = 60.0
_MAX_STRETCH = 200
"""A long stall is sampled more and more rarely: each sample adds at least its 200th part."""


class Action(Enum):
    """What there is to do."""

    STALL = auto()
    SAMPLE = auto()
    PRE_KILL = auto()
    STALL_ENDED = auto()


class Rules(NamedTuple):
    """What holds for a worker's whole life; seconds, 0 means off."""

    stall_threshold: float
    stall_rate_limit: int
    sample_interval: float
    pre_kill_margin: float


class Signs(NamedTuple):
    """What is seen at one moment (monotonic seconds)."""

    now: float
    last_sign: float | None
    """The loop's last sign of life; None until it runs."""
    deadline: float | None
    """When the arbiter will kill if it is not notified; None if it never will."""
    loop_ended: bool = False
    cpu_s: float = 0.0
    """CPU time of the loop's thread so far."""


class Episode(NamedTuple):
    """One silence of the loop that has become too long."""

    since: float
    """The last sign of life before it."""
    next_sample: float
    told: bool = False
    """A report of it has been made."""
    settled: bool = False
    """A `stall` was made, or withheld by the rate limit: not again."""
    late_s: float = 0.0
    """By how much the monitor came late at worst: it waits for the GIL like everybody."""

    @property
    def monitor_was_late(self) -> bool:
        """Whether it could not watch all the time."""
        return self.late_s > _LATE_S


class State(NamedTuple):
    """What the monitor remembers from one look to the next."""

    wake_at: float = 0.0
    """When it meant to wake; 0 before the first look."""
    cpu_s: float = 0.0
    """CPU time of the loop's thread at the last look."""
    episode: Episode | None = None
    told_deadline: float | None = None
    """The deadline for which a `pre_kill` has been made."""
    grace_until: float = 0.0
    graced_sign: float | None = None
    """The sign of life after which grace was given: once a silence, or a monitor that is always
    late (many threads that compute) would never come to speak."""
    recent: tuple[float, ...] = ()
    """When the last `stall` reports were made."""
    withheld: int = 0


class Decision(NamedTuple):
    """What to do now, what to remember, and when to look again."""

    actions: tuple[Action, ...]
    state: State
    ended: Episode | None = None
    """The episode that STALL_ENDED is about."""
    withheld: int = 0
    """How many stalls the rate limit kept back before the STALL that is told now."""


def decide(signs: Signs, state: State, rules: Rules) -> Decision:
    """What follows from these signs. Pure: no clock, no thread, no side effect."""
    actions: list[Action] = []
    state, ended = _end_episode(signs, state)
    if ended is not None and ended.told:
        actions.append(Action.STALL_ENDED)
    late_s = max(0.0, signs.now - state.wake_at) if state.wake_at else 0.0
    if late_s > _LATE_S and not _computed(signs, state, late_s):
        if signs.last_sign != state.graced_sign:
            state = state._replace(
                grace_until=signs.now + _GRACE_S, graced_sign=signs.last_sign)
    state = _begin_episode(signs, state, rules, late_s)
    if signs.now >= state.grace_until:
        state, due = _due(signs, state, rules)
        actions += due
    withheld = 0
    if Action.STALL in actions:
        withheld, state = state.withheld, state._replace(withheld=0)
    state = state._replace(wake_at=_wake_at(signs, state, rules), cpu_s=signs.cpu_s)
    return Decision(tuple(actions), state, ended, withheld)


def _computed(signs: Signs, state: State, late_s: float) -> bool:
    """The loop's thread used the time in which the monitor could not run: it kept the GIL.

    Right now it still stands where it did. Otherwise the process was paused or starved, or
    another thread kept the GIL, and the loop gets a moment to show that it lives.
    """
    return signs.cpu_s - state.cpu_s > late_s / 2


def _end_episode(signs: Signs, state: State) -> tuple[State, Episode | None]:
    episode = state.episode
    if episode is None or signs.last_sign is None or signs.last_sign <= episode.since:
        return state, None
    return state._replace(episode=None), episode


def _sample_after(rules: Rules) -> float:
    return rules.stall_threshold or 1.0


def _begin_episode(signs: Signs, state: State, rules: Rules, late_s: float) -> State:
    if signs.last_sign is None or signs.loop_ended:
        return state
    episode = state.episode
    if episode is None:
        if signs.now - signs.last_sign <= _sample_after(rules):
            return state
        episode = Episode(since=signs.last_sign, next_sample=signs.now)
    return state._replace(episode=episode._replace(late_s=max(episode.late_s, late_s)))


def _due(signs: Signs, state: State, rules: Rules) -> tuple[State, list[Action]]:
    """What is due. The sample comes first: it costs next to nothing, and what it sees is fresh."""
    actions: list[Action] = []
    kill_near = _kill_near(signs, state, rules)
    if kill_near and state.episode is None and _silent(signs) and signs.last_sign is not None:
        state = state._replace(
            episode=Episode(since=signs.last_sign, next_sample=signs.now))
    episode = state.episode
    if episode is not None and signs.now >= episode.next_sample:
        actions.append(Action.SAMPLE)
        pause = max(rules.sample_interval, (signs.now - episode.since) / _MAX_STRETCH)
        episode = episode._replace(next_sample=signs.now + pause)
    if kill_near:
        actions.append(Action.PRE_KILL)
        state = state._replace(told_deadline=signs.deadline)
        if episode is not None:  # it says all that a later `stall` would
            episode = episode._replace(told=True, settled=True)
    elif rules.stall_threshold and episode is not None and not episode.settled:
        recent = tuple(at for at in state.recent if signs.now - at < _RATE_WINDOW_S)
        if len(recent) < rules.stall_rate_limit:
            actions.append(Action.STALL)
            episode = episode._replace(told=True)
            state = state._replace(recent=(*recent, signs.now))
        else:
            state = state._replace(recent=recent, withheld=state.withheld + 1)
        episode = episode._replace(settled=True)
    return state._replace(episode=episode), actions


def _kill_near(signs: Signs, state: State, rules: Rules) -> bool:
    return (signs.deadline is not None and signs.deadline != state.told_deadline
            and signs.now >= signs.deadline - _margin(state, rules))


def _margin(state: State, rules: Rules) -> float:
    """The margin, and more where the monitor gets its turn late: up to a second, or twice."""
    late_s = state.episode.late_s if state.episode is not None else 0.0
    return rules.pre_kill_margin + min(late_s, rules.pre_kill_margin, _MOST_LATE_S)


def _silent(signs: Signs) -> bool:
    """A deadline is near because of the loop, and not because notifying fails."""
    return (signs.last_sign is not None and not signs.loop_ended
            and signs.now - signs.last_sign >= _SILENT_S)


def _wake_at(signs: Signs, state: State, rules: Rules) -> float:
    """The next moment at which anything could become due."""
    if state.grace_until > signs.now:
        return state.grace_until
    moments = [signs.now + min(_IDLE_S, _sample_after(rules))]
    if state.episode is not None:
        moments.append(state.episode.next_sample)
    elif signs.last_sign is not None and not signs.loop_ended:
        moments.append(signs.last_sign + _sample_after(rules) + 0.001)
    if signs.deadline is not None and signs.deadline != state.told_deadline:
        moments.append(signs.deadline - _margin(state, rules))
    return max(min(moments), signs.now)


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
    """What the monitor asks and tells, in its thread. Only `look` may not raise."""

    def look(self, now: float) -> Signs:
        """The signs of this moment."""

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
        state = State()
        while True:
            before, signs = state.episode, self._watcher.look(self._clock())
            decision = decide(signs, state, self._rules)
            state = decision.state
            self._carry_out(decision, signs, before)
            if decision.actions:
                # What the actions took is not a pause of the process.
                after = self._watcher.look(self._clock())
                state = state._replace(
                    wake_at=max(state.wake_at, after.now), cpu_s=after.cpu_s)
            if self._bell.wait(state.wake_at - self._clock()):
                self._attempt(
                    self._watcher.rung, self._watcher.look(self._clock()), state.episode)
                state = state._replace(wake_at=self._clock())

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
