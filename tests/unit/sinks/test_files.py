"""The dump folder."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from tests.unit import reports
from watchdog_worker.render.json import line
from watchdog_worker.sinks.files import DumpFolder


def test_files_are_private_complete_and_named_by_time(tmp_path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        DumpFolder(str(tmp_path / "a" / "b"), 5, line).write(reports.pre_kill())
    finally:
        os.umask(before)
    (file,) = (tmp_path / "a" / "b").iterdir()
    assert file.name == "watchdog-20260102T120000.123Z-4711-1-pre_kill.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == reports.pre_kill().to_dict()


def test_the_newest_stay_and_strangers_are_left_alone(tmp_path: Path) -> None:
    """Two workers share the folder; a file that died half written goes after a while."""
    (tmp_path / "precious.json").write_text("mine")
    stale, fresh = tmp_path / ".watchdog-old.json.partial", tmp_path / ".watchdog-new.json.partial"
    stale.write_text("{")
    fresh.write_text("{")
    os.utime(stale, (time.time() - 3600,) * 2)
    folders = [DumpFolder(str(tmp_path), 3, line) for _ in range(2)]
    for at in range(10):
        told = reports.pre_kill()._replace(
            time=f"2026-01-02T12:00:{at:02}.000Z", pid=4711 + at % 2)
        folders[at % 2].write(told)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names[0] == fresh.name
    assert names[1] == "precious.json"
    assert [name[22:24] for name in names[2:]] == ["07", "08", "09"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A render that fails leaves nothing."""
    def fail(report: object) -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        DumpFolder(str(tmp_path), 3, fail).write(reports.pre_kill())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The lane says it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        DumpFolder(str(tmp_path / "file" / "sub"), 3, line).write(reports.pre_kill())
