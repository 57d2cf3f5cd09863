"""One run: a gunicorn, its load, its faults, and all that can be seen of it written down.

What was seen goes to the folder: `scene.json`, the log, and what the application, the hooks and
the watchdog itself write there. `story` reads it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.faults import Faults, lives
from tests.chaos.load import Load
from tests.chaos.plan import first_workers, plan
from tests.gunicorn_server import PATIENCE_S, Gunicorn
from tests.lifecycle.notes import HOOKS

TIMEOUT_S, GRACEFUL_S = 4, 5
SAMPLE_S = 2.0
CONFIG = f"""
workers = {{workers}}
graceful_timeout = {GRACEFUL_S}
keepalive = 60
max_requests = 1000
max_requests_jitter = 300
watchdog_dump_dir = "dumps"
watchdog_dump_keep = 1_000_000
watchdog_stall_rate_limit = 1_000_000
{HOOKS}"""
_ENDING = ("TERM", "QUIT", "INT")


class Setting(NamedTuple):
    """What a run is made of."""

    seconds: float
    seed: int
    least: int
    most: int
    worker: str


class Sample(NamedTuple):
    """What the arbiter has at a moment."""

    at: float
    rss_kib: int
    threads: int
    descriptors: int
    children: int
    zombies: Sequence[int]
    recorders: int


class Scene:
    """Runs it, once."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._folder, self._setting = folder, setting
        self._workers = first_workers(setting.least, setting.most)
        self._server = Gunicorn(
            folder, "chaotic:app", worker=setting.worker, timeout=TIMEOUT_S,
            config=CONFIG.format(workers=self._workers),
            prefix=(sys.executable, "-m", "tests.chaos.control", str(folder / "control")))
        self._load = Load(self._server.port, setting.seed)
        self._deaths: list[tuple[int, float]] = []
        self._samples: list[Sample] = []
        self._seen_notes = 0
        self._serving: dict[int, bool] = {}
        self._faults: Faults
        self._trouble: list[str] = []

    def run(self) -> None:
        """All of it; at the end the folder tells the story."""
        with self._server:
            asyncio.run(self._play())
            end = self._end()
        self._write(end)

    async def _play(self) -> None:
        watch = asyncio.create_task(self._watch())
        before = await self._calm()
        self._faults = Faults(self._server.port, self._server.process.pid,
                              self._who_serves, self._load, self._setting.seed)
        load = asyncio.create_task(self._load.run())
        sampling = asyncio.create_task(self._sample_on())
        setting = self._setting
        await self._faults.run(plan(setting.seconds, setting.seed, setting.least, setting.most))
        self._load.stop()
        await load
        self._faults.reload_at_last()
        await asyncio.sleep(1.0)  # until it has begun to
        after = await self._calm()
        for task in (sampling, watch):
            task.cancel()
        self._samples = [before, *self._samples, after]

    async def _calm(self) -> Sample:
        """What the arbiter has when all workers are there and all reporters are done."""
        def calm() -> bool:
            now = self._sample()
            return now.children == now.recorders == self._workers == len(self._who_serves())

        def plain_calm() -> bool:
            return self._sample().children == self._workers == len(self._who_serves())

        ours = self._setting.worker.startswith("watchdog_worker")
        if not await _until(calm if ours else plain_calm):
            self._trouble.append(f"it did not settle: {self._sample()}, {self._who_serves()} serve")
        await asyncio.sleep(0.5)
        return self._sample()

    def _who_serves(self) -> list[int]:
        self._look()
        return sorted(pid for pid, serves in self._serving.items() if serves)

    async def _watch(self) -> None:
        """See each worker as it comes, and the moment at which it dies."""
        loop, known = asyncio.get_running_loop(), 0
        while True:
            fresh = self._server.lines[known:]
            known += len(fresh)
            for _, line in fresh:
                found = re.search(r"Booting worker with pid: (\d+)", line)
                if found is not None:
                    self._wait_for(int(found[1]), loop)
            self._look()
            await asyncio.sleep(0.05)

    def _wait_for(self, pid: int, loop: asyncio.AbstractEventLoop) -> None:
        try:
            fd = os.pidfd_open(pid)
        except OSError:  # it has gone already
            self._died(pid, None)
            return

        def died() -> None:
            loop.remove_reader(fd)
            self._died(pid, fd)

        loop.add_reader(fd, died)

    def _died(self, pid: int, fd: int | None) -> None:
        self._deaths.append((pid, time.time()))
        self._serving[pid] = False
        if fd is not None:
            os.close(fd)

    def _look(self) -> None:
        """Who serves and who leaves, by what the application has noted, and by what we did."""
        file = self._folder / "events"
        if file.exists():
            with open(file, "rb") as events:
                events.seek(self._seen_notes)
                while (line := events.readline()).endswith(b"\n"):
                    self._seen_notes += len(line)
                    _, pid, what = line.decode().rstrip().split(" ", 2)
                    if what in ("serving", "leaving"):
                        self._serving[int(pid)] = what == "serving" and lives(int(pid))
        faults = getattr(self, "_faults", None)
        for act in faults.acts if faults is not None else ():
            if act.kind in _ENDING and act.pid in self._serving:
                self._serving[act.pid] = False

    async def _sample_on(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._samples.append(self._sample())

    def _sample(self) -> Sample:
        return sample(self._server.process.pid, self._server.recorders)

    def _end(self) -> dict[str, Any]:
        """End it as an administrator would, and see what is left."""
        process, began = self._server.process, time.time()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACEFUL_S + PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._trouble.append("the arbiter did not end at SIGTERM")
        took = time.time() - began
        time.sleep(1.0)  # its last reporters may outlive it for a moment
        recorders = self._server.recorders
        return {
            "status": process.poll(), "took_s": took, "began": began,
            "processes": group(process.pid),
            "recorders": [file.name for file in recorders.iterdir()] if recorders.is_dir() else [],
        }

    def _write(self, end: dict[str, Any]) -> None:
        scene = {
            "setting": self._setting, "master": self._server.process.pid, "end": end,
            "timeout": TIMEOUT_S, "graceful": GRACEFUL_S, "acts": self._faults.acts,
            "exchanges": self._load.exchanges, "deaths": self._deaths, "samples": self._samples,
            "trouble": self._trouble, "log": self._server.lines,
        }
        (self._folder / "scene.json").write_text(json.dumps(scene))
        (self._folder / "log").write_text(
            "".join(f"{at:.3f} {line}\n" for at, line in self._server.lines))


def sample(pid: int, recorders: Path) -> Sample:
    """What a process has now."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    children = [int(child) for child in Path(
        f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return Sample(
        time.time(), int(status["VmRSS"].split()[0]), int(status["Threads"]),
        len(list((process / "fd").iterdir())), len(children),
        tuple(child for child in children if not lives(child)),
        len(list(recorders.iterdir())) if recorders.is_dir() else 0)


def group(leader: int) -> list[str]:
    """The processes of this group that still live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == leader and fields[0] not in "ZX":
                    words = (entry / "cmdline").read_text().replace("\0", " ")
                    found.append(f"{entry.name} {words}")
            except OSError:
                continue
    return found


async def _until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Poll; whether it has become true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True
