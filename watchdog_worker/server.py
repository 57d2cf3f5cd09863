"""uvicorn's server as a watched worker runs it. All of it in the loop thread, which is the main
thread: signal handlers run there, too."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

from uvicorn.server import Server

from watchdog_worker import phases
from watchdog_worker.vitals.boundary import Boundary
from watchdog_worker.vitals.protocol import isolated

if TYPE_CHECKING:
    from watchdog_worker.watch import Watch

_QUICK_S = 0.1
"""What requests get that are not waited for: gunicorn gives its own workers' as much."""


class WatchedServer(Server):
    """A uvicorn server that tells its watch which phase it is in, and is told when to leave."""

    watch: Watch
    step: str | None = None
    """How far it has got, one of `phases`; written in the loop thread, read by the monitor."""
    _starting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Lifespan startup, behind the boundary: `load` has made the application by now."""
        config, watch = self.config, self.watch
        self._starting = asyncio.current_task()
        contexts = watch.requests.begin()
        config.loaded_app = Boundary(
            config.loaded_app, watch.heartbeat, watch.in_flight, contexts)
        if contexts is not None:
            on_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            config.http_protocol_class = isolated(
                config.http_protocol_class, contexts, on_uvloop)
        self._note_lifespan()
        await super().startup(sockets=sockets)

    def _note_lifespan(self) -> None:
        """uvicorn calls both in the middle of something else, and shows nobody when."""
        lifespan, start, end = self.lifespan, self.lifespan.startup, self.lifespan.shutdown

        async def startup() -> None:
            self.step = phases.LIFESPAN_STARTUP
            await start()
            self.step = phases.LISTENING

        async def shutdown() -> None:
            self.step = phases.LIFESPAN_SHUTDOWN
            await end()

        lifespan.startup, lifespan.shutdown = startup, shutdown

    async def main_loop(self) -> None:
        """Serving."""
        self.step = phases.SERVING
        self.watch.heartbeat.serve()
        await super().main_loop()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to leave; ten times a second."""
        if self.watch.leaving.asked_at is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT. uvicorn would raise them anew when it has drained, and the process
        would end of it on the spot: without `worker_exit`, as if it had been killed."""
        # uvicorn's own is called all the same: sse-starlette puts one of its own in its place, to
        # end its streams. A second SIGINT would have it leave out lifespan shutdown.
        super().handle_exit(signal.SIGTERM, frame)
        self._captured_signals.clear()
        if sig == signal.SIGTERM:
            self.watch.leaving.terminate()
        else:
            self.watch.leaving.quit()

    def abandon(self) -> None:
        """Give up starting: the lifespan is cancelled with the rest. A signal handler's."""
        loop, task = self.watch.heartbeat.loop, self._starting
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def hasten(self) -> None:
        """Wait for no request any more; also in the middle of a drain. A signal handler's."""
        self.should_exit = True
        loop = self.watch.heartbeat.loop
        if self.watch.heartbeat.draining and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._cut_off)

    def _cut_off(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()
        asyncio.get_running_loop().call_later(_QUICK_S, self._abort)

    def _abort(self) -> None:
        """Clients that do not take what they have been sent are not waited for either."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain and lifespan shutdown."""
        leaving, self.step = self.watch.leaving, phases.DRAIN
        leaving.ask(by_itself=leaving.asked_at is None)
        self.watch.heartbeat.drain(leaving.asked_at)
        # uvicorn's drain has no end of its own; gunicorn's setting says when it is to end.
        drain_s = _QUICK_S if leaving.quick else leaving.drain_s
        self.config.timeout_graceful_shutdown = drain_s  # type: ignore[assignment]
        await super().shutdown(sockets=sockets)
        self.step = phases.SERVER_ENDED
        await self.watch.settle()
        self.watch.heartbeat.leave()
        leaving.has_drained()
