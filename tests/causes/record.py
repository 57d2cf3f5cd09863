"""Reports of real stalls, kept so that the diagnosis can be tested without making them again.

What differs from one machine to the next (paths, pids, ports) is made the same; all else is as it
was captured.
"""

from __future__ import annotations

import json
import re
import site
import sysconfig
from pathlib import Path
from typing import Any

from tests.causes.matrix import OWN, Outcome
from tests.gunicorn_server import ROOT

FOLDER = ROOT / "tests" / "recorded"
KEPT = ("local.time_sleep", "local.foreign_sleep", "local.busy_sleep", "web.app",
        "databases.psycopg2_execute", "databases.sqlalchemy_core", "databases.sqlite_locked",
        "databases.redis_blpop", "network.socket_recv", "network.boto3_s3",
        "network.dns_getaddrinfo", "local.fifo_read", "local.subprocess_output",
        "local.lock_with", "local.queue_get", "local.future_of_loop", "processor.python_loop",
        "processor.pattern", "collecting.collect", "local.slow_import", "local.logging_pipe",
        "processor.one_second")
_DROPPED = ("process", "loop_lag", "capture_s", "incomplete", "diagnosis", "headline", "schema")
_MAX_THREADS = 2


def record(outcome: Outcome, folder: Path, found: dict[str, str]) -> None:
    """Keep the first report of this case, if it is one of those that are kept."""
    if outcome.case.name not in KEPT or not outcome.right:
        return
    report = {key: value for key, value in outcome.reports[0].items() if key not in _DROPPED}
    report["threads"] = report["threads"][:_MAX_THREADS]
    report.pop("tasks", None)
    text = json.dumps(report, indent=1)
    for path, name in _paths(folder):
        text = text.replace(path, name)
    for at, port in enumerate(sorted({value for key, value in found.items() if "PORT" in key})):
        text = text.replace(f":{port}", f":{5000 + at}")
    text = re.sub(r"child process \d+", "child process 4712", text)
    text = re.sub(r"pipe:\[\d+\]", "pipe:[4713]", text)
    text = re.sub(r'("client": "127.0.0.1):\d+', r"\1:40000", text)
    told: dict[str, Any] = json.loads(text)
    told.update(pid=4711, time="2026-01-02T12:00:00.000Z")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{outcome.case.name}.json").write_text(json.dumps(told, indent=1) + "\n")


def _paths(folder: Path) -> list[tuple[str, str]]:
    libraries = sysconfig.get_paths()
    pairs = [(str(folder), "/tmp/shop"), (str(OWN), "/srv/shop"), (str(ROOT), "/srv/watchdog")]
    pairs += [(path, "/usr/lib/python3/site-packages") for path in site.getsitepackages()]
    pairs += [(libraries["stdlib"], "/usr/lib/python3"), (libraries["scripts"], "/usr/bin"),
              (sysconfig.get_config_var("prefix"), "/usr")]
    return sorted(pairs, key=lambda pair: -len(pair[0]))
