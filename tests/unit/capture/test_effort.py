"""What counts up in a silence, and why the monitor came late."""

from __future__ import annotations

import gc
import re
import sys
import threading
import time

import pytest

from watchdog_worker.capture.effort import Gauge
from watchdog_worker.lateness import Reading, Why, why_late
from watchdog_worker.signs import Episode
from watchdog_worker.vitals.garbage import Garbage


@pytest.mark.parametrize("now, why", [
    (Reading(4.9, 5.0, 900), Why.LOOP_KEPT_GIL),
    (Reading(0.0, 4.9, 900), Why.ANOTHER_KEPT_GIL),
    (Reading(0.0, 0.0, 900), Why.ANOTHER_KEPT_GIL),  # it waits with the GIL in its hands
    (Reading(0.0, 0.0, 3), Why.PAUSED),
    (Reading(0.0, 4.9, 3), Why.UNKNOWN),
    (Reading(1.4, 1.5, 270), Why.LOOP_KEPT_GIL),  # throttled meanwhile
    (Reading(0.0, 0.4, 90), Why.PAUSED),  # some of it, and then it was stopped
    (Reading(0.0, 4.9, 3, turn_s=5.0), Why.ANOTHER_KEPT_GIL),  # turns are too long to count
])
def test_why_the_monitor_was_late(now: Reading, why: Why) -> None:
    """By the turns that it asked for the GIL, and by who used the CPU."""
    assert why_late(5.0, Reading(turns=0), now) is why


@pytest.mark.parametrize("now, why", [
    (Reading(4.9, 5.0), Why.LOOP_KEPT_GIL), (Reading(0.0, 5.0), Why.ANOTHER_KEPT_GIL),
    (Reading(0.0, 0.1), Why.PAUSED)])
def test_without_the_kernels_count_the_cpu_decides(now: Reading, why: Why) -> None:
    """As on macOS."""
    assert why_late(5.0, Reading(), now) is why


def test_a_real_thread_that_waits_for_the_gil_takes_turns() -> None:
    """While native code keeps it; the fact that all of this rests on."""
    gauge, readings = Gauge(), list[Reading]()

    def watch() -> None:
        readings.append(gauge.reading())
        time.sleep(0.2)
        readings.append(gauge.reading())

    thread = threading.Thread(target=watch)
    thread.start()
    while not readings:
        time.sleep(0.001)
    began = time.monotonic()
    re.match(r"(a+)+$", "a" * 25 + "b")
    kept = time.monotonic() - began
    thread.join()
    if readings[0].turns is not None and kept > 0.6:
        assert why_late(kept - 0.25, *readings) is Why.LOOP_KEPT_GIL
    assert (readings[1].cpu_s or 0) > (readings[0].cpu_s or 0)


def test_an_effort_is_what_has_been_added() -> None:
    """Since the silence was noticed."""
    gauge = Gauge()
    before = gauge.reading()
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    episode = Episode(100.0, 100.0, watched_since=101.0, reading=before, gil_wait_s=1.5,
                      paused_s=2.5)
    effort = gauge.effort(episode, gauge.reading(), at=104.0, over=False)
    assert effort.seconds == 3.0 and (effort.gil_wait_s, effort.paused_s) == (1.5, 2.5)
    assert effort.silent_s == 1.5
    assert effort.cpu_s is not None and 0.05 <= effort.cpu_s <= effort.process_cpu_s + 0.01
    assert effort.queued_s is None or 0 <= effort.queued_s <= 3.0


def test_only_full_collections_count() -> None:
    """And each is counted whole."""
    garbage = Garbage()
    garbage.start()
    if sys.version_info[:2] == (3, 11):  # where it must not
        assert garbage.note not in gc.callbacks
        gc.callbacks.append(garbage.note)
    try:
        gc.collect(0)
        assert garbage.collected_s == 0.0
        kept = [[at] for at in range(300_000)]
        gc.collect()
        assert garbage.collected_s > 0.0
        kept.clear()
    finally:
        gc.callbacks.remove(garbage.note)


def test_an_end_without_a_beginning_counts_nothing() -> None:
    """Switched on in the middle of a collection."""
    garbage = Garbage()
    garbage.note("stop", {"generation": 2, "collected": 0, "uncollectable": 0})
    assert garbage.collected_s == 0.0
