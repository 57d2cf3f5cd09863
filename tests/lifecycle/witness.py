"""What a case sees of a server: what it told, how its workers ended, what their clients got."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.gunicorn_server import PATIENCE_S, Gunicorn, until
from tests.lifecycle.case import Ground
from tests.lifecycle.notes import Diary

KILL = r"WORKER TIMEOUT \(pid"
TELLING_S = 20.0
"""How long a report may take that is due: much longer than it does."""
APP = r"whole_life\.py:\d+ (?:in )?"


class Witness:
    """Of one server of a case."""

    def __init__(self, ground: Ground, server: Gunicorn) -> None:
        self.ground, self.server = ground, server
        self.diary = Diary(ground.folder)

    def told(self, event: str, seconds: float = TELLING_S) -> dict[str, Any]:
        """The first report of this event, waited for; nothing where none comes. uvicorn's worker
        makes none, and nobody waits for it."""
        deadline = time.monotonic() + (seconds if self.ground.ours else 0.0)
        while not (found := self.server.reports(event)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found[0] if found else {}

    def silent(self, event: str, seconds: float = 1.5) -> bool:
        """No such report, nor does one come in a while."""
        end = time.monotonic() + (seconds if self.ground.ours else 0.0)
        while not self.server.reports(event) and time.monotonic() < end:
            time.sleep(0.1)
        return not self.server.reports(event)

    @property
    def timed_out(self) -> bool:
        """The arbiter has killed for silence."""
        return re.search(KILL, self.server.log) is not None

    def lives(self) -> bool:
        """The master does."""
        return self.server.process.poll() is None

    def end(self, pid: int, seconds: float = PATIENCE_S) -> str:
        """Wait for the end of a worker: `exit 0`, `SIGKILL`; `none` where it does not end.

        A master that has left without reaping it has killed it first.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            gone = not self.lives()
            found = self.diary.notes("end ", pid)
            if found:
                return found[0].what.partition(" ")[2]
            if gone:
                return "SIGKILL"
            time.sleep(0.05)
        return "none"

    def replaced(self, pid: int) -> bool:
        """Wait for another worker to answer; False where none comes."""
        try:
            until(lambda: self.server.answering_pid() not in (None, pid), what="another worker")
        except AssertionError:
            return False
        return True


def names(report: dict[str, Any], function: str) -> bool:
    """The headline names a line of this function of the application."""
    return re.search(APP + function, str(report.get("headline", ""))) is not None


def blames(report: dict[str, Any], function: str) -> bool:
    """The diagnosis does, as what blocks."""
    culprit = report.get("diagnosis", {}).get("culprit", {})
    return culprit.get("function") == function and names(report, function)


def awaits(report: dict[str, Any], function: str) -> bool:
    """A task waits in this function, says the report."""
    chains = [group["await_chain"] for group in report.get("tasks", {}).get("groups", [])]
    return any(frame["function"] == function for chain in chains for frame in chain)


def lists(report: dict[str, Any], path: str) -> bool:
    """The headline and the list of requests name this request."""
    paths = [request["path"] for request in report.get("requests", [])]
    return path in paths and path in str(report.get("headline"))


def phase(report: dict[str, Any]) -> str:
    """Of the worker's life, in which it was made."""
    return str(report.get("stall", {}).get("phase"))


def words(*parts: object) -> str:
    """What was seen, for a table; what is empty or false is left out."""
    return ", ".join(str(part) for part in parts if part)
