"""What the watchdog costs a worker that has nothing to do, and what its import costs.

    python -m tests.bench.idle [--seconds 20] [--rounds 3]

Idle: the CPU time of one worker (user and system, from /proc) over some seconds, ours and
uvicorn's in turns. Import: the wall time of a fresh interpreter that imports the package, less
that of one that imports `uvicorn_worker`, in turns; and the same with what the arbiter imports at
its start, once for all workers. Exits 1 if the median costs more than 0.5 %
of a core or 40 ms.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.cpu import cpu_s
from tests.gunicorn_server import Gunicorn

OURS, THEIRS = "watchdog_worker.Worker", "uvicorn_worker.UvicornWorker"


def idle_share(worker: str, seconds: float) -> float:
    """Share of a core that an idle worker of this class takes."""
    with tempfile.TemporaryDirectory() as folder:
        with Gunicorn(Path(folder), "life:app", worker=worker) as server:
            pid = server.worker_pid()
            time.sleep(1)
            before, began = cpu_s(pid), time.monotonic()
            time.sleep(seconds)
            return (cpu_s(pid) - before) / (time.monotonic() - began)


def import_s(module: str) -> float:
    """Wall time of an interpreter that imports this and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    shares = [(idle_share(OURS, arguments.seconds), idle_share(THEIRS, arguments.seconds))
              for _ in range(arguments.rounds)]
    more = [ours - theirs for ours, theirs in shares]
    print("idle worker, share of a core: " + ", ".join(
        f"{ours:.3%} ours {theirs:.3%} uvicorn's" for ours, theirs in shares))
    print(f"  more than uvicorn's: median {statistics.median(more):+.3%} of a core "
          f"(from {min(more):+.3%} to {max(more):+.3%})")
    worker = "watchdog_worker.worker"
    modules = ("uvicorn_worker", worker,
               f"{worker}, watchdog_worker.watch, watchdog_worker.postmortem.hooks")
    times = [[import_s(module) for module in modules] for _ in range(20)][1:]
    extra = [ours - theirs for theirs, ours, _ in times]
    for what, above in (("import", extra), ("import and the arbiter's start", [
            whole - theirs for theirs, _, whole in times])):
        print(f"{what} above uvicorn_worker's: median {statistics.median(above) * 1000:.1f} ms "
              f"(from {min(above) * 1000:.1f} to {max(above) * 1000:.1f})")
    return 0 if statistics.median(more) < 0.005 and statistics.median(extra) < 0.040 else 1


if __name__ == "__main__":
    sys.exit(main())
