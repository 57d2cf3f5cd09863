"""The worker's side of the recorder's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.recorders import Made


@pytest.mark.parametrize("phase, end, told, removed", [
    ("left", "", True, True),
    ("serving", "dismissed", True, True),
    ("left", "", False, False),
    ("serving", "", True, False),
    ("shutdown", "aborted", True, False),
])
def test_an_orphan_takes_its_file_away_where_nothing_is_to_be_told(
    tmp_path: Path, phase: str, end: str, told: bool, removed: bool
) -> None:
    """It has left as it was meant to, and the log has all its reports. (The arbiter of the file is
    this process, and so not the parent of it.)"""
    made = Made(tmp_path)
    made.recorder.phase(phase, 1.0)
    made.recorder.end(end)
    number = made.recorder.outbox.put(b"{}", 0.0)
    if told:
        made.recorder.outbox.delivered(number)
    made.recorder.clear_away()
    assert made.path.exists() is not removed
    made.recorder.clear_away()  # once is as good as twice
    made.die()


def test_while_the_arbiter_lives_the_file_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have to tell why the worker has ended."""
    made = Made(tmp_path)
    made.recorder.phase("left", 1.0)
    monkeypatch.setattr(os, "getppid", os.getpid)
    made.recorder.clear_away()
    assert made.path.exists()
    made.die()


def test_a_child_of_the_worker_removes_nothing(tmp_path: Path) -> None:
    """It inherits what is to be done at the end."""
    made = Made(tmp_path)
    made.recorder.phase("left", 1.0)
    made.recorder.abandon()
    made.recorder.clear_away()
    assert made.path.exists()
    made.die()
