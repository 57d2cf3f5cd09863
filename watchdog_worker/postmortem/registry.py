"""The recorders of the workers that live. Runs in the arbiter, but for `forked`.

Before a fork a file is made, after a worker's end it is read and removed; what others have left
in the folder is read once. Nothing here may raise into the arbiter.
"""

from __future__ import annotations

import atexit
import os
import platform
import socket
import time
from collections import deque
from contextlib import ExitStack
from itertools import islice
from time import monotonic
from typing import Any

import gunicorn
import uvicorn

from watchdog_worker import report, rundir, settings
from watchdog_worker.capture import cgroup
from watchdog_worker.ownthread import words
from watchdog_worker.postmortem import accounts
from watchdog_worker.postmortem.ending import REAPS_IN_HANDLER, Children, Ending, MemoryKills
from watchdog_worker.postmortem.left import left_behind
from watchdog_worker.postmortem.limit import Limit
from watchdog_worker.postmortem.reason import BOOTING, orderly
from watchdog_worker.postmortem.reporter import Reporters
from watchdog_worker.vitals import recording
from watchdog_worker.vitals.recorder import Identity, RecorderFile, boot_id

_LEFT_MOST = 50
"""So many that were left behind are told at a start; the rest waits for the next."""


class Registry:
    """Which recorder belongs to which worker."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._pid = os.getpid()
        # Changed in a signal handler where gunicorn reaps in one: in single steps, by copies.
        self._kept: dict[int, tuple[Any, RecorderFile]] = {}
        self._to_tell: deque[tuple[Any, RecorderFile, Ending, bool]] = deque()
        self._reporters = Reporters(self._close_all)
        self._children, self._memory_kills = Children(), MemoryKills()
        self._boots = Limit()
        self._swept: set[str] = set()
        self._warned = False
        atexit.register(self._remove_all)

    def open(self, worker: Any) -> RecorderFile | None:
        """A file for a worker that is about to be forked; None where none can be had."""
        try:
            self.look_after()
            folder = rundir.chosen(worker.cfg)
            self._sweep(folder, worker)
            file = RecorderFile(folder, self._identity(worker))
        except Exception as error:
            if not self._warned:
                self._warned = True
                worker.log.warning(
                    "watchdog: no flight recorder can be kept, workers run without: %s",
                    words(error))
            return None
        self._kept[id(worker)] = worker, file
        return file

    def forked(self, worker: Any) -> None:
        """In the worker: the other workers' files are none of its business."""
        self._kept.pop(id(worker), None)
        self._close_all()

    def _close_all(self) -> None:
        for _, file in self._kept.values():
            file.close()
        self._kept = {}

    def reaped(self, worker: Any, status: int | None, stopping: bool) -> None:
        """A worker has ended. Told at once, or, where this is a signal handler, before the next one
        is forked: a fork in the middle of another would wait for locks that the other holds."""
        used = self._children.since()
        _, file = self._kept.pop(id(worker), (None, None))
        if file is not None:
            self._conclude(worker, file, Ending(
                monotonic(), status, bool(worker.aborted), stopping, used))
        if not REAPS_IN_HANDLER:
            self._report_all()

    def ending(self, boot_failed: int | None) -> None:
        """The arbiter is about to end: whoever was not reaped has been killed by now, or has left
        with the status that makes it end."""
        for worker, _ in list(self._kept.values()):
            if isinstance(worker.pid, int):
                status = _last_status(worker.pid)
                self.reaped(worker, boot_failed if status is None else status, stopping=True)
        self._report_all()
        self._remove_all()
        self._reporters.wait()

    def look_after(self) -> None:
        """Workers that are still to be told of, and those that gunicorn has lost sight of: one that
        was never forked, and (before 25) one that ended in the moment of its fork."""
        for worker, file in list(self._kept.values()):
            if not isinstance(worker.pid, int):
                self._kept.pop(id(worker), None)
                file.remove()
                file.close()
            elif not _is_child(worker.pid):
                self.reaped(worker, None, stopping=False)
        self._report_all()

    def _conclude(self, worker: Any, file: RecorderFile, ending: Ending) -> None:
        """Whether there is anything to tell; the file stays open until it is told."""
        file.remove()
        seen = _seen(file.fd)
        if ending.signal == "SIGKILL" and not ending.by_arbiter:
            ending = ending._replace(kills=self._memory_kills.since(seen.pulse, cgroup.memory()))
        tell = not orderly(ending, seen.phase, seen.end)
        if tell and seen.phase in BOOTING:
            tell, untold = self._boots.admit(worker.cfg.watchdog_stall_rate_limit)
            ending = ending._replace(untold=untold)
        if tell or seen.undelivered:
            self._to_tell.append((worker, file, ending, tell))
        else:
            file.close()

    def _report_all(self) -> None:
        while self._to_tell:
            worker, file, ending, tell = self._to_tell.popleft()
            self._reporters.report(
                worker, lambda: accounts.of_worker(worker, file.fd, ending, tell))
            file.close()

    def _identity(self, worker: Any) -> Identity:
        cfg = worker.cfg
        return Identity(
            worker.age, cfg.uid, cfg.gid, float(cfg.timeout), float(cfg.graceful_timeout),
            settings.beat_interval(cfg), cfg.watchdog_stall_threshold,
            settings.startup_threshold(cfg), boot_id(), report.app_name(worker),
            f"python {platform.python_version()}, gunicorn {gunicorn.__version__}, "
            f"uvicorn {uvicorn.__version__}, watchdog_worker {self._version}",
            socket.gethostname())

    def _sweep(self, folder: str, worker: Any) -> None:
        """Once a folder: tell of those who died with nobody to tell of it."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        owners = {os.geteuid(), worker.cfg.uid}
        with ExitStack() as left_open:
            left = list(islice(left_behind(folder, owners, left_open), _LEFT_MOST))
            if left:
                self._reporters.report(worker, lambda: accounts.of_left_behind(worker, left))

    def _remove_all(self) -> None:
        """At the end of the arbiter alone: its children inherit the wish, and not the files."""
        if os.getpid() == self._pid:
            for _, file in self._kept.values():
                file.remove()
            self._close_all()


def _seen(fd: int) -> recording.Glance:
    try:
        return recording.glance(fd)
    except recording.NotARecording:  # the worker has spoilt it
        return recording.Glance()


def _is_child(pid: int) -> bool:
    """Whether there is such a child, dead or alive, that nobody has asked for yet."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _last_status(pid: int) -> int | None:
    """The status of a child that has been killed. It may take a moment to die of it."""
    deadline = monotonic() + 1.0
    while monotonic() < deadline:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended:
            return status
        time.sleep(0.01)
    return None
