"""Where a request enters the application and leaves it. Runs in the loop thread.

The hot path of every request: what is done here is counted in nanoseconds, and what can be
found out later, when somebody wants to know, is not done here (the task, the headers, whether
the response has started).
"""

from __future__ import annotations

import os
import sys
import traceback
from contextvars import copy_context
from time import monotonic
from typing import Any

from watchdog_worker.vitals.asgi import Application, Receive, Scope, Send
from watchdog_worker.vitals.context import Contexts
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.slots import METHODS, SPARE, write


class Boundary:
    """An ASGI application around the user's.

    Each request that enters or leaves is a sign of life, is in the table as long as it is
    inside, however it ends, and starts from the context that `contexts` has for it. `scope`,
    `receive` and `send` are the server's own objects, untouched; lifespan passes through.
    """

    __slots__ = ("_application", "_heartbeat", "_in_flight", "_contexts", "_pid")

    def __init__(
        self, application: Application, heartbeat: Heartbeat, in_flight: InFlight,
        contexts: Contexts | None = None,
    ) -> None:
        """`contexts`: None leaves each request in the context in which it comes."""
        self._application = application
        self._heartbeat = heartbeat
        self._in_flight = in_flight
        self._contexts = contexts
        self._pid = os.getpid()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """One request, WebSocket or lifespan."""
        if scope["type"] == "lifespan":
            return await self._application(scope, receive, send)
        heartbeat, in_flight = self._heartbeat, self._in_flight
        # Ready callbacks run before due timers: a handful of requests that each block for a
        # second keeps the heartbeat's timer waiting for the sum of them.
        now = monotonic()
        if now >= heartbeat.care_at:
            heartbeat.care(now)
        heartbeat.last_sign = now
        # The monitor finds this frame on stacks and await chains, and reads `number` in it.
        number = in_flight.last_number = in_flight.last_number + 1
        requests = in_flight.requests
        requests[number] = now, scope, send
        # The same for those who look from outside, also when this process is dead.
        slots = in_flight.slots
        free = slots.free
        slot = free.pop() if free else SPARE
        try:
            write(slots.map, slot, 1, number, now, METHODS[scope["method"]], scope["raw_path"])
        except Exception:
            slot = slots.write_odd(slot, number, now, scope)
        contexts = self._contexts
        try:
            if contexts is None or len(copy_context()) == contexts.enough or contexts.fits():
                return await self._application(scope, receive, send)
            return await contexts.enter(self._application, scope, receive, send, number)
        except BaseException as error:
            if os.getpid() != self._pid:
                _end_child(error)
            raise
        finally:
            del requests[number]
            slots.map[slot] = 0
            if slot != SPARE:
                free.append(slot)
            now = monotonic()
            if now >= heartbeat.care_at:
                heartbeat.care(now)
            heartbeat.last_sign = now


def _end_child(error: BaseException) -> None:
    """End a process that the application has forked, as an error that nobody catches ends any.

    The server would catch it (`sys.exit()` as well), answer 500 on its parent's connection, and
    run its own end on the loop that the child shares with its parent: whose sockets the kernel then
    watches no more, and it serves nobody, without a block that could be noticed.
    """
    status = 1
    try:
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        elif error.code is None or isinstance(error.code, int):
            status = (error.code or 0) & 0xFF
        else:
            print(error.code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


CODE = Boundary.__call__.__code__
"""By this a frame of the boundary is known."""
