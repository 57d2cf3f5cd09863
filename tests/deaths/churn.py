"""Workers started and ended in every way there is: what stays behind in the arbiter?

    python -m tests.deaths.churn [--workers 1000] [--seed 1]

One gunicorn with a few workers, which die or are ended again and again, until so many have been
started. Then its files, descriptors, threads and recorders are held against those of the
beginning. Exits 1 if there are more.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.gunicorn_server import Gunicorn, until

WORKERS = 4
CONFIG = f"workers = {WORKERS}\npreload_app = True\ngraceful_timeout = 2\nmax_requests = 50\n"


class Held(NamedTuple):
    """What the arbiter has, and what is in the folder of the recorders."""

    descriptors: int
    threads: int
    children: int
    recorders: int
    rss_kib: int


def held(server: Gunicorn) -> Held:
    process = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Held(
        len(list((process / "fd").iterdir())), int(status["Threads"]), len(children(server)),
        len(list(server.recorders.iterdir())), int(status["VmRSS"].split()[0]))


def children(server: Gunicorn) -> list[int]:
    pid = server.process.pid
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class Churn:
    """Brings about one end after the other."""

    def __init__(self, server: Gunicorn, seed: int) -> None:
        self._server, self._random = server, random.Random(seed)
        self.done = Counter[str]()
        self._ways: list[tuple[str, Callable[[], None]]] = [
            *((name, self._signalled(name)) for name in (
                "SIGKILL", "SIGTERM", "SIGINT", "SIGSEGV", "SIGABRT", "SIGHUP", "SIGBUS")),
            *((path, self._requested(path)) for path in (
                "segfault", "abort", "leave", "leave_in_peace", "segfault_in_thread")),
            ("requests", self._many_requests), ("HUP", self._arbiter(signal.SIGHUP)),
            ("TTIN and TTOU", self._more_and_fewer)]

    def step(self) -> None:
        name, do = self._random.choice(self._ways)
        self.done[name] += 1
        try:
            do()
        except (OSError, ProcessLookupError):  # it had gone by itself
            pass

    def _signalled(self, name: str) -> Callable[[], None]:
        return lambda: os.kill(
            self._random.choice(children(self._server)), signal.Signals[name])

    def _requested(self, path: str) -> Callable[[], None]:
        def request() -> None:
            with self._server.send(f"/{path}") as connection:
                connection.settimeout(5.0)
                connection.recv(1)

        return request

    def _many_requests(self) -> None:
        for _ in range(30):
            self._server.get("/", 5.0)

    def _arbiter(self, number: signal.Signals) -> Callable[[], None]:
        return lambda: self._server.process.send_signal(number)

    def _more_and_fewer(self) -> None:
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            self._server.process.send_signal(number)
            time.sleep(0.05)


def started(server: Gunicorn) -> int:
    return server.log.count("Booting worker with pid")


def calm(server: Gunicorn) -> Held:
    """When all reporters are done, and all workers are there."""
    until(lambda: len(children(server)) == WORKERS and held(server).recorders == WORKERS)
    until(lambda: server.log.count("Application startup complete") >= WORKERS)
    until(server.answering_pid)
    return held(server)


def run(workers: int, seed: int) -> bool:
    with tempfile.TemporaryDirectory() as folder, Gunicorn(
            Path(folder), "deaths:app", config=CONFIG) as server:
        churn = Churn(server, seed)
        before = calm(server)
        while started(server) < workers:
            churn.step()
            time.sleep(0.02)
        after = calm(server)
        told = server.log.count("event post_mortem")
        print(f"{started(server)} workers started, {told} post-mortems; "
              + ", ".join(f"{count} x {name}" for name, count in churn.done.most_common()))
        print(f"before: {before}\nafter:  {after}")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        left = list(server.recorders.iterdir())
        print(f"recorders left behind after the arbiter's end: {len(left)}")
        fine = not left and after[:4] == before[:4] and "Traceback" not in server.log
        if not fine:
            print(server.log[-3000:])
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return 0 if run(arguments.workers, arguments.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
