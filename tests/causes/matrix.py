"""One case run in a real worker, and what the reports said held against what was so."""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.causes.cases import Case
from tests.causes.throttle import throttled
from tests.gunicorn_server import APPS, ROOT, Gunicorn

OWN = Path(__file__).parent / "apps"
CONFIG = 'watchdog_dump_dir = "dumps"\n'
_LIBRARIES = {
    "thinlib": "import time\ndef patiently(work):\n    time.sleep(600)\n    return work()\n",
    "slowlib": "import time\ntime.sleep(600)\n",
    "hardlib": "count = 0\nwhile count < 10 ** 12:\n    count += 1\n",
}
_HIDDEN = ["unshare", "--mount", "sh", "-c",
           'mount --bind "$RESOLV_CONF" /etc/resolv.conf && exec "$@"', "sh"]


@dataclass(frozen=True)
class Outcome:
    """What the reports of one case told."""

    case: Case
    reports: list[dict[str, Any]]
    cause: bool
    line: bool
    waits: bool

    @property
    def wrong(self) -> bool:
        """A cause was named, and it is not the one."""
        return any(report["diagnosis"].get("cause") not in (self.case.cause, "unknown")
                   for report in self.reports)

    @property
    def right(self) -> bool:
        """All of it holds, in all reports."""
        return bool(self.reports) and self.cause and self.line and self.waits


def run(case: Case, folder: Path, pair: str, found: dict[str, str]) -> Outcome:
    """Block a real worker this way until it is killed, or until it is free again."""
    _write_libraries(folder)
    path = os.pathsep.join(map(str, (ROOT, APPS, OWN, folder / "site-packages")))
    app = "web:app" if case.app == "web:app" else "served:app"
    with Gunicorn(
        folder, app, f"workers.{pair}", timeout=5 if case.event == "pre_kill" else 60,
        config=CONFIG, prefix=_HIDDEN if case.cause == "dns" else (),
        environment={**found, "CASE": case.app, "FOLDER": str(folder), "PYTHONPATH": path},
    ) as server:
        reports = _blocked(case, server)
    return judged(case, reports, found)


def _blocked(case: Case, server: Gunicorn) -> list[dict[str, Any]]:
    """Block it, and the reports that come of it."""
    pid = server.worker_pid()
    if case.done == "stop":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3.0)  # the fault itself, not a wait for something
        os.kill(pid, signal.SIGCONT)
        return [server.report(case.event)]
    limit = throttled(pid) if case.done == "throttle" else contextlib.nullcontext()
    with limit, server.send("/block"):
        reports = [server.report(case.event)]
        if case.event == "pre_kill":
            reports += server.reports("stall")
    return reports


def _write_libraries(folder: Path) -> None:
    (folder / "site-packages").mkdir(exist_ok=True)
    for name, text in _LIBRARIES.items():
        (folder / "site-packages" / f"{name}.py").write_text(text)


def judged(case: Case, reports: list[dict[str, Any]], found: dict[str, str]) -> Outcome:
    """These reports against what the case says."""
    told = [report["diagnosis"] for report in reports]
    expected = case.waits.format(**found) if "_PORT}" in case.waits else case.waits
    return Outcome(
        case, reports,
        cause=all(each.get("cause") == case.cause for each in told),
        line=all(_line_right(case, each) for each in told),
        waits=all(bool(re.search(expected, each.get("waits_for", ""))) for each in told),
    )


def _line_right(case: Case, told: dict[str, Any]) -> bool:
    culprit = told.get("culprit")
    if case.cause == "suspended":
        return culprit is None
    if case.app == "processor:another_thread":
        return culprit is None  # the thread has no frame of the application's
    return (culprit is not None and culprit["function"] == case.blamed
            and case.line in linecache.getline(culprit["file"], culprit["line"]))
