"""`watchdog_dump_dir`: every report as a JSON file, the newest few kept. Runs in a lane."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from watchdog_worker.model import Report

_NAME = re.compile(r"watchdog-\d{8}T\d{6}\.\d{3}Z-\d+-\d+-[a-z_]+\.json")
_PARTIAL = re.compile(r"\.watchdog-.*\.partial")
_PARTIAL_AGE_S = 60.0


class DumpFolder:
    """Writes reports into one folder that all workers share.

    A file appears under its name only when it is complete. Names sort by time. Raises OSError
    where the folder cannot be written; the lane says so.
    """

    def __init__(self, folder: str, keep: int, render: Callable[[Report], str]) -> None:
        self._folder = os.path.abspath(folder)
        self._keep = keep
        self._render = render
        self._sequence = 0

    def write(self, report: Report) -> None:
        """One file for this report, then the oldest beyond the limit go."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._sequence += 1
        moment = report.time.replace("-", "").replace(":", "")
        name = f"watchdog-{moment}-{report.pid}-{self._sequence}-{report.event}.json"
        partial = os.path.join(self._folder, f".{name}.partial")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)  # whatever the umask is
                file.write(self._render(report).encode() + b"\n")
            os.replace(partial, os.path.join(self._folder, name))
        except BaseException:
            _remove(partial)
            raise
        self._prune()

    def _prune(self) -> None:
        names = os.listdir(self._folder)
        for name in sorted(filter(_NAME.fullmatch, names))[: -self._keep]:
            _remove(os.path.join(self._folder, name))
        for name in filter(_PARTIAL.fullmatch, names):  # left by a worker killed while writing
            path = os.path.join(self._folder, name)
            if _age(path) > _PARTIAL_AGE_S:
                _remove(path)


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # another worker was quicker
        pass
