"""A healthy service under the same load for long: does anything in it grow?

    python -m tests.steady [--minutes 30] [--rate 200] [--alone]

Two gunicorns of two workers each, one with ours and one with plain UvicornWorker (not with
`--alone`), which share the load. Prints memory, descriptors and threads of each process; exits 1
if one of ours does not stay as it was, or a request is not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from tests.gunicorn_server import Gunicorn
from tests.lifecycle.case import OURS, THEIRS
from tests.steady.figures import HEAD, Figures, Process, children, look
from tests.steady.load import Load
from tests.chaos.talk import OK

WORKERS = 2
_SAMPLE_S = 10.0
_SAMPLES_LEAST = 40
_REST_S = 60.0


class Service:
    """One gunicorn and its load."""

    def __init__(self, folder: Path, worker: str, rate: float) -> None:
        config = (f"workers = {WORKERS}\nkeepalive = 30\n"
                  + ('watchdog_dump_dir = "dumps"\n' if worker == OURS else ""))
        self.ours = worker == OURS
        self.server = Gunicorn(folder, "steady:app", worker=worker, config=config,
                               wait_path="/pid/first")
        self.load = Load(self.server.port, rate)
        self.pids: list[int] = []
        self._before: dict[int, Figures] = {}
        self._loaded: dict[int, list[Figures]] = {}
        self._after: dict[int, Figures] = {}

    async def rest_before(self) -> None:
        """Once everybody has served something."""
        warm = Load(self.server.port, 100)
        running = asyncio.create_task(warm.run())
        await asyncio.sleep(2.0)
        warm.stop()
        await running
        self.pids = [self.server.process.pid, *children(self.server.process.pid)]
        self._before = await self._rested()

    async def rest_after(self) -> None:
        """Once the load is over."""
        self._after = await self._rested()

    async def _rested(self) -> dict[int, Figures]:
        """When descriptors have stayed the same for some time, as all connections are closed."""
        last, same, end = {pid: look(pid) for pid in self.pids}, 0, time.monotonic() + _REST_S
        while same < 4 and time.monotonic() < end:
            await asyncio.sleep(0.5)
            now = {pid: look(pid) for pid in self.pids}
            unchanged = all(now[pid].descriptors == last[pid].descriptors for pid in self.pids)
            last, same = now, same + 1 if unchanged else 0
        return last

    def sample(self) -> None:
        """Look at everybody once."""
        for pid in self.pids:
            self._loaded.setdefault(pid, []).append(look(pid))

    def processes(self) -> list[Process]:
        """All of them, the arbiter first."""
        name = "ours" if self.ours else "plain"
        return [Process(f"{name}, {'worker' if at else 'arbiter'} {pid}", self._before[pid],
                        tuple(self._loaded[pid]), self._after[pid])
                for at, pid in enumerate(self.pids)]

    def wrong(self) -> list[str]:
        """Whatever should not have been in such a time."""
        found = [f"{count} x {outcome}" for outcome, count in self.load.outcomes.items()
                 if outcome != OK]
        if [self.server.process.pid, *children(self.server.process.pid)] != self.pids:
            found.append("its workers are not those of the beginning")
        found += [line for _, line in self.server.lines
                  if "watchdog" in line and "Using worker" not in line][:5]
        return found


async def steadily(services: list[Service], seconds: float) -> None:
    """The load, and a look every few seconds."""
    for service in services:
        await service.rest_before()
    running = [asyncio.create_task(service.load.run()) for service in services]
    pause, end = min(_SAMPLE_S, seconds / _SAMPLES_LEAST), time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(pause)
        for service in services:
            service.sample()
    for service in services:
        service.load.stop()
    await asyncio.gather(*running)
    for service in services:
        await service.rest_after()


def told(services: list[Service], seconds: float) -> bool:
    """Print it all; whether ours is flat."""
    print(HEAD)
    fine = True
    for service in services:
        for process in service.processes():
            print(process.row())
            wrong = list(process.wrong())
            fine = fine and not (wrong and service.ours)
            for each in wrong:
                print(f"    {each}")
    print("RSS by tenths of the time:")
    for service in services:
        for process in service.processes():
            print(f"{process.name:34} {process.course()}")
    for service in services:
        answered, wrong = service.load.outcomes[OK], service.wrong()
        print(f"{'ours' if service.ours else 'plain'}: {answered} requests and messages answered, "
              f"{answered / seconds:.0f} a second" + "".join(f"\n    {each}" for each in wrong))
        fine = fine and not (wrong and service.ours)
    print("flat" if fine else "not flat")
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=200, help="requests a second in all")
    parser.add_argument("--alone", action="store_true", help="without plain UvicornWorker")
    arguments = parser.parse_args()
    workers = [OURS] if arguments.alone else [OURS, THEIRS]
    with contextlib.ExitStack() as stack:
        services = []
        for worker in workers:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            services.append(Service(folder, worker, arguments.rate / len(workers)))
            stack.enter_context(services[-1].server)
        asyncio.run(steadily(services, arguments.minutes * 60))
        return 0 if told(services, arguments.minutes * 60) else 1


if __name__ == "__main__":
    sys.exit(main())
