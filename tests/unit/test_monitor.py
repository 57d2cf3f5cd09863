"""The monitor's own loop, with a watcher that writes down what it is told."""

from __future__ import annotations

from collections.abc import Iterator

from watchdog_worker.lateness import Reading
from watchdog_worker.signs import Action, Decision, Episode, Rules, Signs, State
from watchdog_worker.monitor import Bell, Monitor

RULES = Rules(stall_threshold=1.0, stall_rate_limit=10, sample_interval=0.05, pre_kill_margin=1.0)


class Over(Exception):
    """There is nothing more to look at."""


class Script:
    """Shows one sign after the other, and ends the thread when there are no more."""

    def __init__(self, *signs: Signs, broken: bool = False) -> None:
        self._signs: Iterator[Signs] = iter(signs)
        self._last = signs[0]
        self._again = False
        self.broken = broken
        self.told: list[str] = []
        self.tended = 0

    def came_late(self) -> None:
        self.told.append("LATE")

    def look(self, now: float) -> Signs:
        if self._again:  # the second look of a round, after its actions
            self._again = False
            return self._last
        try:
            self._last = next(self._signs)
        except StopIteration:
            raise Over from None
        return self._last

    def tend(self, signs: Signs, state: State) -> None:
        self.tended += 1

    def episode_changed(self, episode: Episode | None) -> None:
        self.told.append(f"since {episode.since:g}" if episode else "none")

    def act(self, action: Action, signs: Signs, decision: Decision) -> None:
        self._again = True
        self.told.append(action.name)
        if self.broken:
            raise SystemExit("a bug of ours")

    def rung(self, signs: Signs, episode: Episode | None) -> None:
        self.told.append("RUNG")

    def failed(self, error: BaseException) -> None:
        self.told.append(f"failed: {error}")

    def died(self, error: BaseException) -> None:
        self.told.append(type(error).__name__)


class Silent(Bell):
    """Never rings and never waits."""

    def wait(self, seconds: float) -> bool:
        return False


def run(script: Script) -> list[str]:
    Monitor(RULES, script, Silent(), clock=lambda: 102.0).run()
    return script.told


def test_a_silence_is_told_to_its_end_before_another_begins() -> None:
    """Also where the monitor saw nothing of the life between them."""
    told = run(Script(
        Signs(102.0, 100.0, None), Signs(105.0, 103.0, None, reading=Reading(3.0, 3.0)),
        Signs(105.1, 105.05, None)))
    assert told == [
        "since 100", "SAMPLE", "STALL",
        "STALL_ENDED", "since 103", "SAMPLE", "STALL",
        "STALL_ENDED", "none", "Over"]


def test_an_action_that_fails_is_told_once_and_the_rest_is_done() -> None:
    """Whatever it raises."""
    told = run(Script(Signs(102.0, 100.0, None), Signs(102.1, 100.0, None), broken=True))
    assert told == ["since 100", "SAMPLE", "failed: a bug of ours", "STALL", "SAMPLE", "Over"]


def test_a_monitor_that_wakes_late_says_so_before_it_looks() -> None:
    """So that what kept it is caught where it stands."""
    times = iter([100.0, 100.0, 103.0])
    script = Script(Signs(100.0, 100.0, None), Signs(103.0, 103.0, None))
    Monitor(RULES, script, Silent(), clock=lambda: next(times, 103.0)).run()
    assert script.told[0] == "LATE" and script.told[-1] == "Over"


def test_a_look_that_is_torn_is_done_again() -> None:
    """Where the GIL is taken from the monitor in the middle of it, it has read of both sides; as
    one that woke late it is judged by what was read at the look before."""
    clock = Clock()
    script = Torn(clock)
    Monitor(RULES, script, Silent(), clock=clock).run()
    assert script.told == ["LATE", "since 100", "SAMPLE", "STALL", "Over"]
    assert script.looks == [100.0, 100.2, 103.5]


class Clock:
    """Stands until it is moved."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Torn(Script):
    """The loop keeps the GIL for three seconds; the second look has begun when it takes it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Signs(clock.now, clock.now, None))
        self._clock, self.looks = clock, list[float]()

    def look(self, now: float) -> Signs:
        if self._again or len(self.looks) == 3:
            return super().look(now)
        self.looks.append(now)
        used_s = 0.0
        if len(self.looks) == 1:
            self._clock.now = 100.2  # a little late, as ever
        elif len(self.looks) == 2:
            self._clock.now, used_s = 103.5, 3.0
        else:
            used_s = 3.0
        self._last = Signs(now, 100.0, None, reading=Reading(used_s, used_s, int(200 * used_s)))
        self._signs = iter(())
        return self._last


class Rung(Bell):
    """Rings in its first wait, so long after it was to begin; never again."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        super().__init__()
        self._clock, self._after_s, self._rings = clock, after_s, True

    def wait(self, seconds: float) -> bool:
        rings, self._rings = self._rings, False
        self._clock.now += self._after_s if rings else max(0.0, seconds)
        return rings


class Beating(Script):
    """A loop that beats for as long as the process runs, until a time at which all is over."""

    def __init__(self, clock: Clock, until: float, rung_s: float = 0.0) -> None:
        """`rung_s`: so long the answer to a ring takes."""
        super().__init__(Signs(clock.now, clock.now, None))
        self._clock, self._until, self._rung_s = clock, until, rung_s
        self.looks: list[float] = []

    def look(self, now: float) -> Signs:
        if now > self._until:
            raise Over
        self.looks.append(now)
        return Signs(now, now, None)

    def rung(self, signs: Signs, episode: Episode | None) -> None:
        super().rung(signs, episode)
        self._clock.now += self._rung_s


def rung(after_s: float, rung_s: float = 0.0) -> Beating:
    """Has the bell ring once, so long after the first look."""
    clock = Clock()
    script = Beating(clock, until=clock.now + after_s + 3.0, rung_s=rung_s)
    Monitor(RULES, script, Rung(clock, after_s), clock).run()
    assert script.told[-1] == "Over"
    return script


def test_a_ring_hides_no_pause() -> None:
    """The signal that came to a process that stood still wakes it: it is as late as it is."""
    assert rung(after_s=20.0).told == ["RUNG", "LATE", "SUSPENDED", "Over"]


def test_a_ring_is_no_pause_either() -> None:
    """Neither one that comes before its time, nor what it takes to answer it; and the next look
    comes at once."""
    early = rung(after_s=0.1)
    assert early.told == ["RUNG", "Over"]
    assert early.looks[:3] == [100.0, 100.1, 100.1]
    assert rung(after_s=0.1, rung_s=2.0).told == ["RUNG", "Over"]
