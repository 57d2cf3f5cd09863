"""When a boot or a drain is to be told of."""

from __future__ import annotations

from watchdog_worker import stages
from watchdog_worker.signs import Action, Rules, Signs, Told

RULES = Rules(1.0, 10, 0.05, 1.0, startup_threshold=10.0, graceful_timeout=30.0)


def looked(
    rules: Rules, until: float, boot_since: float | None = None, leaving_since: float | None = None
) -> list[tuple[Action, float]]:
    """What is done when one looks whenever `next_at` says so, until that moment."""
    found, now, told = [], 100.0, Told()
    while now <= until:
        signs = Signs(now, None, None, boot_since=boot_since, leaving_since=leaving_since)
        actions, told = stages.due(signs, told, rules)
        found += [(action, round(now, 2)) for action in actions]
        at = stages.next_at(signs, told, rules)
        if at is None:
            break
        assert at > now or not actions, "it would look again and again"
        now = max(at, now + 0.001)
    return found


def test_a_slow_boot_is_told_at_doubling_intervals() -> None:
    """At the threshold, twice, four, eight times it."""
    found = looked(RULES, 200.0, boot_since=100.0)
    assert [at for action, at in found if action is Action.SLOW_STARTUP] == [
        110.0, 120.0, 140.0, 180.0]


def test_an_import_is_sampled_from_half_of_the_threshold_on() -> None:
    """More and more rarely, and not at all before."""
    found = [at for action, at in looked(RULES, 112.0, boot_since=100.0)
             if action is Action.SAMPLE]
    assert found[0] == 105.0
    assert 90 < len(found) < 150


def test_no_sample_once_the_loop_runs() -> None:
    """Episodes have their own."""
    signs = Signs(109.0, 108.9, None, boot_since=100.0)
    assert stages.due(signs, Told(), RULES) == ([], Told())


def test_who_looks_late_tells_once() -> None:
    """Nothing is made up for."""
    actions, told = stages.due(Signs(145.0, 145.0, None, boot_since=100.0), Told(), RULES)
    assert (actions, told.startups) == ([Action.SLOW_STARTUP], 3)
    assert stages.next_at(Signs(145.0, 145.0, None, boot_since=100.0), told, RULES) == 180.0


def test_a_boot_that_hangs_is_ended_once() -> None:
    """And nothing is told of it after that."""
    rules = RULES._replace(startup_timeout=15.0)
    found = looked(rules, 300.0, boot_since=100.0)
    assert [each for each in found if each[0] is not Action.SAMPLE] == [
        (Action.SLOW_STARTUP, 110.0), (Action.STARTUP_TIMEOUT, 115.0)]


def test_the_end_comes_without_a_threshold_too() -> None:
    """With timeout = 0 there is none."""
    rules = RULES._replace(startup_threshold=0.0, startup_timeout=15.0)
    assert looked(rules, 300.0, boot_since=100.0) == [(Action.STARTUP_TIMEOUT, 115.0)]


def test_a_slow_drain_is_told_once_at_half_of_its_time() -> None:
    """Half is left to do something about it."""
    assert looked(RULES, 200.0, leaving_since=101.0) == [(Action.SLOW_SHUTDOWN, 116.0)]


def test_without_a_graceful_timeout_no_drain_is_slow() -> None:
    """There is nothing to hold it to."""
    assert looked(RULES._replace(graceful_timeout=0.0), 200.0, leaving_since=101.0) == []


def test_nothing_is_due_while_it_serves() -> None:
    """Neither boots nor leaves."""
    signs = Signs(200.0, 200.0, None)
    assert stages.due(signs, Told(), RULES) == ([], Told())
    assert stages.next_at(signs, Told(), RULES) is None
