"""What happens in a worker's life, written down as it happens, whoever ends it a moment later.

Applications and hooks in the gunicorn config call `note`, which appends a line to the file
`$STALL_FOLDER/events`; the cases read them with `Diary`. `HOOKS` is the text of a config whose
hooks are all noted.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tests.gunicorn_server import PATIENCE_S, until

HOOKS = """
from tests.lifecycle.notes import note, note_end
def when_ready(server): note("when_ready")
def post_fork(server, worker): note("post_fork")
def post_worker_init(worker): note("post_worker_init")
def worker_int(worker): note("worker_int")
def worker_abort(worker): note("worker_abort")
def worker_exit(server, worker): note("worker_exit")
def child_exit(server, worker): note_end(worker.pid)
def on_exit(server): note("on_exit")
"""
"""A hook that comes after it in the same config replaces the one that is here."""


class Note(NamedTuple):
    """A line of the file."""

    at: float
    """Time of day."""
    pid: int
    """Who wrote it; of an `end`, whose it was."""
    what: str


def note(what: str, pid: int = 0) -> None:
    """Any process: it was this one, or `pid`, and now. One write, so that no two lines mix."""
    path = os.path.join(os.environ["STALL_FOLDER"], "events")
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{time.time():.6f} {pid or os.getpid()} {what}\n".encode())
    finally:
        os.close(file)


def note_end(pid: int) -> None:
    """Arbiter, in `child_exit`: how the worker has ended. gunicorn does not tell its hooks, nor
    its log the same in each version, but its caller knows."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "reap_workers":
        frame = frame.f_back
    note("end " + ended(frame.f_locals["status"] if frame else None), pid)


def ended(status: int | None) -> str:
    """What a wait status says: `exit 0`, or `SIGABRT`."""
    if status is None:
        return "unknown"
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.waitstatus_to_exitcode(status)}"


class Diary:
    """What has been noted so far in the folder of a case."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "events"

    def notes(self, what: str = "", pid: int = 0) -> list[Note]:
        """Those that begin with these words, of this process or of all, oldest first."""
        if not self._file.exists():
            return []
        lines = [line.split(" ", 2) for line in self._file.read_text().splitlines()]
        every = [Note(float(at), int(by), words) for at, by, words in lines]
        return [each for each in every if each.what.startswith(what) and pid in (0, each.pid)]

    def count(self, what: str, pid: int = 0) -> int:
        """How often it was noted."""
        return len(self.notes(what, pid))

    def wait(self, what: str, pid: int = 0, seconds: float = PATIENCE_S) -> Note:
        """Wait for the first of them."""
        found = until(lambda: self.notes(what, pid), seconds, f"{what!r} to be noted")
        first = found[0]
        assert isinstance(first, Note)
        return first

    def end(self, pid: int, seconds: float = PATIENCE_S) -> str:
        """Wait for the end of this worker, which the arbiter reaps: `exit 0`, or `SIGABRT`."""
        return self.wait("end ", pid, seconds).what.partition(" ")[2]
