"""When something is to be done: a pure function of the signs that the loop leaves behind."""

from __future__ import annotations

from watchdog_worker import stages
from watchdog_worker.lateness import Why, why_late
from watchdog_worker.signs import (
    LATE_S,
    MAX_STRETCH,
    Action,
    Decision,
    Episode,
    Rules,
    Signs,
    State,
)

_IDLE_S = 1.0
"""The monitor looks at least so often, for a loop that may have begun to run meanwhile."""
_GRACE_S = 0.1
"""What the loop gets after such a pause to show that it lives."""
_SILENT_S = 0.5
_SLOW_LOOK_S = 0.1
"""No more often than that for a slow request that cannot be told yet."""
_DEAD_S = 0.05
"""Beats that came later than this in all since the last look: the loop could not run."""
_DEAD_KEPT = 1000
_FIRST_SHARE = 0.6
"""Samples are taken after this share of the threshold, so that a `stall` has some to rest on. It is
more than a heartbeat, which costs a loop that beats nothing."""
_PAUSE_S = 1.0
"""A monitor that is late by less may have lacked a turn on a busy machine, and the loop not."""
_MOST_LATE_S = 1.0
_RATE_WINDOW_S = 60.0


def decide(signs: Signs, state: State, rules: Rules) -> Decision:
    """What follows from these signs. Pure: no clock, no thread, no side effect."""
    actions: list[Action] = []
    state, ended = _end_episode(signs, state)
    if ended is not None and ended.told:
        actions.append(Action.STALL_ENDED)
    late_s = max(0.0, signs.now - state.wake_at) if state.wake_at else 0.0
    why = why_late(late_s, state.reading, signs.reading) if late_s > LATE_S else None
    state = _note_pause(signs, state, late_s, why)
    if why is Why.PAUSED and _worth_telling(late_s, signs, rules):
        recent, admitted = _admit(state.recent, signs, rules)
        state = state._replace(recent=recent)
        actions += [Action.SUSPENDED] if admitted else []
    state = _note_dead(signs, state, late_s)
    state = _begin_episode(signs, state, rules, late_s, why)
    state = state._replace(boot=stages.boot(signs, state, late_s, why))
    if signs.now >= state.grace_until:
        state, due = _due(signs, state, rules)
        actions += due
    slow_before = _slow_before(signs, state, rules)
    if slow_before is not None:
        recent, admitted = _admit(state.recent_slow, signs, rules)
        state = state._replace(recent_slow=recent)
        actions.append(Action.SLOW_REQUEST if admitted else Action.NOTE_SLOW)
    if signs.now >= state.grace_until:
        due, told = stages.due(signs, state.stages, rules)
        state = state._replace(stages=told)
        actions += due
    if signs.leaks:
        actions.append(Action.CONTEXT_LEAK)
    withheld = 0
    if Action.STALL in actions:
        withheld, state = state.withheld, state._replace(withheld=0)
    state = state._replace(
        wake_at=_wake_at(signs, state, rules), reading=signs.reading, looked_at=signs.now)
    return Decision(tuple(actions), state, ended, withheld, slow_before, late_s)


def _note_pause(signs: Signs, state: State, late_s: float, why: Why | None) -> State:
    """Keep for how long the loop could not run, and give it a moment to show that it lives.

    Not where the GIL was kept from the monitor: right now the thread that kept it still stands
    where it did.
    """
    sign, paused_s = state.paused
    paused_s = paused_s if sign == signs.last_sign else 0.0
    if why in (Why.PAUSED, Why.UNKNOWN):
        grace_s = _grace_s(signs, state)
        if grace_s:
            state = state._replace(grace_until=signs.now + grace_s, graced_sign=signs.last_sign)
    if why is Why.PAUSED and late_s >= _PAUSE_S:
        paused_s += late_s
    if why is Why.PAUSED and signs.boot_since is not None:
        state = state._replace(stages=state.stages._replace(
            paused_s=state.stages.paused_s + late_s))
    return state._replace(paused=(signs.last_sign, paused_s))


def _grace_s(signs: Signs, state: State) -> float:
    """How long nothing is held against the loop after a pause: once a silence.

    An import has no signs, so there it is once between two looks in time, and for as long as the
    pause may have gone on unnoticed: it can have begun right after the look before it.
    """
    if signs.last_sign is not None:
        return _GRACE_S if signs.last_sign != state.graced_sign else 0.0
    if state.boot is None or state.boot.monitor_was_late:
        return 0.0
    return max(_GRACE_S, state.wake_at - state.looked_at)


def _worth_telling(late_s: float, signs: Signs, rules: Rules) -> bool:
    """A pause that would have been a stall, had it been the loop's; or that the boot has had."""
    watched = signs.boot_since is not None or (
        signs.last_sign is not None and not signs.loop_ended)
    return watched and 0 < rules.stall_threshold < late_s


def _end_episode(signs: Signs, state: State) -> tuple[State, Episode | None]:
    episode = state.episode
    if episode is None or signs.last_sign is None or signs.last_sign <= episode.since:
        return state, None
    return state._replace(episode=None), episode


def _sample_after(rules: Rules) -> float:
    return rules.stall_threshold or 1.0


def _begin_episode(
    signs: Signs, state: State, rules: Rules, late_s: float, why: Why | None
) -> State:
    if signs.last_sign is None or signs.loop_ended:
        return state
    episode = state.episode
    if episode is None:
        if _silence(signs, state) <= _FIRST_SHARE * _sample_after(rules):
            return state
        episode = _noticed(signs, state, late_s > LATE_S or _stalled(signs, state, rules))
    kept = why in (Why.LOOP_KEPT_GIL, Why.ANOTHER_KEPT_GIL)
    return state._replace(episode=episode._replace(
        late_s=max(episode.late_s, late_s),
        gil_wait_s=episode.gil_wait_s + (late_s if kept else 0.0),
        paused_s=state.paused[1] - episode.paused_before_s))


def _silence(signs: Signs, state: State) -> float:
    """For how long the loop could have shown life, and has not."""
    return 0.0 if signs.last_sign is None else signs.now - signs.last_sign - state.paused[1]


def _noticed(signs: Signs, state: State, late: bool) -> Episode:
    """The silence that is noticed now, which is watched from now on.

    Where that is late, and it is to be told already, the watch began with the look before.
    """
    assert signs.last_sign is not None
    if late and state.looked_at:
        return Episode(signs.last_sign, signs.now, watched_since=state.looked_at,
                       reading=state.reading, paused_s=state.paused[1])
    return Episode(signs.last_sign, signs.now, watched_since=signs.now, reading=signs.reading,
                   paused_before_s=state.paused[1])


def _due(signs: Signs, state: State, rules: Rules) -> tuple[State, list[Action]]:
    """What is due. The sample comes first: it costs next to nothing, and what it sees is fresh."""
    actions: list[Action] = []
    kill_near = _kill_near(signs, state, rules)
    if kill_near and state.episode is None and _silent(signs) and signs.last_sign is not None:
        state = state._replace(episode=_noticed(signs, state, late=True))
    episode = state.episode
    stalled = _stalled(signs, state, rules) and episode is not None and not episode.settled
    if episode is not None and (signs.now >= episode.next_sample or stalled or kill_near):
        actions.append(Action.SAMPLE)
        pause = max(rules.sample_interval, (signs.now - episode.since) / MAX_STRETCH)
        episode = episode._replace(next_sample=signs.now + pause)
    if kill_near:
        actions.append(Action.PRE_KILL)
        state = state._replace(told_deadline=signs.deadline)
        if episode is not None:  # it says all that a later `stall` would
            episode = episode._replace(told=True, settled=True)
    elif stalled and episode is not None:
        recent, admitted = _admit(state.recent, signs, rules)
        state = state._replace(recent=recent)
        if admitted:
            actions.append(Action.STALL)
            episode = episode._replace(told=True)
        else:
            state = state._replace(withheld=state.withheld + 1)
        episode = episode._replace(settled=True)
    return state._replace(episode=episode), actions


def _stalled(signs: Signs, state: State, rules: Rules) -> bool:
    return 0 < rules.stall_threshold < _silence(signs, state)


def _admit(
    told: tuple[float, ...], signs: Signs, rules: Rules
) -> tuple[tuple[float, ...], bool]:
    """The reports of the last minute, and whether the rate limit lets this one be among them."""
    recent = _recent(told, signs)
    admitted = len(recent) < rules.stall_rate_limit
    return (*recent, signs.now) if admitted else recent, admitted


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
    if late_s > LATE_S:
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
            and not signs.drained and signs.now >= signs.deadline - _margin(state, rules))


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
    idle_s = min(_IDLE_S, _sample_after(rules))
    moments = [signs.now + (idle_s if signs.last_sign is not None else idle_s / 2)]
    if rules.slow_request_threshold:  # the next may begin right after this look
        moments.append(signs.now + rules.slow_request_threshold / 2)
    if signs.last_sign is not None and not signs.loop_ended:
        silent_at, due = signs.last_sign + state.paused[1], _sample_after(rules)
        if state.episode is None:
            moments.append(silent_at + _FIRST_SHARE * due + 0.001)
        elif not state.episode.settled and signs.now <= silent_at + due:
            moments.append(silent_at + due + 0.001)
    if state.episode is not None:
        moments.append(state.episode.next_sample)
    if signs.deadline is not None and signs.deadline != state.told_deadline:
        moments.append(signs.deadline - _margin(state, rules))
    slow_at = _slow_at(signs, state, rules)
    if slow_at is not None and len(_recent(state.recent_slow, signs)) < rules.stall_rate_limit:
        moments.append(max(slow_at, signs.now + _SLOW_LOOK_S))
    stage_at = stages.next_at(signs, state.stages, rules)
    if stage_at is not None:
        moments.append(stage_at)
    return max(min(moments), signs.now)
