"""When something is to be done: a pure function of the signs that the loop leaves behind."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

_IDLE_S = 1.0
"""The monitor looks at least so often, for a loop that may have begun to run meanwhile."""
_LATE_S = 0.25
"""Woken later than this, the monitor itself could not run."""
_GRACE_S = 0.1
"""What the loop gets after such a pause to show that it lives."""
_SILENT_S = 0.5
_SLOW_LOOK_S = 0.1
"""No more often than that for a slow request that cannot be told yet."""
_DEAD_S = 0.05
"""Beats that came later than this in all since the last look: the loop could not run."""
_DEAD_KEPT = 1000
_MOST_LATE_S = 1.0
_RATE_WINDOW_S = 60.0
_MAX_STRETCH = 200
"""A long stall is sampled more and more rarely: each sample adds at least its 200th part."""


class Action(Enum):
    """What there is to do."""

    STALL = auto()
    SAMPLE = auto()
    PRE_KILL = auto()
    STALL_ENDED = auto()
    SLOW_REQUEST = auto()
    NOTE_SLOW = auto()
    CONTEXT_LEAK = auto()


class Rules(NamedTuple):
    """What holds for a worker's whole life; seconds, 0 means off."""

    stall_threshold: float
    stall_rate_limit: int
    sample_interval: float
    pre_kill_margin: float
    slow_request_threshold: float = 0.0


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
    oldest_request: float | None = None
    """When the oldest request began that is in flight and has not been told to be slow."""
    beats_late_s: float = 0.0
    """By how much all beats so far have come late, in all."""
    last_beat: float | None = None
    """When the last of them came: only a beat shows how long the loop was kept from it."""
    gap: tuple[float, float] | None = None
    """The last time without a sign of life that was longer than a heartbeat."""
    leaks: bool = False
    """There are ContextVars to be looked at."""


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
    looked_at: float = 0.0
    """When the last look was."""
    beats_late_s: float = 0.0
    """As of the last look."""
    dead: tuple[tuple[float, float], ...] = ()
    """The last times in which the loop could not run: what they took is no request's fault."""
    recent_slow: tuple[float, ...] = ()
    """When the last reports of slow requests were made."""


class Decision(NamedTuple):
    """What to do now, what to remember, and when to look again."""

    actions: tuple[Action, ...]
    state: State
    ended: Episode | None = None
    """The episode that STALL_ENDED is about."""
    withheld: int = 0
    """How many stalls the rate limit kept back before the STALL that is told now."""
    slow_before: float | None = None
    """Requests that began before this are slow, if any is to be told of or counted now."""


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
    state = _note_dead(signs, state, late_s)
    state = _begin_episode(signs, state, rules, late_s)
    if signs.now >= state.grace_until:
        state, due = _due(signs, state, rules)
        actions += due
    slow_before = _slow_before(signs, state, rules)
    if slow_before is not None:
        recent = _recent(state.recent_slow, signs)
        if len(recent) < rules.stall_rate_limit:
            actions.append(Action.SLOW_REQUEST)
            recent = (*recent, signs.now)
        else:
            actions.append(Action.NOTE_SLOW)
        state = state._replace(recent_slow=recent)
    if signs.leaks:
        actions.append(Action.CONTEXT_LEAK)
    withheld = 0
    if Action.STALL in actions:
        withheld, state = state.withheld, state._replace(withheld=0)
    state = state._replace(
        wake_at=_wake_at(signs, state, rules), cpu_s=signs.cpu_s, looked_at=signs.now)
    return Decision(tuple(actions), state, ended, withheld, slow_before)


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
        recent = _recent(state.recent, signs)
        if len(recent) < rules.stall_rate_limit:
            actions.append(Action.STALL)
            episode = episode._replace(told=True)
            state = state._replace(recent=(*recent, signs.now))
        else:
            state = state._replace(recent=recent, withheld=state.withheld + 1)
        episode = episode._replace(settled=True)
    return state._replace(episode=episode), actions


def _recent(told: tuple[float, ...], signs: Signs) -> tuple[float, ...]:
    return tuple(at for at in told if signs.now - at < _RATE_WINDOW_S)


def _note_dead(signs: Signs, state: State, late_s: float) -> State:
    """Keep the time since the last look in which the loop could not run, as far as it shows."""
    late, gap = signs.beats_late_s - state.beats_late_s, signs.gap
    dead = list(state.dead)
    if late > _DEAD_S and signs.last_beat is not None:
        dead.append((signs.last_beat - late, signs.last_beat))
        if gap is not None and gap[1] > state.looked_at:
            dead.append(gap)
    if late_s > _LATE_S:
        dead.append((signs.now - late_s, signs.now))
    if len(dead) > len(state.dead):
        oldest = signs.oldest_request
        dead = [each for each in _merged(dead) if oldest is not None and each[1] > oldest]
        state = state._replace(dead=tuple(dead[-_DEAD_KEPT:]))
    return state._replace(beats_late_s=signs.beats_late_s)


def _merged(times: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for since, until in sorted(times):
        if merged and since <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((since, until))
    return tuple(merged)


def _slow_before(signs: Signs, state: State, rules: Rules) -> float | None:
    """Requests that began before this are slow; None: there is none that is to be told of.

    The loop must have beaten since they became slow: where one block follows another, the signs
    of life between them come long before the beat.
    """
    due = _slow_at(signs, state, rules)
    if due is None or signs.last_beat is None or signs.last_beat < due:
        return None
    left, at = rules.slow_request_threshold, signs.now
    for since, until in reversed(state.dead):
        if at - until >= left:
            break
        left, at = left - max(0.0, at - until), since
    return at - left


def _slow_at(signs: Signs, state: State, rules: Rules) -> float | None:
    """When the oldest request has been in flight for the threshold, the loop's dead time apart."""
    began = signs.oldest_request
    wanted = rules.slow_request_threshold and rules.stall_rate_limit
    if not wanted or began is None or signs.loop_ended:
        return None
    dead = sum(until - max(since, began) for since, until in state.dead if until > began)
    return began + rules.slow_request_threshold + dead


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
    if rules.slow_request_threshold:  # the next may begin right after this look
        moments.append(signs.now + rules.slow_request_threshold / 2)
    if state.episode is not None:
        moments.append(state.episode.next_sample)
    elif signs.last_sign is not None and not signs.loop_ended:
        moments.append(signs.last_sign + _sample_after(rules) + 0.001)
    if signs.deadline is not None and signs.deadline != state.told_deadline:
        moments.append(signs.deadline - _margin(state, rules))
    slow_at = _slow_at(signs, state, rules)
    if slow_at is not None and len(_recent(state.recent_slow, signs)) < rules.stall_rate_limit:
        moments.append(max(slow_at, signs.now + _SLOW_LOOK_S))
    return max(min(moments), signs.now)
