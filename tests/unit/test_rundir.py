"""The folder of the recorders, where others may put what they like."""

from __future__ import annotations

import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from tests.unit.recorders import Made
from watchdog_worker import rundir
from watchdog_worker.vitals import layout

_PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    """Nobody waits for what another user has put there."""
    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it blocks")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def named(folder: Path, middle: str = "planted") -> Path:
    return folder / f"{layout.PREFIX}{middle}{layout.SUFFIX}"


def paths(folder: Path) -> list[str]:
    return [found.path for found in rundir.found(str(folder))]


def content(tmp_path: Path) -> bytes:
    """What a recorder holds that is found, were it a file of its own."""
    source = tmp_path / "source"
    source.mkdir()
    made = Made(source).serve(1.0)
    assert paths(source) == [str(made.path)]
    return made.path.read_bytes()


def test_a_recorder(tmp_path: Path) -> None:
    """It is found with what it holds and who owns it."""
    made = Made(tmp_path, age=8).serve(1.0)
    (found,) = rundir.found(str(tmp_path))
    assert found.path == str(made.path)
    assert (found.recording.age, found.recording.pid) == (8, os.getpid())
    assert found.uid == os.geteuid()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


def test_alive_while_the_lock_is_held(tmp_path: Path) -> None:
    """By the arbiter or by the mapping of a worker, however many look; not after both."""
    made = Made(tmp_path).serve(1.0)
    assert [found.locked for _ in range(3) for found in rundir.found(str(tmp_path))] == [True] * 3
    os.close(made.file.fd)
    assert [found.locked for found in rundir.found(str(tmp_path))] == [True]
    made.file.fd = -1
    made.die()
    assert [found.locked for _ in range(3) for found in rundir.found(str(tmp_path))] == [False] * 3


def test_who_looks_does_not_make_it_look_alive(tmp_path: Path) -> None:
    """Two who ask about the same dead worker at once both find it dead."""
    made = Made(tmp_path).serve(1.0)
    made.die()
    with rundir.opened(str(made.path)) as one, rundir.opened(str(made.path)) as other:
        assert [rundir.is_locked(fd) for fd in (one, other, one)] == [False] * 3


def test_a_symbolic_link(tmp_path: Path) -> None:
    """It is not followed, not even to a recorder."""
    target = tmp_path / "target"
    target.write_bytes(content(tmp_path))
    named(tmp_path).symlink_to(target)
    assert paths(tmp_path) == []
    target.rename(named(tmp_path))  # the same bytes, but a file of its own
    assert paths(tmp_path) == [str(named(tmp_path))]


def test_a_hard_link(tmp_path: Path) -> None:
    """A file with a second name, which may be anybody's, is none, and is one again without."""
    made = Made(tmp_path)
    os.link(made.path, tmp_path / "second")
    assert paths(tmp_path) == []
    (tmp_path / "second").unlink()
    assert paths(tmp_path) == [str(made.path)]


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that nobody writes to, a directory, a socket: passed over at once."""
    os.mkfifo(named(tmp_path, "fifo"))
    named(tmp_path, "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's whole path may not be long
        listener.bind(named(tmp_path, "socket").name)
    made = Made(tmp_path)
    assert len(rundir.names(str(tmp_path))) == 4
    assert paths(tmp_path) == [str(made.path)]


@pytest.mark.parametrize("size", [0, 1, 511, 512, layout.SIZE - 1])
def test_a_short_file(tmp_path: Path, size: int) -> None:
    """What has not all its parts is none."""
    named(tmp_path).write_bytes(content(tmp_path)[:size])
    assert paths(tmp_path) == []


def test_a_huge_file(tmp_path: Path) -> None:
    """What no worker writes is not read."""
    path = named(tmp_path)
    path.write_bytes(content(tmp_path))
    os.truncate(path, 64 * 2 ** 20)
    assert paths(tmp_path) == [str(path)]
    os.truncate(path, 64 * 2 ** 20 + 1)
    assert paths(tmp_path) == []


@pytest.mark.parametrize("at, byte", [(0, b"V"), (8, bytes([layout.VERSION + 1]))])
def test_a_file_of_another_kind_or_version(tmp_path: Path, at: int, byte: bytes) -> None:
    """Nothing is made of what may mean something else."""
    made = Made(tmp_path)
    assert paths(tmp_path) == [str(made.path)]
    made.overwrite(at, byte)
    assert paths(tmp_path) == []


def test_other_names(tmp_path: Path) -> None:
    """Only what is named like a recorder is opened."""
    for name in ("watchdog-x.json", "other.vitals", "watchdog-x.vitals~"):
        (tmp_path / name).write_bytes(b"")
    made = Made(tmp_path)
    assert rundir.names(str(tmp_path)) == [made.path.name]


def test_no_folder(tmp_path: Path) -> None:
    """It is an error, and not an empty one."""
    with pytest.raises(FileNotFoundError):
        list(rundir.found(str(tmp_path / "none")))
    named(tmp_path).write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        list(rundir.found(str(named(tmp_path))))


def test_where_is_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment says, and nowhere if that is not there; else in the usual places."""
    monkeypatch.setenv("WATCHDOG_RUN_DIR", str(tmp_path))
    assert rundir.usual() == [str(tmp_path)]
    monkeypatch.setenv("WATCHDOG_RUN_DIR", str(tmp_path / "none"))
    assert rundir.usual() == []
    monkeypatch.delenv("WATCHDOG_RUN_DIR")
    monkeypatch.setattr(rundir, "SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert rundir.usual() == [str(tmp_path)]


def test_where_gunicorn_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the setting says, which is made; else with gunicorn's own files, else in memory."""
    monkeypatch.setattr(rundir, "SHARED_MEMORY", str(tmp_path / "memory"))
    (tmp_path / "memory").mkdir()
    (tmp_path / "tmp").mkdir()

    def chosen(run_dir: str | None, tmp_dir: str | None) -> str:
        return rundir.chosen(SimpleNamespace(watchdog_run_dir=run_dir, worker_tmp_dir=tmp_dir))

    asked = str(tmp_path / "a" / "b")
    assert chosen(asked, str(tmp_path / "tmp")) == asked
    assert os.path.isdir(asked)
    assert chosen(None, str(tmp_path / "tmp")) == str(tmp_path / "tmp")
    assert chosen(None, None) == str(tmp_path / "memory")
    assert chosen(None, str(tmp_path / "none")) == str(tmp_path / "memory")
