"""Who blocks the loop."""

from __future__ import annotations

from tests.unit import reports
from watchdog_worker.diagnosis import diagnose
from watchdog_worker.model import Snapshot, ThreadStack


def test_the_culprit_is_the_innermost_frame_of_the_application() -> None:
    """And the blocking call the innermost of all."""
    found = diagnose(reports.snapshot())
    assert found is not None
    assert found.culprit == reports.CHARGE
    assert found.blocking_call == reports.RECV


def test_without_application_frames_there_is_no_culprit() -> None:
    """But still a frame that blocks."""
    thread = ThreadStack(1, "MainThread", True, reports.SERVER)
    found = diagnose(Snapshot(threads=(thread,)))
    assert found is not None
    assert found.culprit is None
    assert found.blocking_call == reports.SERVER[-1]


def test_a_picture_without_the_loop_thread_has_no_diagnosis() -> None:
    """Nothing is guessed."""
    assert diagnose(Snapshot()) is None
