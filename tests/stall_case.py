"""One stall run to its kill, and what its `pre_kill` dump got right. Used by tests and `kills`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gunicorn_server import Gunicorn

LINES = {
    # path: what stands on the innermost line of the application
    "sleep": "time.sleep(SECONDS)",
    "lock": "_held.acquire(timeout=SECONDS)",
    "recv": "client.recv(1)",
    "subprocess": "subprocess.run(",
    "sqlite": 'second.execute("insert into t values (1)")',
    "future": ".result(SECONDS)",
    "queue": ".get(timeout=SECONDS)",
    "cpu": "",  # one of the lines of its loop
}
PAIRS = ("UvloopHttptools", "UvloopH11", "AsyncioHttptools", "AsyncioH11")
KILL = r"WORKER TIMEOUT \(pid"
CONFIG = """
watchdog_dump_dir = "dumps"
def post_fork(server, worker):
    global WORKER
    WORKER = worker
"""


@dataclass(frozen=True)
class Outcome:
    """What one dump told, held against what was so."""

    report: dict[str, Any]
    lead_s: float
    """How long before WORKER TIMEOUT the dump was in the log; negative: too late."""
    deadline_off_s: float
    """By how much the deadline that the report tells misses the one the arbiter compares."""
    line_right: bool
    threads_right: bool
    bystander_right: bool

    @property
    def right(self) -> bool:
        """Whether all of it holds."""
        return (self.lead_s > 0 and abs(self.deadline_off_s) < 0.3 and self.line_right
                and self.threads_right and self.bystander_right)


def run(folder: Path, stall: str, pair: str, timeout: int) -> Outcome:
    """Block a real worker this way, an innocent request beside it, until the arbiter kills."""
    with Gunicorn(folder, worker=f"workers.{pair}", timeout=timeout, config=CONFIG) as server:
        beside = server.send("/innocent")
        assert server.get("/")[0] == 200  # a later request is answered: the first is in
        guilty = server.send(f"/{stall}")
        server.logged(KILL)
        guilty.close()
        beside.close()
        report = server.report("pre_kill")
        lead = server.arrived(KILL) - server.arrived(r"CRITICAL\] watchdog loop blocked")
    return Outcome(
        report=report,
        lead_s=lead,
        deadline_off_s=_deadline_off(folder, report),
        line_right=_line_right(report, stall),
        threads_right="idle-beside" in [thread["name"] for thread in report["threads"][1:]],
        bystander_right=_bystander_right(report),
    )


def _line_right(report: dict[str, Any], stall: str) -> bool:
    loop = report["threads"][0]
    inner = [frame for frame in loop["frames"] if frame.get("app")][-1]
    culprit = report["diagnosis"]["culprit"]
    return bool(
        loop["loop"] and inner["function"] == culprit["function"] == f"block_{stall}"
        and LINES[stall] in inner["code"] and LINES[stall] in culprit["code"])


def _bystander_right(report: dict[str, Any]) -> bool:
    return any(
        frame["function"] == "innocent" and frame["code"] == "await asyncio.sleep(3600)"
        for group in report["tasks"]["groups"] for frame in group["await_chain"])


def _deadline_off(folder: Path, report: dict[str, Any]) -> float:
    told = datetime.datetime.fromisoformat(report["time"].replace("Z", "+00:00")).timestamp()
    return told + float(report["stall"]["kill_in_s"]) - float((folder / "deadline").read_text())
