"""One file, read as a real reader does, and all that is made of it, held to what is promised."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from tests.fuzz.corpus import Base
from tests.fuzz.mutations import Case
from watchdog_worker import revive, rundir
from watchdog_worker.model import Report
from watchdog_worker.postmortem import autopsy
from watchdog_worker.postmortem.ending import Ending, Kills, Used
from watchdog_worker.postmortem.reason import orderly
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.vitals import layout, recording
from watchdog_worker.vitals.outbox import REPORT_MOST
from watchdog_worker.vitals.recording import KeptReport, Recording

LINE_MOST = 4 * REPORT_MOST
"""Of a rendered line. `render.plain` makes four characters of one at worst, and cuts nothing."""
_TEXT_MOST = 16 * REPORT_MOST
_FIELD_MOST = 500

_FORBIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""In a rendered text: control characters but for the newline, what ends a line or turns it round,
and what cannot be encoded."""
_EVENT = re.compile(r"[a-z_]{1,40}")
_TIME = re.compile(r"[0-9T:.Z-]{20,40}")


class BrokenPromise(AssertionError):
    """What came out is not as it should be."""


class Known(NamedTuple):
    """Contents of unspoilt files, which need not be looked at each time."""

    letters: frozenset[bytes]
    raws: frozenset[str]


_ENDINGS = (
    Ending(1045.0, 9, struck=True), Ending(1045.0, 6, struck=True, used=Used()),
    Ending(1045.0, 11), Ending(1045.0, 9, kills=Kills("cgroup", 0, 1)), Ending(1045.0, 9),
    Ending(1045.0, 9, stopping=True), Ending(1045.0, 256),
    Ending(1045.0), Ending(1045.0, left_behind=True), Ending(0.0, 64, struck=True),
)
"""Of workers, as the arbiter sees them: by statuses of waitpid."""
_EXAMINED_SHARE = 4
"""One in so many files whose letters and raw stacks are known is examined all the same."""


class Outcome(NamedTuple):
    """What became of one file."""

    refused: bool = False
    """It is no recorder's file."""
    not_reports: int = 0
    rendered: int = 0
    examined: int = 0
    """Post-mortems made."""


NOTHING_KNOWN = Known(frozenset(), frozenset())


def known(bases: Iterable[Base]) -> Known:
    """What is in these files."""
    recordings = [recording.read(base.data, base.data[layout.RAW_AT:]) for base in bases]
    return Known(frozenset(report.packed for each in recordings for report in each.reports),
                 frozenset(each.raw for each in recordings))


class Place:
    """The file that cases are written to."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"{layout.PREFIX}fuzz{layout.SUFFIX}")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, case: Case) -> None:
        """This case, in the place of the one before."""
        os.ftruncate(self._fd, min(case.size, len(case.data)))
        os.pwrite(self._fd, case.data, 0)
        os.ftruncate(self._fd, case.size)

    def close(self) -> None:
        """Take it away."""
        os.close(self._fd)
        os.unlink(self.path)


def read(path: str, skipped: Known, number: int = 0) -> Outcome:
    """Read this file to its end. Raises whatever a reader would, and BrokenPromise.

    `number`: of the case, by which the worker's ending is chosen.
    """
    try:
        with rundir.opened(path) as fd:
            seen = recording.glance(fd)
            found = recording.load(fd)
    except (OSError, recording.NotARecording):
        return Outcome(refused=True)
    _hold_to_bounds(found)
    if (seen.pid, seen.phase) != (found.pid, found.phase) or not seen.undelivered and not all(
            kept.delivered for kept in found.reports):
        raise BrokenPromise(f"a glance shows something else: {seen}")
    told = [_told(report) for report in found.reports if report.packed not in skipped.letters]
    for report in told:
        if report is not None:
            hold_to_promises(report)
    due = number % _EXAMINED_SHARE == 0 or found.raw not in skipped.raws
    if due:
        _examine(found, number // _EXAMINED_SHARE)
    return Outcome(False, told.count(None), len(told) - told.count(None), int(due))


def _examine(found: Recording, number: int) -> None:
    """As a reporter of the arbiter's does."""
    ending = _ENDINGS[number % len(_ENDINGS)]
    orderly(ending, found.phase, found.end)
    hold_to_promises(autopsy.examined(found, ending))
    if number % _EXAMINED_SHARE == 0:
        for report in autopsy.undelivered(found):
            hold_to_promises(report)


def hold_to_promises(report: Report) -> None:
    """Whatever is in this report, it can be told without harm."""
    if not _EVENT.fullmatch(report.event) or not _TIME.fullmatch(report.time):
        raise BrokenPromise(f"a file's name: {report.event!r}, {report.time!r}")
    text = text_render.text(report)
    if found := _FORBIDDEN.search(text):
        raise BrokenPromise(f"a control character: {text[:found.end()][-60:]!r}")
    first, *rest = text.split("\n")
    for line in rest:
        if line and not line.startswith("  "):
            raise BrokenPromise(f"a line at the margin: {line[:60]!r}")
    longest = max(map(len, (first, *rest)))
    if longest > LINE_MOST or len(text) > _TEXT_MOST:
        raise BrokenPromise(f"a line of {longest} characters, {len(text)} in all")
    line = json_render.line(report)
    if not (line.isascii() and line.isprintable()):
        raise BrokenPromise("a line of JSON that acts on a terminal")
    json.loads(line, parse_constant=_no_json)


def _told(report: KeptReport) -> Report | None:
    try:
        return revive.revived(report.plain())
    except revive.NotAReport:
        return None


def _hold_to_bounds(found: Recording) -> None:
    numbers = [*found._replace(loop_thread=0), *found.pulse, *found.lag.counts, found.lag.sum_s,
               found.lag.max_s]
    for request in found.requests:
        numbers += [request.number, request.began, request.method, request.path]
    for report in found.reports:
        numbers += [report.number, report.made, report.silent_since]
    for each in numbers:
        if isinstance(each, float) and not (math.isfinite(each) and each >= 0):
            raise BrokenPromise(f"a time of {each}")
        if isinstance(each, int) and not -1 <= each < 2 ** 53:
            raise BrokenPromise(f"a number of {each}")
        if isinstance(each, str) and len(each) > _FIELD_MOST and each is not found.raw:
            raise BrokenPromise(f"a text of {len(each)} characters")
    if len(found.raw) > recording.RAW_MOST or len(found.reports) > layout.LETTERS:
        raise BrokenPromise("more than there is room for")
    order = [request.number for request in found.requests]
    if order != sorted(set(order)) or len(order) > layout.SLOTS + 1:
        raise BrokenPromise("requests out of their order")
    if found.last_trace < found.last_sign:
        raise BrokenPromise("the last trace is older than the last sign")


def _no_json(name: str) -> NoReturn:
    raise BrokenPromise(f"{name} is no JSON")
