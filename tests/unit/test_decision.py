"""The decision, without a clock: what follows from which signs."""

from __future__ import annotations

import pytest

from tests.unit.freed import kept_after
from watchdog_worker.decision import decide
from watchdog_worker.lateness import Reading
from watchdog_worker.signs import Action, Rules, Signs, State

RULES = Rules(stall_threshold=1.0, stall_rate_limit=10, sample_interval=0.05, pre_kill_margin=1.0)


class Story:
    """Looks exactly when the decision asks to, and writes down what it is told to do."""

    def __init__(self, rules: Rules = RULES, timeout: float | None = None) -> None:
        self.rules, self.timeout = rules, timeout
        self.now, self.state = 100.0, State()
        self.reading, self.looks = Reading(), 0
        self.last_sign: float | None = 100.0
        self.last_beat = 100.0
        self.oldest_request: float | None = None
        self.leaks = False
        self.boot_since: float | None = None
        self.leaving_since: float | None = None
        self.beats_late_s, self.gap = 0.0, None  # type: float, tuple[float, float] | None
        self.slow_before: list[float | None] = []
        self.told: list[tuple[float, Action]] = []
        self.withheld: list[int] = []

    def until(self, end: float, beats: bool = False, loop_ended: bool = False) -> Story:
        """Go on to `end`, with a loop that beats all the time or not at all."""
        while True:
            if beats:
                self.last_sign = self.last_beat = self.now
            deadline = None
            if self.timeout is not None and self.last_sign is not None:
                deadline = self.last_sign + self.timeout
            signs = Signs(self.now, self.last_sign, deadline, loop_ended, self.reading,
                          self.oldest_request, self.beats_late_s, self.last_beat, self.gap,
                          self.leaks, self.boot_since, self.leaving_since)
            decision = decide(signs, self.state, self.rules)
            self.state = decision.state
            self.looks += 1
            for action in decision.actions:
                self.told.append((round(self.now, 3), action))
                if action is Action.STALL:
                    self.withheld.append(decision.withheld)
                if action is Action.SLOW_REQUEST:
                    self.slow_before.append(decision.slow_before)
                    self.oldest_request = None  # it has been told
                if action is Action.CONTEXT_LEAK:
                    self.leaks = False
            if self.state.wake_at > end:
                self.now = end
                self.state = self.state._replace(wake_at=end)
                return self
            assert self.state.wake_at > self.now, "it must not spin"
            self.now = self.state.wake_at

    def asleep(self, seconds: float) -> Story:
        """The whole process stands still, the monitor too."""
        self.now += seconds
        return self

    def computed(self, seconds: float) -> Story:
        """The loop's thread has used so much CPU time."""
        self.reading = self.reading._replace(
            cpu_s=(self.reading.cpu_s or 0.0) + seconds,
            process_cpu_s=self.reading.process_cpu_s + seconds)
        return self

    def asked(self, turns: int) -> Story:
        """The monitor's thread has asked so many times for the GIL."""
        self.reading = self.reading._replace(turns=(self.reading.turns or 0) + turns)
        return self

    @property
    def reports(self) -> list[tuple[float, Action]]:
        return [(at, action) for at, action in self.told if action is not Action.SAMPLE]

    @property
    def samples(self) -> list[float]:
        return [at for at, action in self.told if action is Action.SAMPLE]


def test_a_loop_that_beats_gives_nothing() -> None:
    """No action, and no more than two looks a second."""
    story = Story(timeout=30.0).until(1100.0, beats=True)
    assert story.told == []
    assert story.looks <= 2001


def test_a_loop_that_does_not_run_yet_is_no_stall() -> None:
    """Import time is not a silence of the loop."""
    story = Story(timeout=30.0)
    story.last_sign = None
    assert story.until(500.0).told == []


def test_a_stall_is_told_once_and_at_the_threshold() -> None:
    """Samples come before, so that it has some to rest on, and after; the dump at the margin."""
    story = Story(timeout=6.0).until(105.9)
    assert story.reports == [(101.001, Action.STALL), (105.0, Action.PRE_KILL)]
    assert story.samples[0] == 100.601
    assert len(story.samples) == pytest.approx(5.3 / 0.05, abs=3)


def test_a_stall_that_ends_is_told_to_have_ended() -> None:
    """Once, and the next one is told anew."""
    story = Story(timeout=30.0).until(103.0)
    story.until(104.0, beats=True)
    story.until(107.0)
    assert [action for _, action in story.reports] == [
        Action.STALL, Action.STALL_ENDED, Action.STALL]


def test_a_short_silence_is_not_told() -> None:
    """Neither its beginning nor its end."""
    story = Story(timeout=30.0).until(100.9).until(102.0, beats=True)
    assert story.reports == []


def test_without_a_deadline_there_is_no_dump() -> None:
    """timeout = 0, or a worker that has never notified."""
    story = Story(timeout=None).until(500.0)
    assert story.reports == [(101.001, Action.STALL)]


def test_without_a_threshold_only_the_dump_is_told() -> None:
    """With samples all the same, and with its end."""
    rules = RULES._replace(stall_threshold=0.0)
    story = Story(rules, timeout=6.0).until(105.5)
    assert story.reports == [(105.0, Action.PRE_KILL)]
    assert story.samples
    story.until(107.0, beats=True)
    assert story.reports[-1][1] is Action.STALL_ENDED


def test_a_threshold_beyond_the_deadline_does_not_lose_the_dump() -> None:
    """The dump comes first, says all, and its end is told."""
    rules = RULES._replace(stall_threshold=20.0)
    story = Story(rules, timeout=6.0).until(150.0)
    assert story.reports == [(105.0, Action.PRE_KILL)]
    story.until(151.0, beats=True)
    assert story.reports[-1][1] is Action.STALL_ENDED


def test_a_sample_is_taken_before_the_report() -> None:
    """It is fresh then: a report takes its time, and the loop may move on."""
    story = Story(timeout=30.0).until(101.0005)
    story.told.clear()
    story.until(101.002)
    assert [action for _, action in story.told] == [Action.SAMPLE, Action.STALL]


def test_the_rate_limit_counts_what_it_withholds() -> None:
    """The next one that is told says how many were not; so do their ends."""
    story = Story(RULES._replace(stall_rate_limit=2), timeout=None)
    for _ in range(5):
        story.until(story.now + 2).until(story.now + 1, beats=True)
    assert [action for _, action in story.reports] == [
        Action.STALL, Action.STALL_ENDED, Action.STALL, Action.STALL_ENDED]
    story.until(story.now + 60, beats=True).until(story.now + 2)
    assert story.reports[-1][1] is Action.STALL
    assert story.withheld == [0, 0, 3]


def test_a_dump_is_never_withheld() -> None:
    """The rate limit is for stalls."""
    story = Story(RULES._replace(stall_rate_limit=0), timeout=6.0).until(106.0)
    assert [action for _, action in story.reports] == [Action.PRE_KILL]


def test_a_process_that_stood_still_does_not_blame_the_loop() -> None:
    """The pause is told once; the loop gets a moment to beat, and nothing more comes if it does."""
    story = Story(timeout=30.0).until(110.0, beats=True)
    story.asleep(20.0).until(story.now + 0.05).until(140.0, beats=True)
    assert story.reports == [(130.0, Action.SUSPENDED)]


def test_a_short_pause_is_not_worth_a_word() -> None:
    """Shorter than the threshold."""
    story = Story(timeout=30.0).until(110.0, beats=True)
    story.asleep(0.9).until(story.now + 0.05).until(140.0, beats=True)
    assert story.reports == []


def test_pauses_are_told_no_more_often_than_stalls() -> None:
    """A process that is stopped again and again does not flood the log."""
    story = Story(RULES._replace(stall_rate_limit=3))
    for _ in range(8):
        story.until(story.now + 1.0, beats=True).asleep(3.0).until(story.now, beats=True)
    assert [action for _, action in story.reports] == [Action.SUSPENDED] * 3


BOOT = RULES._replace(startup_threshold=10.0, startup_timeout=15.0, graceful_timeout=30.0)


def booting() -> Story:
    """It imports, since 100."""
    story = Story(BOOT)
    story.last_sign, story.boot_since = None, 100.0
    return story


def test_a_pause_of_an_import_is_told_and_does_not_count() -> None:
    """Once; and as late as it would be without, it is slow, and ended."""
    story = booting().until(101.0).asleep(20.0).until(200.0)
    (at, first), (slow_at, second), (ended_at, third) = story.reports
    assert (at, first) == (121.0, Action.SUSPENDED)
    assert (second, third) == (Action.SLOW_STARTUP, Action.STARTUP_TIMEOUT)
    assert slow_at == pytest.approx(130.0, abs=0.6)
    assert ended_at == pytest.approx(135.0, abs=0.6)


def test_a_boot_that_was_paused_and_is_done_in_time_is_not_slow() -> None:
    """In its import and in its lifespan; a pause that is short is not told either."""
    story = booting().until(104.0).asleep(100.0).until(206.0).asleep(0.9).until(207.0)
    story.until(208.0, beats=True).asleep(100.0).until(308.0, beats=True)
    story.boot_since = None
    assert story.until(400.0, beats=True).reports == [
        (204.0, Action.SUSPENDED), (308.0, Action.SUSPENDED)]


def test_a_pause_right_before_the_limit_leaves_what_was_left() -> None:
    """It may have begun right after the look before: that time is given back, once."""
    story = booting().until(114.99)
    story.told.clear()
    woke = story.asleep(60.0).now
    story.until(woke + 0.09)
    assert [action for _, action in story.reports] == [Action.SUSPENDED]
    at, action = story.until(woke + 0.7).reports[-1]
    assert action is Action.STARTUP_TIMEOUT and at == pytest.approx(woke + 0.1, abs=0.01)


@pytest.mark.parametrize("runs_s", [0.3, 0.09])
def test_a_boot_that_hangs_is_ended_however_often_it_is_paused(runs_s: float) -> None:
    """What it had between the pauses counts, also where every single look comes late."""
    story, pauses = booting(), 0
    while pauses < 300 and Action.STARTUP_TIMEOUT not in [each for _, each in story.told]:
        story.until(story.now + runs_s).asleep(1.0)
        pauses += 1
    assert story.reports[-1][1] is Action.STARTUP_TIMEOUT
    assert pauses * runs_s < 19.0


def test_native_code_that_kept_the_gil_of_an_import_is_told_when_it_lets_go() -> None:
    """At once, and measured by itself."""
    story = booting().until(104.0).asleep(8.0).computed(8.0).asked(1500).until(112.0)
    assert story.reports == [(112.0, Action.SLOW_STARTUP)]
    boot = story.state.boot
    assert boot is not None and boot.gil_wait_s == pytest.approx(8.0, abs=0.6)


def test_a_drain_that_was_paused_is_told_after_a_moment_of_grace() -> None:
    """Half of its time is gone by the clock, as gunicorn has it; but the loop gets its moment to
    show that it lives, before it is told whether it does."""
    story = Story(BOOT).until(110.0, beats=True)
    story.leaving_since = 110.0
    woke = story.asleep(20.0).now
    story.until(woke)
    assert [action for _, action in story.reports] == [Action.SUSPENDED]
    story.until(woke + 1.0, beats=True)
    (at, action), = story.reports[1:]
    assert action is Action.SLOW_SHUTDOWN and at == pytest.approx(woke + 0.1)


def test_a_drain_is_told_on_time_by_the_clock_also_after_a_pause() -> None:
    """What it was paused for is gone for gunicorn, too."""
    story = Story(BOOT).until(110.0, beats=True)
    story.leaving_since = 110.0
    story.asleep(10.0).until(140.0, beats=True)
    assert story.reports == [(120.0, Action.SUSPENDED), (125.0, Action.SLOW_SHUTDOWN)]


def test_a_pause_where_no_boot_is_watched_is_not_told() -> None:
    """Before there is a loop, of a worker that is leaving already."""
    story = Story()
    story.last_sign = None
    story.until(101.0).asleep(20.0).until(125.0)
    assert story.reports == []


def test_a_loop_that_stays_silent_after_a_pause_is_told() -> None:
    """When it has been silent for long enough without the pause, which is on record."""
    story = Story(timeout=60.0).until(110.0, beats=True)
    woke = story.asleep(20.0).now
    story.until(woke + 2.0)
    (paused, first), (stalled, second) = story.reports
    assert (paused, first, second) == (woke, Action.SUSPENDED, Action.STALL)
    assert woke + 0.3 < stalled <= woke + 1.1
    episode = story.state.episode
    assert episode is not None and 19.0 < episode.paused_in_all_s <= 20.0
    assert episode.paused_s == 0.0  # it was over before the silence was noticed


def test_what_a_silence_is_measured_by_begins_within_it() -> None:
    """A look on the way to the threshold: what the thread uses from then on belongs to it."""
    story = Story().until(110.0, beats=True)
    story.computed(50.0).until(110.7).computed(0.3).until(112.0)
    episode = story.state.episode
    assert episode is not None and 109.9 < episode.watched_since < 110.8
    assert story.reading.process_cpu_s - episode.reading.process_cpu_s == pytest.approx(0.3)


def test_another_thread_that_kept_the_gil_is_told_at_once_too() -> None:
    """The kernel's count of turns shows that the monitor asked for it all the time."""
    story = Story(timeout=60.0)
    story.reading = Reading(turns=0)
    woke = story.until(110.0, beats=True).asleep(3.0).asked(600).now
    story.until(woke)
    assert story.reports == [(woke, Action.STALL)]
    assert story.state.episode is not None and story.state.episode.gil_wait_s > 2.0


def test_native_code_that_kept_the_gil_is_told_when_it_lets_go() -> None:
    """The monitor was late, but the process computed: no moment is given for the trace to fade."""
    story = Story(timeout=60.0).until(110.0, beats=True)
    story.asleep(20.0).computed(19.0).until(story.now)
    assert story.reports == [(130.0, Action.STALL)]
    assert story.state.episode is not None and story.state.episode.monitor_was_late


def test_a_monitor_that_is_always_late_still_speaks() -> None:
    """Beside many threads that compute it gets its turn late every time."""
    story = Story(timeout=6.0)
    while story.now < 106.0:
        story.until(story.now).asleep(0.3)
    assert [action for _, action in story.reports] == [Action.STALL, Action.PRE_KILL]
    assert 104.3 < story.reports[1][0] < 105.0  # the sooner, the later its turns come


def test_a_healthy_loop_whose_notify_fails_is_dumped_once() -> None:
    """The deadline stands, the loop beats: the arbiter will kill all the same."""
    state, told = State(), list[Action]()
    for tick in range(100):
        now = 100.0 + tick / 10
        decision = decide(Signs(now, now, deadline=106.0), state, RULES)
        state = decision.state
        told += decision.actions
    assert told == [Action.PRE_KILL]


def test_after_the_loop_has_ended_only_the_deadline_counts() -> None:
    """Silence is its right then; a process that hangs at its exit is dumped before the kill."""
    story = Story(timeout=6.0).until(106.0, loop_ended=True)
    assert story.reports == [(105.0, Action.PRE_KILL)]


def test_a_long_stall_is_sampled_more_and_more_rarely() -> None:
    """An hour's block costs a few hundred samples a decade, not 72,000."""
    story = Story(timeout=None).until(100.0 + 3600)
    assert 500 < len(story.samples) < 2500


SLOW = RULES._replace(slow_request_threshold=5.0)


def test_a_slow_request_is_told_when_its_time_is_over() -> None:
    """With the moment before which all that are slow began."""
    story = Story(SLOW)
    story.oldest_request = 102.0
    story.until(120.0, beats=True)
    ((at, action),) = story.reports
    assert action is Action.SLOW_REQUEST and 107.0 <= at < 107.2
    assert story.slow_before == [pytest.approx(at - 5.0)]


def test_a_request_that_ends_in_time_is_not_told() -> None:
    """And without a threshold none is."""
    story = Story(SLOW)
    story.oldest_request = 102.0
    story.until(106.9, beats=True)
    story.oldest_request = None
    assert story.until(120.0, beats=True).reports == []
    story = Story(RULES)
    story.oldest_request = 100.0
    assert story.until(200.0, beats=True).reports == []


def test_what_a_stall_took_is_not_the_requests_fault() -> None:
    """It has that much longer."""
    story = Story(SLOW)
    story.oldest_request = 100.0
    story.until(104.8, beats=True).until(109.0)
    story.gap, story.beats_late_s = (104.5, 109.0), 4.0
    story.until(109.4, beats=True)
    assert [action for _, action in story.reports] == [Action.STALL, Action.STALL_ENDED]
    story.until(110.5, beats=True)
    assert story.reports[-1][1] is Action.SLOW_REQUEST
    assert story.slow_before[0] is not None and story.slow_before[0] < 101.0


def test_many_short_blocks_are_not_the_requests_fault_either() -> None:
    """Too short for a stall, and told by the lateness of the beats alone."""
    story = Story(SLOW)
    story.oldest_request = 100.0
    for at in range(1, 11):
        story.beats_late_s += 0.4
        story.until(100.0 + at, beats=True)
    assert [action for _, action in story.reports] == [Action.SLOW_REQUEST]
    assert story.reports[0][0] > 107.0


def test_a_loop_that_has_just_fallen_silent_says_nothing_of_requests() -> None:
    """It must have shown life since the request became slow."""
    story = Story(SLOW)
    story.oldest_request = 100.0
    story.until(104.9, beats=True).until(120.0)
    assert [action for _, action in story.reports] == [Action.STALL]


def test_one_block_after_the_other_is_not_the_requests_fault() -> None:
    """Each request that enters between them is a sign of life, and yet the loop gets nowhere."""
    story = Story(SLOW)
    story.oldest_request = 100.0
    story.until(101.0, beats=True)
    for at in range(102, 112):
        story.last_sign = float(at)
        story.until(at + 0.9)
    assert story.reports == []
    story.beats_late_s = 10.5
    assert story.until(115.3, beats=True).reports == []
    assert story.until(117.0, beats=True).reports[-1][1] is Action.SLOW_REQUEST


def test_a_pause_of_the_process_is_not_the_requests_fault() -> None:
    """Nor the loop's."""
    story = Story(SLOW)
    story.oldest_request = 100.0
    story.until(101.0, beats=True).asleep(60.0).until(164.4, beats=True)
    assert [action for _, action in story.reports] == [Action.SUSPENDED]
    assert story.until(166.0, beats=True).reports[-1][1] is Action.SLOW_REQUEST


def test_beyond_the_rate_limit_slow_requests_wait() -> None:
    """They are noted, and told together when there is room again."""
    story = Story(SLOW._replace(stall_rate_limit=2))
    for began in (100.0, 106.0, 112.0):
        story.oldest_request = began
        story.until(began + 5.5, beats=True)
    story.until(190.0, beats=True)
    told = [at for at, action in story.reports if action is Action.SLOW_REQUEST]
    noted = [at for at, action in story.reports if action is Action.NOTE_SLOW]
    assert len(told) == 3 and 60.0 <= told[2] - told[0] < 62.6
    assert noted[0] < 118.0 and len(noted) < 120


def test_the_monitor_does_not_spin_over_a_slow_request() -> None:
    """Whether it can be told or not."""
    story = Story(SLOW._replace(stall_rate_limit=0))
    story.oldest_request = 100.0
    story.until(160.0, beats=True)
    assert story.reports == [] and story.looks < 130
    story = Story(SLOW)
    story.oldest_request = 100.0
    story.until(160.0)
    assert [action for _, action in story.reports] == [Action.STALL]


def test_variables_are_looked_at_when_there_are_any() -> None:
    """Whatever else there is to do comes first."""
    story = Story(timeout=6.0)
    story.leaks = True
    story.until(100.5, beats=True)
    assert [action for _, action in story.reports] == [Action.CONTEXT_LEAK]
    story = Story(timeout=6.0).until(105.4)
    story.leaks = True
    story.state = story.state._replace(told_deadline=None)
    story.until(106.0)
    told = [action for _, action in story.reports]
    assert told.index(Action.CONTEXT_LEAK) > told.index(Action.PRE_KILL)


def test_a_decision_leaves_nothing_behind_in_memory(capfd: pytest.CaptureFixture[str]) -> None:
    """CPython would keep up to 2,000 freed tuples of a state's size, 270 KB of a worker."""
    story = Story()
    kept = kept_after(lambda at: story.until(story.now + 1.0, beats=True), 300, capfd)
    assert kept[len(State._fields)] < 100
