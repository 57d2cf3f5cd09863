"""What a picture of 5,000 tasks and 200 threads costs.

    python -m tests.bench.dump [--tasks 5000] [--threads 200] [--rounds 5]

Prints how long it takes until the text is in hand, and for how long at a time the GIL is kept
from the others: a thread that does nothing but look at the clock notes its longest pause. The
same is measured with no picture under way, since a busy machine makes such pauses by itself.
And how long the diagnosis of such a picture takes, with the samples of a stall. Exits 1 if the
median picture takes more than 1 s, the median longest pause 50 ms, or the median diagnosis 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator

from watchdog_worker import report
from watchdog_worker.capture import Camera, Limits
from watchdog_worker.capture.profile import Samples
from watchdog_worker.capture.requests import Choice
from watchdog_worker.diagnosis import diagnose
from watchdog_worker.model import Effort, Stall
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.vitals.inflight import InFlight


async def handler(depth: int) -> None:
    """A request that waits some frames deep."""
    if depth:
        await handler(depth - 1)
    else:
        await asyncio.sleep(3600)


class Pauses:
    """The longest time for which a Python thread that wants to run could not."""

    def __init__(self) -> None:
        self.longest, self._stop = 0.0, False

    def _spin(self) -> None:
        last = time.perf_counter()
        while not self._stop:
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now

    def during(self, work: Callable[[], object]) -> float:
        thread = threading.Thread(target=self._spin)
        thread.start()
        time.sleep(0.02)
        self.longest = 0.0
        work()
        self._stop = True
        thread.join()
        return self.longest


async def main(arguments: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(handler(at % 50)) for at in range(arguments.tasks)]
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait, name=f"pool-{at}")
               for at in range(arguments.threads)]
    for thread in threads:
        thread.start()
    await asyncio.sleep(0)
    camera = Camera(
        Limits(max_tasks=200, max_threads=200, max_frames=60, with_locals=False),
        Choice(max_requests=100, headers=(), with_query=False), InFlight())
    camera.start()

    def picture() -> None:
        snapshot = camera.take(loop)
        assert snapshot.tasks is not None and snapshot.tasks.total == arguments.tasks + 1
        told = report.assemble(
            report.PRE_KILL, report.Identity(1, 1, "bench"), snapshot,
            Stall(5.0, "serving", 6.0), diagnose(snapshot))
        text_render.text(told)
        json_render.line(told)

    alone, pauses, diagnoses = [], [], list[float]()
    for _ in range(arguments.rounds):
        began = time.perf_counter()
        in_thread(picture)
        alone.append(time.perf_counter() - began)
        pauses.append(Pauses().during(lambda: in_thread(picture)))
    in_thread(lambda: diagnoses.extend(_diagnoses(camera, loop, arguments.rounds)))
    idle = [Pauses().during(lambda: time.sleep(0.1)) for _ in range(arguments.rounds)]
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(f"picture of {arguments.tasks} tasks and {arguments.threads} threads, "
          f"Python {sys.version.split()[0]}:")
    print(f"  taken, rendered as text and JSON: {_spread(alone)}")
    print(f"  the diagnosis alone:                       {_spread(diagnoses)}")
    print(f"  longest pause of another thread meanwhile: {_spread(pauses)}")
    print(f"  longest pause with no picture under way:   {_spread(idle)}")
    good = (statistics.median(alone) < 1.0 and statistics.median(pauses) < 0.050
            and statistics.median(diagnoses) < 0.020)
    return 0 if good else 1


def _diagnoses(
    camera: Camera, loop: asyncio.AbstractEventLoop, rounds: int
) -> Iterator[float]:
    """How long each took; half the time of the stall went into other lines, each another stack."""
    samples = Samples()
    for at in range(60):
        stack = camera.sample(samples.wants_names)
        assert stack is not None
        inner = stack.frames[-1]._replace(line=at % 30)
        samples.add(stack._replace(frames=(*stack.frames * 3, inner)), float(at))
    snapshot = camera.take(loop, samples=samples)._replace(effort=Effort(3.0, 2.9, 3.0))
    assert len(snapshot.threads) > rounds
    for _ in range(rounds):
        began = time.perf_counter()
        assert diagnose(snapshot) is not None
        yield time.perf_counter() - began


def in_thread(work: Callable[[], None]) -> None:
    """Run it where the monitor would: not in the loop's thread, which is blocked meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _spread(seconds: list[float]) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"median {middle * 1000:.1f} ms (from {low * 1000:.1f} to {high * 1000:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    sys.exit(asyncio.run(main(parser.parse_args())))
