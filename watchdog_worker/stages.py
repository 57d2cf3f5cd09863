"""When a boot or a drain is to be told of: a pure function of the signs, as `decision` is."""

from __future__ import annotations

from watchdog_worker.signs import MAX_STRETCH, Action, Rules, Signs, Told

_FIRST_SHARE = 0.5
"""Of the threshold: what an import is at is sampled from then on."""
_MANY = 60
"""More often, no report is doubled; a boot that takes so long has been told of enough."""


def due(signs: Signs, told: Told, rules: Rules) -> tuple[list[Action], Told]:
    """What is to be done now, and what to remember of it."""
    actions: list[Action] = []
    if signs.boot_since is not None and not told.ended:
        booting_s = signs.now - signs.boot_since
        if signs.last_sign is None and _sampled(signs, told, rules):
            actions.append(Action.SAMPLE)
            pause = max(rules.sample_interval, booting_s / MAX_STRETCH)
            told = told._replace(next_sample=signs.now + pause)
        if 0 < rules.startup_timeout <= booting_s:
            actions.append(Action.STARTUP_TIMEOUT)
            told = told._replace(ended=True)
        elif rules.startup_threshold and signs.now >= _startup_at(signs.boot_since, told, rules):
            actions.append(Action.SLOW_STARTUP)
            while signs.now >= _startup_at(signs.boot_since, told, rules):
                told = told._replace(startups=told.startups + 1)
    if signs.leaving_since is not None and not told.shutdown and rules.graceful_timeout and (
            signs.now >= signs.leaving_since + rules.graceful_timeout / 2):
        actions.append(Action.SLOW_SHUTDOWN)
        told = told._replace(shutdown=True)
    return actions, told


def next_at(signs: Signs, told: Told, rules: Rules) -> float | None:
    """The next moment at which anything could become due."""
    moments = []
    if signs.boot_since is not None and not told.ended:
        if rules.startup_timeout:
            moments.append(signs.boot_since + rules.startup_timeout)
        if rules.startup_threshold:
            moments.append(_startup_at(signs.boot_since, told, rules))
            if signs.last_sign is None:
                moments.append(max(told.next_sample, _first_sample_at(signs.boot_since, rules)))
    if signs.leaving_since is not None and not told.shutdown and rules.graceful_timeout:
        moments.append(signs.leaving_since + rules.graceful_timeout / 2)
    return min(moments, default=None)


def _startup_at(since: float, told: Told, rules: Rules) -> float:
    """When the next `slow_startup` is due: after the threshold, twice, four times it."""
    return since + rules.startup_threshold * 2.0 ** min(told.startups, _MANY)


def _first_sample_at(since: float, rules: Rules) -> float:
    return since + _FIRST_SHARE * rules.startup_threshold


def _sampled(signs: Signs, told: Told, rules: Rules) -> bool:
    return bool(rules.startup_threshold and signs.boot_since is not None
                and signs.now >= max(told.next_sample, _first_sample_at(signs.boot_since, rules)))
