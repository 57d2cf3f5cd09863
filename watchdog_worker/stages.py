"""When a boot or a drain is to be told of: a pure function of the signs, as `decision` is."""

from __future__ import annotations

from watchdog_worker.lateness import Why
from watchdog_worker.signs import (
    MAX_STRETCH,
    Action,
    Episode,
    Rules,
    Signs,
    State,
    Told,
)

_FIRST_SHARE = 0.5
"""Of the threshold: what an import is at is sampled from then on."""
_MANY = 60
"""More often, no report is doubled; a boot that takes so long has been told of enough."""


def due(signs: Signs, told: Told, rules: Rules) -> tuple[list[Action], Told]:
    """What is to be done now, and what to remember of it."""
    actions: list[Action] = []
    since = _boot_since(signs, told)
    if since is not None and not told.ended:
        if 0 < rules.startup_timeout <= signs.now - since:
            actions.append(Action.STARTUP_TIMEOUT)
            told = told._replace(ended=True)
        elif rules.startup_threshold and signs.now >= _startup_at(since, told, rules):
            actions.append(Action.SLOW_STARTUP)
            while signs.now >= _startup_at(since, told, rules):
                told = told._replace(startups=told.startups + 1)
        if signs.last_sign is None and (actions or _sampled(signs.now, since, told, rules)):
            # First of all, and before any report: what it sees is fresh.
            actions.insert(0, Action.SAMPLE)
            pause = max(rules.sample_interval, (signs.now - since) / MAX_STRETCH)
            told = told._replace(next_sample=signs.now + pause)
    if signs.leaving_since is not None and not told.shutdown and rules.graceful_timeout and (
            signs.now >= signs.leaving_since + rules.graceful_timeout / 2):
        actions.append(Action.SLOW_SHUTDOWN)
        told = told._replace(shutdown=True)
    return actions, told


def next_at(signs: Signs, told: Told, rules: Rules) -> float | None:
    """The next moment at which anything could become due."""
    moments = []
    since = _boot_since(signs, told)
    if since is not None and not told.ended:
        if rules.startup_timeout:
            moments.append(since + rules.startup_timeout)
        if rules.startup_threshold:
            moments.append(_startup_at(since, told, rules))
            if signs.last_sign is None:
                moments.append(max(told.next_sample, _first_sample_at(since, rules)))
    if signs.leaving_since is not None and not told.shutdown and rules.graceful_timeout:
        moments.append(signs.leaving_since + rules.graceful_timeout / 2)
    return min(moments, default=None)


def boot(signs: Signs, state: State, late_s: float, why: Why | None) -> Episode | None:
    """What goes on until the loop runs, as a silence: a picture of it is measured by this.

    No sign of life parts what the import was at before from what it is at now. So its lateness is
    this look's alone; and what kept the GIL is measured by itself, from the look before to this
    one, at which it has let go: what comes after it is something else.
    """
    if signs.last_sign is not None:
        return None
    booting = state.boot
    if booting is None:
        return None if signs.boot_since is None else Episode(
            signs.boot_since, 0.0, watched_since=signs.now, reading=signs.reading)
    kept = why in (Why.LOOP_KEPT_GIL, Why.ANOTHER_KEPT_GIL)
    if kept or booting.gil_wait_s:
        booting = Episode(
            booting.since, 0.0, watched_since=state.looked_at, reading=state.reading,
            gil_wait_s=late_s if kept else 0.0, paused_before_s=booting.paused_in_all_s)
    paused_s = late_s if why is Why.PAUSED else 0.0
    return booting._replace(late_s=late_s, paused_s=booting.paused_s + paused_s)


def _boot_since(signs: Signs, told: Told) -> float | None:
    """When the boot began, for what is held against it: later by what it was paused for."""
    return None if signs.boot_since is None else signs.boot_since + told.paused_s


def _startup_at(since: float, told: Told, rules: Rules) -> float:
    """When the next `slow_startup` is due: after the threshold, twice, four times it."""
    return since + rules.startup_threshold * 2.0 ** min(told.startups, _MANY)


def _first_sample_at(since: float, rules: Rules) -> float:
    return since + _FIRST_SHARE * rules.startup_threshold


def _sampled(now: float, since: float, told: Told, rules: Rules) -> bool:
    return rules.startup_threshold > 0 and (
        now >= max(told.next_sample, _first_sample_at(since, rules)))
