"""Every kind of block is dumped before the arbiter kills, on every loop and parser."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.gunicorn_server import Gunicorn

STALLS = {
    # path: what stands on the innermost line of the application
    "sleep": "time.sleep(SECONDS)",
    "lock": "_held.acquire(timeout=SECONDS)",
    "recv": "client.recv(1)",
    "subprocess": "subprocess.run(",
    "sqlite": 'second.execute("insert into t values (1)")',
    "future": ".result(SECONDS)",
    "queue": ".get(timeout=SECONDS)",
}
PAIRS = ("UvloopHttptools", "UvloopH11", "AsyncioHttptools", "AsyncioH11")
TIMEOUT_S = 3
KILL = r"WORKER TIMEOUT \(pid"
CONFIG = """
watchdog_dump_dir = "dumps"
def post_fork(server, worker):
    global WORKER
    WORKER = worker
"""


def block(folder: Path, stall: str, pair: str) -> tuple[Gunicorn, dict[str, Any]]:
    """Run one stall to its kill, an innocent request beside it; the server and the dump."""
    server = Gunicorn(folder, worker=f"workers.{pair}", timeout=TIMEOUT_S, config=CONFIG)
    with server:
        beside = server.send("/innocent")
        assert server.get("/")[0] == 200  # a later request is answered: the first is in
        guilty = server.send(f"/{stall}")
        server.logged(KILL)
        guilty.close()
        beside.close()
        return server, server.report("pre_kill")


def check(server: Gunicorn, report: dict[str, Any], stall: str) -> None:
    loop = report["threads"][0]
    assert loop["loop"] is True
    inner = [frame for frame in loop["frames"] if frame.get("app")][-1]
    assert inner["function"] == f"block_{stall}"
    assert inner == report["diagnosis"]["culprit"]
    assert server.arrived(r"CRITICAL\] watchdog loop blocked") < server.arrived(KILL)
    assert "idle-beside" in [thread["name"] for thread in report["threads"]]
    chains = [group["await_chain"] for group in report["tasks"]["groups"]]
    assert any(frame["function"] == "innocent" and "asyncio.sleep(3600)" in frame["code"]
               for chain in chains for frame in chain)


def off_by(server: Gunicorn, report: dict[str, Any]) -> float:
    """How far the report's deadline lies from the one that the arbiter compares, in seconds."""
    told = datetime.datetime.fromisoformat(report["time"].replace("Z", "+00:00")).timestamp()
    deadline = float((server.folder / "deadline").read_text())
    return told + float(report["stall"]["kill_in_s"]) - deadline


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("stall", STALLS)
def test_a_block_is_dumped_before_the_kill(tmp_path: Path, stall: str, pair: str) -> None:
    """The line, the function, the other thread, the bystander and the deadline are all told."""
    server, report = block(tmp_path, stall, pair)
    check(server, report, stall)
    assert STALLS[stall] in report["diagnosis"]["culprit"]["code"]
    assert abs(off_by(server, report)) < 0.3


@pytest.mark.parametrize("pair", PAIRS)
def test_computing_is_dumped_before_the_kill(tmp_path: Path, pair: str) -> None:
    """Pure Python that never waits lets the monitor run, and its profile shows the loop."""
    server, report = block(tmp_path, "cpu", pair)
    check(server, report, "cpu")
    top = report["profile"]["stacks"][0]
    assert top["frames"][-1]["function"] == "block_cpu"
