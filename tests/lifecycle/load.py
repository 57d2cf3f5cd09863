"""Load: all processors busy, 500 connections; what is told is so, and what is so is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import Witness, words

CONNECTIONS = 500
LOAD_S = 10.0
BLOCK_S = 2.5
BLOCKS = 2
HEAVY_S, HEAVY_TIMEOUT_S = 0.005, 2
SLACK_S = 0.6
"""A stall is counted from the last sign of life, so up to a heartbeat before it began; and the
clocks of two processes are read one after the other."""
SPIN = "while True: pass"


@contextlib.contextmanager
def burning() -> Iterator[None]:
    """All processors are busy with something else for so long."""
    burners = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Crowd:
    """Clients that ask again and again, each on a connection that it keeps, in a thread."""

    def __init__(self, server: Gunicorn, path: str = "/") -> None:
        self._port, self._path = server.port, path
        self.waits: list[float] = []
        """How long each answer took."""
        self.failures: list[str] = []
        self._leave = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Crowd:
        self._thread.start()
        until(lambda: self.failures or len(self.waits) >= CONNECTIONS, what="all to be served")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave.set()
        self._thread.join()

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(CONNECTIONS)))

    async def _one(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            while not self._leave.is_set():
                began = time.monotonic()
                writer.write(f"GET {self._path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
                await _answer(reader)
                self.waits.append(time.monotonic() - began)
            writer.close()
        except (OSError, EOFError, AssertionError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")


async def _answer(reader: asyncio.StreamReader) -> None:
    """Read one, which is small and comes in chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    await reader.readuntil(b"0\r\n\r\n")


class Gap(NamedTuple):
    """The application's loop did not turn: from when to when (time of day)."""

    began: float
    ended: float

    @property
    def length(self) -> float:
        """In seconds."""
        return self.ended - self.began


def gaps(ground: Ground) -> list[Gap]:
    """What the application has measured so far."""
    lines = [line.split() for line in (ground.folder / "gaps").read_text().splitlines()]
    return [Gap(float(until) - float(length), float(until)) for until, length in lines]


def moment(report: dict[str, Any]) -> float:
    """When it was made (time of day)."""
    return datetime.fromisoformat(report["time"].replace("Z", "+00:00")).timestamp()


def justified(report: dict[str, Any], measured: list[Gap]) -> bool:
    """The application has seen a gap as long as is told, at that time."""
    at, blocked_s = moment(report), report["stall"]["blocked_s"]
    return any(gap.began - SLACK_S < at < gap.ended + SLACK_S
               and min(at, gap.ended) - gap.began > blocked_s - SLACK_S for gap in measured)


def missed(measured: list[Gap], reports: list[dict[str, Any]], threshold: float) -> list[Gap]:
    """The gaps that should have been told of: longer than the threshold, without a report."""
    return [gap for gap in measured if gap.length > threshold + SLACK_S and not any(
        gap.began - SLACK_S < moment(report) < gap.ended + SLACK_S for report in reports)]


def unjustified(reports: list[dict[str, Any]], measured: list[Gap]) -> list[str]:
    """In words, the reports that the application's own measure knows nothing of."""
    false = [report for report in reports if not justified(report, measured)]
    return [f"{len(false)} false: {false[0]['headline']}"] if false else []


def busy(ground: Ground, blocks: int) -> Came:
    """Requests on 500 connections for a while, with so many deliberate blocks in between."""
    with ground.gunicorn("whole_life_load:app", config=HOOKS) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        with burning(), Crowd(server) as crowd:
            end = time.monotonic() + LOAD_S
            for _ in range(blocks):
                assert server.get(f"/block?{BLOCK_S}")[0] == 200
                served = len(crowd.waits)
                until(lambda: crowd.failures or len(crowd.waits) > served + CONNECTIONS)
            while time.monotonic() < end:
                time.sleep(0.1)
        seen.silent("stall", 2.0)
        stays = server.answering_pid() == pid and not seen.timed_out
        wrong = [] if stays else ["the worker has gone"]
        if crowd.failures:
            wrong.append(f"requests fail: {crowd.failures[0]}")
        return _judged(ground, server, blocks, wrong)


def _judged(ground: Ground, server: Gunicorn, blocks: int, wrong: list[str]) -> Came:
    measured, reports = gaps(ground), server.reports("stall")
    blamed = [report for report in reports
              if report["diagnosis"].get("culprit", {}).get("function") == "block"]
    if len([gap for gap in measured if gap.length > BLOCK_S - SLACK_S]) < blocks:
        wrong.append("the application has not seen its own block")
    if len(blamed) < blocks:
        wrong.append(f"{len(blamed)} of {blocks} blocks told" if reports else "says nothing")
    wrong += unjustified(reports, measured)
    if ground.ours and missed(measured, server.reports(), 1.0):
        wrong.append("a gap is not told of")
    others = {report["event"] for report in server.reports()} - {
        "stall", "stall_ended", "suspended"}
    if others:
        wrong.append(f"{', '.join(sorted(others))} told")
    told = f"{len(blamed)} of {blocks} blocks told" if blocks else "no false stall"
    return Came(not wrong, words(ground.ours and not wrong and told, not wrong and "serves on",
                                 *wrong))


def calm(ground: Ground) -> Came:
    """Nothing blocks: what is told of is what the loop's own lag justifies."""
    return busy(ground, 0)


def blocked(ground: Ground) -> Came:
    """Blocks of 2.5 s under that load: each is told, with its line."""
    return busy(ground, BLOCKS)


def heavy(ground: Ground) -> Came:
    """Each request computes for 5 ms: a turn of the loop, in which all have theirs, takes longer
    than `timeout`. It is busy, not stuck: nobody is killed, and nobody is told of who is not."""
    with ground.gunicorn("whole_life_load:app", config=HOOKS, timeout=HEAVY_TIMEOUT_S) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        with burning(), Crowd(server, f"/compute?{HEAVY_S}") as crowd:
            end = time.monotonic() + LOAD_S
            while time.monotonic() < end and not crowd.failures:
                time.sleep(0.1)
        seen.silent("pre_kill")
        measured, reports = gaps(ground), server.reports()
        long = any(gap.length > HEAVY_TIMEOUT_S for gap in measured)
        wrong = unjustified([each for each in reports if each["event"] == "stall"], measured)
        wrong += [f"{event} told" for event in ("pre_kill", "post_mortem")
                  if server.reports(event)]
        if crowd.failures:
            wrong.append("requests fail")
        if seen.timed_out or server.answering_pid() != pid:
            wrong.insert(0, "killed by WORKER TIMEOUT" if seen.timed_out else "the worker has gone")
        assert long or wrong, "no turn of the loop took long enough"
        return Came(not wrong, words(not wrong and "serves on", *wrong))


CASES: tuple[Case, ...] = (
    Case("500 connections, processors busy", calm),
    Case("500 connections, a turn longer than timeout", heavy),
    Case("500 connections, and the loop blocks twice", blocked),
)
