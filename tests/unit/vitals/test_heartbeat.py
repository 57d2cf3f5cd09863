"""The heartbeat on a loop that the test turns by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from watchdog_worker.vitals import heartbeat
from watchdog_worker.vitals.heartbeat import LAG_BOUNDS, Heartbeat


class HandLoop(asyncio.BaseEventLoop):
    """Keeps the timers; the test decides when they are due."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        self.timers.append((delay, callback))
        return None

    def __del__(self) -> None:
        pass


class Fixture:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, notify: Callable[[], None]) -> None:
        self.now, self.failures = 100.0, list[BaseException]()
        monkeypatch.setattr(heartbeat, "monotonic", lambda: self.now)
        self.loop = HandLoop()
        self.beat = Heartbeat(0.5, notify, self.failures.append)

    def turn(self, late: float = 0.0) -> None:
        delay, callback = self.loop.timers.pop()
        self.now += delay + late
        callback()


def test_startup_beats_and_does_not_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arbiter never kills a worker that has not notified: a slow boot stays possible."""
    notified: list[float] = []
    it = Fixture(monkeypatch, lambda: notified.append(it.now))
    it.beat.start(it.loop)
    it.turn()
    it.beat.sign()
    assert (it.beat.last_sign, notified) == (100.5, [])
    it.beat.serve()
    it.turn()
    it.beat.drain()
    it.turn()
    assert notified == [100.5, 101.0, 101.5]


def test_lag_goes_into_fixed_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each beat's lateness is counted, sum and maximum with it."""
    it = Fixture(monkeypatch, lambda: None)
    it.beat.start(it.loop)
    it.turn()
    it.turn(late=0.3)
    it.turn(late=100.0)
    lag = it.beat.lag
    assert sum(lag.counts) == 4
    assert lag.counts[LAG_BOUNDS.index(0.5)] == 1
    assert lag.counts[-1] == 1
    assert lag.sum_s == pytest.approx(100.3)
    assert lag.max_s == pytest.approx(100.0)


def test_a_request_notifies_when_the_timers_do_not_get_their_turn(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the last time is a fifth of an interval ago."""
    notified: list[float] = []
    it = Fixture(monkeypatch, lambda: notified.append(it.now))
    it.beat.start(it.loop)
    it.beat.serve()
    for it.now in (100.05, 100.15, 100.2, 100.7):
        it.beat.sign()
        assert it.beat.last_sign == it.now
    assert notified == [100.0, 100.15, 100.7]


def test_a_long_silence_is_kept_with_both_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends it, a timer or a request; the monitor may look later."""
    it = Fixture(monkeypatch, lambda: None)
    it.beat.start(it.loop)
    it.turn(late=2.0)
    assert it.beat.gap == (100.0, 102.5)
    it.now = 110.0
    it.beat.sign()
    it.now = 110.1
    it.beat.sign()
    assert it.beat.gap == (102.5, 110.0)


def test_a_drain_is_notified_for_so_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the arbiter's timeout runs."""
    notified: list[float] = []
    it = Fixture(monkeypatch, lambda: notified.append(it.now))
    it.beat = heartbeat.Heartbeat(0.5, lambda: notified.append(it.now), it.failures.append,
                                  drain_s=1.0)
    it.beat.start(it.loop)
    it.beat.serve()
    it.beat.drain()
    for _ in range(5):
        it.turn()
    assert notified == [100.0, 100.5, 101.0]


def test_a_notify_that_fails_is_told_once_and_the_beat_goes_on(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed heartbeat file is the arbiter's business, not the loop's end."""
    def fail() -> None:
        raise OSError("closed")

    it = Fixture(monkeypatch, fail)
    it.beat.start(it.loop)
    it.beat.serve()
    it.turn()
    it.turn()
    assert it.beat.last_sign == 101.0
    assert [str(error) for error in it.failures] == ["closed"]
