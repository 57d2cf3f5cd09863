"""The folder of the flight recorders: which one it is, and what is in it.

Others may be able to write there, as everybody can in /dev/shm: no link is followed, nothing but
a regular file is opened, and what it holds is not trusted. Any process.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from watchdog_worker.vitals import layout, recording
from watchdog_worker.vitals.recording import Recording

SHARED_MEMORY = "/dev/shm"
_LOOK_S = 3.0
"""Reading a recorder takes less than a millisecond; whoever fills the folder up hides some."""
_LOCK_TRIES = 4
_LOCK_PAUSE_S = 0.002
_SIZE_MOST = 64 * 2 ** 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Found(NamedTuple):
    """A recorder's file that could be read."""

    path: str
    recording: Recording
    locked: bool
    """Its worker or the arbiter of it lives: one of them holds the lock on it."""
    uid: int
    """Who owns it."""


def chosen(cfg: Any) -> str:
    """Where this gunicorn keeps its recorders; made if it was asked for. Raises OSError."""
    if cfg.watchdog_run_dir is not None:
        folder = os.path.abspath(str(cfg.watchdog_run_dir))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        return folder
    for folder in (cfg.worker_tmp_dir, SHARED_MEMORY):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    return _temporary()


def usual() -> list[str]:
    """Where recorders are looked for when nobody says where."""
    asked = os.environ.get("WATCHDOG_RUN_DIR")
    folders = [asked] if asked else [SHARED_MEMORY, _temporary()]
    return [folder for folder in dict.fromkeys(map(os.path.abspath, folders))
            if os.path.isdir(folder)]


def _temporary() -> str:
    import tempfile  # it costs a command a tenth of its start

    return tempfile.gettempdir()


def names(folder: str) -> list[str]:
    """The recorders' names in it. Raises OSError."""
    return sorted(
        name for name in os.listdir(folder)
        if name.startswith(layout.PREFIX) and name.endswith(layout.SUFFIX))


def found(folder: str) -> Iterator[Found]:
    """All recorders in it that can be read; whatever else is there is passed over.

    Raises OSError where the folder itself cannot be read.
    """
    until = time.monotonic() + _LOOK_S
    for name in names(folder):
        path = os.path.join(folder, name)
        if time.monotonic() > until:
            return
        try:
            with opened(path) as fd:
                yield Found(path, recording.load(fd), is_locked(fd), os.fstat(fd).st_uid)
        except (OSError, recording.NotARecording):  # gone, another's, or another version's
            continue


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor to read it by. Raises OSError if it is not a file of its own."""
    fd = os.open(path, _FLAGS)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or (
                not layout.SIZE <= status.st_size <= _SIZE_MOST):
            raise OSError(f"{path} is no recorder's file")
        yield fd
    finally:
        os.close(fd)


def is_locked(fd: int) -> bool:
    """Whether another process holds the lock on it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def try_lock(fd: int) -> bool:
    """Whether the lock on it is ours now: nobody else tells of it. Waits for those who only look.
    """
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    return False
