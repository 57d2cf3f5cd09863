"""Brings the planned faults about, and notes what it did."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.chaos import plan
from tests.chaos.load import Load
from tests.chaos.plan import Planned
from tests.chaos.talk import ANSWER_S, Connection, request

FLOOD = 200
_SLOWLY_S = {"slow_sender": 0.02, "slow_reader": 0.1}


class Act(NamedTuple):
    """One fault as it was brought about."""

    id: str
    kind: str
    at: float
    """Time of day."""
    until: float
    """When it was over as far as we had a hand in it."""
    pid: int = 0
    """Whom a signal was for."""


class Faults:
    """Hurts one gunicorn, as planned."""

    def __init__(
        self, port: int, master: int, serving: Callable[[], list[int]], load: Load, seed: int
    ) -> None:
        """`serving`: the pids of the workers that serve now."""
        self._port, self._master, self._serving, self._load = port, master, serving, load
        self._seed = seed
        self.acts: list[Act] = []

    async def run(self, planned: list[Planned]) -> None:
        """All of them, at their times; comes back when the last is over."""
        begin, tasks = time.monotonic(), []
        for each in planned:
            await asyncio.sleep(max(0.0, begin + each.at - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(each)))
        await asyncio.gather(*tasks)

    def reload_at_last(self) -> None:
        """HUP once more, so that it has as many workers as in the beginning."""
        now = time.time()
        os.kill(self._master, signal.SIGHUP)
        self.acts.append(Act("last-HUP", "HUP", now, now, self._master))

    async def _one(self, planned: Planned) -> None:
        at = time.time()
        if planned.kind in plan.TO_MASTER:
            os.kill(self._master, signal.Signals["SIG" + planned.kind])
            pid = self._master
        elif planned.kind in plan.TO_WORKER:
            pid = await self._signal(planned)
        else:
            pid = 0
            await self._client(planned)
        self.acts.append(Act(planned.id, planned.kind, at, time.time(), pid))

    async def _signal(self, planned: Planned) -> int:
        """The pid; 0 where nobody was there to get it."""
        pids = self._serving()
        if not pids:
            return 0
        pid = pids[int(planned.pick * len(pids))]
        try:
            os.kill(pid, signal.Signals["SIG" + planned.kind])
            if planned.kind == "STOP":
                await self._cont(pid, planned.seconds)
        except ProcessLookupError:
            return 0
        return pid

    async def _cont(self, pid: int, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _client(self, planned: Planned) -> None:
        if planned.kind == "flood":
            await self._load.flood(FLOOD, random.Random(f"{self._seed} {planned.number}"))
        elif planned.kind in ("half_a_request", "half_an_answer", "mute"):
            await self._hang_up(planned)
        elif planned.kind in _SLOWLY_S:
            await self._slow(planned)
        else:
            await self._ask(planned)

    async def _ask(self, planned: Planned) -> None:
        connection = Connection(self._port)
        self._load.note(await connection.ask(
            planned.id, planned.kind, f"s={planned.seconds}", manner="fault"))
        connection.close()

    async def _slow(self, planned: Planned) -> None:
        """A client that has all the time in the world."""
        connection = Connection(self._port)
        what = "big" if planned.kind == "slow_reader" else "pid"
        found = await connection.ask(
            planned.id, what, manner="slow", slowly=_SLOWLY_S[planned.kind])
        self._load.note(found._replace(text=""))
        connection.close()

    async def _hang_up(self, planned: Planned) -> None:
        """A client that leaves in the middle; nothing is expected for it."""
        what = "big" if planned.kind == "half_an_answer" else "upload"
        data = request(planned.id, what, body=b"x" * 1000)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return
        try:
            if planned.kind == "half_an_answer":
                writer.write(data)
                await asyncio.wait_for(reader.read(1000), ANSWER_S)
            elif planned.kind == "half_a_request":
                writer.write(data[:-500])
                await asyncio.sleep(0.5)
            else:
                await asyncio.sleep(0.5)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            writer.transport.abort()


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
