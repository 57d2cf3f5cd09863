"""What the monitor writes to the recorder with every look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.recorders import Made
from watchdog_worker import rawstacks
from watchdog_worker.logbook import Logbook
from watchdog_worker.signs import Rules, Signs
from watchdog_worker.vitals import recording
from watchdog_worker.vitals.inflight import InFlight


def test_readers_are_told_where_the_raw_stacks_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the very look that forgets them."""
    monkeypatch.setattr(rawstacks.RawStacks, "_arm", lambda *args: None)
    made = Made(tmp_path)
    fd = made.file.fd
    problems: list[Exception] = []
    logbook = Logbook(
        made.recorder, InFlight(made.recorder.slots), Rules(1.0, 10, 0.05, 1.0),
        describe=lambda entry: None, failed=problems.append)  # type: ignore[arg-type,return-value]
    logbook.write(Signs(1.0, 1.0, 30.0), None)
    os.lseek(fd, 0, os.SEEK_END)
    os.write(fd, b"Timeout (0:00:09)!\n")
    assert recording.load(fd).raw
    logbook.write(Signs(40.0, 40.0, 70.0), None)
    assert (recording.load(fd).raw, problems) == ("", [])
    made.die()
