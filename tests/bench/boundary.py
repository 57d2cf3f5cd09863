"""What the boundary alone costs a request, in one process and without a network.

    python -m tests.bench.boundary [--rounds 60] [--requests 2000]

uvicorn's own protocol (httptools, on uvloop) is fed requests through a transport in memory, with
the smallest application there is: bare, and as our worker has it with all defaults, in turns. The
difference is the boundary's, in nanoseconds and as a share of what uvicorn does for a request.
Then the memory that a request in flight takes beyond uvicorn's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from tests.apps import hello
from watchdog_worker.vitals.boundary import Boundary
from watchdog_worker.vitals.context import Contexts, Plan
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.protocol import isolated

REQUEST = b"GET /7?q=x HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n"
IN_FLIGHT = 2000

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Memory(asyncio.Transport):
    """A connection whose client reads at once whatever comes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5000), "sockname": ("127.0.0.1", 8000)})
        self.answers = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if data[:5] == b"HTTP/":
            self.answers += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Server:
    """uvicorn's protocol around an application; `ours`: as our worker has it by default."""

    def __init__(self, application: Application, ours: bool = False) -> None:
        config = self._config = Config(
            application, http="httptools", log_config=None, lifespan="off")
        config.load()
        config.loaded_app = application
        if ours:
            heartbeat, in_flight = Heartbeat(0.5, lambda: None, print), InFlight()
            heartbeat.start(asyncio.get_running_loop())
            heartbeat.serve()
            contexts = Contexts(Plan(), in_flight, print)
            config.loaded_app = Boundary(application, heartbeat, in_flight, contexts)
            config.http_protocol_class = isolated(
                config.http_protocol_class, contexts, on_uvloop=True)
        self._state = ServerState()
        self._protocol, self.transport = self.connect()

    def connect(self) -> tuple[Any, Memory]:
        """Another connection."""
        make: Any = self._config.http_protocol_class
        protocol, transport = make(self._config, self._state, {}), Memory()
        protocol.connection_made(transport)
        return protocol, transport

    async def serve(self, requests: int) -> float:
        """Nanoseconds a request."""
        receive, answers = self._protocol.data_received, self.transport.answers
        began = time.perf_counter_ns()
        for _ in range(requests):
            receive(REQUEST)
            await asyncio.sleep(0)
        took = time.perf_counter_ns() - began
        assert self.transport.answers == answers + requests, "not all were answered"
        return took / requests


async def costs(rounds: int, requests: int) -> tuple[list[float], list[float]]:
    """Nanoseconds a request, bare and behind the boundary, round for round."""
    bare, ours = Server(hello.raw), Server(hello.raw, ours=True)
    await bare.serve(requests)
    await ours.serve(requests)
    found = []
    for at in range(rounds):  # whoever goes first in one round goes second in the next
        order = (bare, ours) if at % 2 else (ours, bare)
        took = {server: await server.serve(requests) for server in order}
        found.append((took[bare], took[ours]))
    return [each[0] for each in found], [each[1] for each in found]


async def bytes_in_flight(ours: bool) -> float:
    """Memory that a request takes that waits in the application."""
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    server = Server(waits, ours)
    connections = [server.connect()[0] for _ in range(IN_FLIGHT)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for protocol in connections:
        protocol.data_received(REQUEST)
    await asyncio.sleep(0)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    return taken / IN_FLIGHT


async def run(rounds: int, requests: int) -> None:
    bare, ours = await costs(rounds, requests)
    extra = sorted(b - a for a, b in zip(bare, ours, strict=True))
    share = statistics.median(b / a for a, b in zip(bare, ours, strict=True)) - 1
    low, high = extra[len(extra) // 10], extra[-1 - len(extra) // 10]
    print(f"boundary: median {statistics.median(extra):.0f} ns a request (10 to 90 % of {rounds} "
          f"rounds from {low:.0f} to {high:.0f}), {share:.1%} of the "
          f"{statistics.median(bare) / 1000:.1f} us that uvicorn takes in memory")
    theirs, own = await bytes_in_flight(False), await bytes_in_flight(True)
    print(f"memory of a request in flight: {own - theirs:.0f} bytes more than uvicorn's "
          f"{theirs:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    loop = uvloop.new_event_loop()
    loop.run_until_complete(run(arguments.rounds, arguments.requests))
    loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
