"""A sink's own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from watchdog_worker.sinks.lane import Lane


def started(deliver: Callable[[int], None], say: Callable[[str], None]) -> Lane[int]:
    lane = Lane[int]("watchdog-test", deliver, say)
    lane.start()
    return lane


def test_items_arrive_in_order() -> None:
    """And settle() waits for them."""
    seen: list[int] = []
    lane = started(seen.append, lambda words: None)
    for at in range(20):
        lane.submit(at)
    assert lane.settle(10)
    assert seen == list(range(20))


def test_what_does_not_fit_is_counted_and_said() -> None:
    """A hung sink costs a bounded queue, and submitting never waits."""
    gate, said = threading.Event(), list[str]()
    seen: list[int] = []

    def deliver(item: int) -> None:
        gate.wait()
        seen.append(item)

    lane = started(deliver, said.append)
    for at in range(100):
        lane.submit(at)
    assert not lane.settle(0.01)
    gate.set()
    assert lane.settle(10)
    lane.submit(100)
    assert lane.settle(10)
    assert seen[-1] == 100
    assert 100 - len(seen) + 1 == int(said[0].split()[-4])


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_a_row_of_failures_is_said_once(error: BaseException) -> None:
    """And each item is tried."""
    said, tried = list[str](), list[int]()

    def deliver(item: int) -> None:
        tried.append(item)
        if item < 3:
            raise error

    lane = started(deliver, said.append)
    for at in (1, 2, 3, 1):
        lane.submit(at)
    assert lane.settle(10)
    assert tried == [1, 2, 3, 1]
    assert len(said) == 2
    assert said[0] == f"watchdog: watchdog-test failed: {type(error).__name__}: {error}"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def test_an_error_that_cannot_be_shown_does_not_end_the_lane() -> None:
    """Its type has to do."""
    said, tried = list[str](), list[int]()

    def deliver(item: int) -> None:
        tried.append(item)
        raise Unspeakable

    lane = started(deliver, said.append)
    lane.submit(1)
    lane.submit(2)
    assert lane.settle(10)
    assert tried == [1, 2]
    assert said == ["watchdog: watchdog-test failed: Unspeakable"]
