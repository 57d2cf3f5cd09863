"""When a boot or a drain is to be told of."""

from __future__ import annotations

from watchdog_worker import stages
from watchdog_worker.lateness import Reading, Why
from watchdog_worker.signs import Action, Rules, Signs, State, Told

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
    found = looked(rules, 300.0, boot_since=100.0)
    assert found == [(Action.SAMPLE, 115.0), (Action.STARTUP_TIMEOUT, 115.0)]


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


def test_what_a_boot_was_paused_for_does_not_count() -> None:
    """For the threshold, for what is sampled, and for the limit."""
    rules, told = RULES._replace(startup_timeout=15.0), Told(paused_s=20.0)
    early = Signs(124.9, None, None, boot_since=100.0)
    assert stages.due(early, told, rules) == ([], told)
    assert stages.next_at(early, told, rules) == 125.0
    slow, after = stages.due(early._replace(now=130.0), told, rules)
    assert slow == [Action.SAMPLE, Action.SLOW_STARTUP]
    assert stages.next_at(early._replace(now=130.0), after, rules) == 130.05
    assert stages.due(early._replace(now=135.0), after, rules)[0][-1] is Action.STARTUP_TIMEOUT


def test_a_report_of_an_import_rests_on_a_sample_of_its_own() -> None:
    """Where the thread was caught, if that is what the look was late for."""
    told = Told(next_sample=200.0)
    actions, _ = stages.due(Signs(110.0, None, None, boot_since=100.0), told, RULES)
    assert actions == [Action.SAMPLE, Action.SLOW_STARTUP]


BOOTING = Signs(100.0, None, None, boot_since=99.0, reading=Reading(1.0, 1.0))


def state_after(looked_at: float, why: Why | None, late_s: float, state: State = State()) -> State:
    """What is remembered after a look at that moment, that was so late."""
    signs = BOOTING._replace(now=looked_at, reading=Reading(looked_at, looked_at))
    return state._replace(boot=stages.boot(signs, state, late_s, why), looked_at=looked_at,
                          reading=signs.reading)


def test_an_import_is_a_silence_since_the_fork() -> None:
    """Watched since the first look."""
    boot = state_after(105.0, None, 0.01, state_after(100.0, None, 0.0)).boot
    assert boot is not None
    assert (boot.since, boot.watched_since, boot.reading.cpu_s) == (99.0, 100.0, 100.0)
    assert (boot.gil_wait_s, boot.monitor_was_late) == (0.0, False)
    loop_runs = BOOTING._replace(last_sign=106.0)
    assert stages.boot(loop_runs, State(boot=boot), 0.0, None) is None


def test_what_kept_the_gil_is_measured_by_itself() -> None:
    """From the look before it to the one at which it has let go, whatever was before."""
    before = state_after(104.0, None, 0.0, state_after(100.0, None, 0.0))
    boot = state_after(112.0, Why.LOOP_KEPT_GIL, 7.5, before).boot
    assert boot is not None and boot.monitor_was_late
    assert (boot.since, boot.watched_since, boot.reading.cpu_s) == (99.0, 104.0, 104.0)
    assert (boot.late_s, boot.gil_wait_s) == (7.5, 7.5)


def test_what_comes_after_it_is_not_told_to_have_kept_the_gil() -> None:
    """It is measured from where that has let go."""
    kept = state_after(112.0, Why.ANOTHER_KEPT_GIL, 7.5, state_after(100.0, None, 0.0))
    boot = state_after(113.0, None, 0.01, kept).boot
    assert boot is not None and not boot.monitor_was_late
    assert (boot.since, boot.watched_since, boot.gil_wait_s) == (99.0, 112.0, 0.0)


def test_the_pauses_of_an_import_add_up() -> None:
    """They are no part of its silence, also where the GIL was kept after them."""
    paused = state_after(130.0, Why.PAUSED, 20.0, state_after(100.0, None, 0.0))
    paused = state_after(140.0, Why.PAUSED, 5.0, paused)
    assert paused.boot is not None and paused.boot.paused_s == 25.0
    boot = state_after(150.0, Why.LOOP_KEPT_GIL, 9.0, paused).boot
    assert boot is not None and (boot.paused_s, boot.paused_in_all_s) == (0.0, 25.0)
