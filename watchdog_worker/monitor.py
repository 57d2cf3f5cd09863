"""The side thread that notices when the loop falls silent.

`decide` is a pure function of what it is told; `Monitor` is the loop that asks it and does what
it says. Runs in the monitor thread of a worker, beside everything else in the process: it takes
no lock that the application could hold.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic
from typing import NamedTuple

_IDLE_S = 1.0
"""The monitor looks at least so often, for a loop that may have begun to run meanwhile."""
_LATE_S = 0.25
"""Woken later than this, the monitor itself could not run."""
_GRACE_S = 0.1
"""What the loop gets after such a pause to show that it lives."""
_SILENT_S = 0.5
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
    """CPU time of the whole process so far."""


class Episode(NamedTuple):
    """One silence of the loop that has become too long."""

    since: float
    """The last sign of life before it."""
    next_sample: float
    told: bool = False
    """A report of it has been made."""
    settled: bool = False
    """A `stall` was made, or withheld by the rate limit: not again."""
    monitor_was_late: bool = False


class State(NamedTuple):
    """What the monitor remembers from one look to the next."""

    wake_at: float = 0.0
    """When it meant to wake; 0 before the first look."""
    cpu_s: float = 0.0
    """CPU time of the process at the last look."""
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
    late_s = signs.now - state.wake_at if state.wake_at else 0.0
    late = late_s > _LATE_S
    if late and _stood_still(signs, state, late_s) and signs.last_sign != state.graced_sign:
        state = state._replace(
            grace_until=signs.now + _GRACE_S, graced_sign=signs.last_sign)
    state = _begin_episode(signs, state, rules, late)
    if signs.now >= state.grace_until:
        state, due = _due(signs, state, rules)
        actions += due
    withheld = 0
    if Action.STALL in actions:
        withheld, state = state.withheld, state._replace(withheld=0)
    state = state._replace(wake_at=_wake_at(signs, state, rules), cpu_s=signs.cpu_s)
    return Decision(tuple(actions), state, ended, withheld)


def _stood_still(signs: Signs, state: State, late_s: float) -> bool:
    """The process was paused or starved, and its loop is not to blame.

    If it computed meanwhile, something kept the GIL from the monitor: that is the loop's doing,
    and right now its thread still stands where it did it.
    """
    return signs.cpu_s - state.cpu_s < late_s / 2


def _end_episode(signs: Signs, state: State) -> tuple[State, Episode | None]:
    episode = state.episode
    if episode is None or signs.last_sign is None or signs.last_sign <= episode.since:
        return state, None
    return state._replace(episode=None), episode


def _sample_after(rules: Rules) -> float:
    return rules.stall_threshold or 1.0


def _begin_episode(signs: Signs, state: State, rules: Rules, late: bool) -> State:
    if signs.last_sign is None or signs.loop_ended:
        return state
    episode = state.episode
    if episode is None:
        if signs.now - signs.last_sign <= _sample_after(rules):
            return state
        episode = Episode(since=signs.last_sign, next_sample=signs.now)
    return state._replace(episode=episode._replace(
        monitor_was_late=episode.monitor_was_late or late))


def _due(signs: Signs, state: State, rules: Rules) -> tuple[State, list[Action]]:
    """The reports and samples that are due, the urgent one first."""
    actions: list[Action] = []
    deadline, episode = signs.deadline, state.episode
    if (deadline is not None and deadline != state.told_deadline
            and signs.now >= deadline - rules.pre_kill_margin):
        actions.append(Action.PRE_KILL)
        state = state._replace(told_deadline=deadline)
        if episode is None and _silent(signs):
            episode = Episode(since=signs.last_sign or 0.0, next_sample=signs.now)
        if episode is not None:  # it says all that a later `stall` would
            episode = episode._replace(told=True, settled=True)
    if episode is None:
        return state, actions
    if rules.stall_threshold and not episode.settled:
        recent = tuple(at for at in state.recent if signs.now - at < _RATE_WINDOW_S)
        if len(recent) < rules.stall_rate_limit:
            actions.append(Action.STALL)
            episode = episode._replace(told=True)
            state = state._replace(recent=(*recent, signs.now))
        else:
            state = state._replace(recent=recent, withheld=state.withheld + 1)
        episode = episode._replace(settled=True)
    if signs.now >= episode.next_sample:
        actions.append(Action.SAMPLE)
        pause = max(rules.sample_interval, (signs.now - episode.since) / _MAX_STRETCH)
        episode = episode._replace(next_sample=signs.now + pause)
    return state._replace(episode=episode), actions


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
        moments.append(signs.deadline - rules.pre_kill_margin)
    return max(min(moments), signs.now)


class Bell:
    """A pipe that wakes the monitor; the writing end may be rung from a signal handler in C."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.set_blocking(self.write_end, False)
        self._poll = select.poll()
        self._poll.register(self.read_end, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Whether it rang within that time; ringing several times counts once."""
        if not self._poll.poll(max(0.0, seconds) * 1000):
            return False
        try:
            while os.read(self.read_end, 65536):
                pass
        except BlockingIOError:
            pass
        return True


class Monitor(threading.Thread):
    """Asks `decide` what to do and does it, until the process ends.

    A daemon thread. An action that fails is told to `on_failure` the first time, and the watch
    goes on; if the thread itself dies of an error of its own, `on_death` is told once and the
    worker serves on unwatched.
    """

    def __init__(
        self,
        rules: Rules,
        look: Callable[[float], Signs],
        act: Callable[[Action, Signs, Decision], None],
        rung: Callable[[Signs, State], None],
        bell: Bell,
        on_failure: Callable[[Exception], None],
        on_death: Callable[[BaseException], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(name="watchdog-monitor", daemon=True)
        self._rules, self._look, self._act, self._rung = rules, look, act, rung
        self._bell, self._clock = bell, clock
        self._on_failure, self._on_death = on_failure, on_death
        self._failed = False

    def run(self) -> None:
        """The thread's body."""
        try:
            self._watch()
        except BaseException as error:
            self._on_death(error)

    def _watch(self) -> None:
        state = State()
        while True:
            signs = self._look(self._clock())
            decision = decide(signs, state, self._rules)
            state = decision.state
            for action in decision.actions:
                self._attempt(self._act, action, signs, decision)
            now = self._clock()
            # What the actions took is not a pause of the process.
            state = state._replace(wake_at=max(state.wake_at, now))
            if self._bell.wait(state.wake_at - now):
                self._attempt(self._rung, self._look(self._clock()), state)
                state = state._replace(wake_at=self._clock())

    def _attempt(self, do: Callable[..., None], *arguments: object) -> None:
        try:
            do(*arguments)
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._on_failure(error)
