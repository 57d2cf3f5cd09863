"""An ASGI application that measures its own loop's lag.

A task sleeps for 10 ms again and again, and writes down each time it has slept much longer, in
the file `$STALL_FOLDER/gaps`: until when (time of day), and for how long (seconds). All but
`/compute` and `/block` is as in `whole_life`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from whole_life import FOLDER, answer, app as rest  # type: ignore[import-not-found]

STEP_S = 0.01
WORTH_S = 0.2
"""A gap of less is not written down."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        meter = asyncio.create_task(measure())
        await rest(scope, receive, send)
        meter.cancel()
    elif scope.get("path") == "/compute":
        compute(float(scope["query_string"]))
        await answer(send, "computed")
    elif scope.get("path") == "/block":
        block(float(scope["query_string"]))
        await answer(send, "blocked")
    else:
        await rest(scope, receive, send)


async def measure() -> None:
    """For as long as the worker lives."""
    with open(FOLDER / "gaps", "a", buffering=1) as file:
        last = time.monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            now = time.monotonic()
            if now - last - STEP_S > WORTH_S:
                file.write(f"{time.time():.3f} {now - last - STEP_S:.3f}\n")
            last = now


def compute(seconds: float) -> None:
    """Use so much processor time, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def block(seconds: float) -> None:
    time.sleep(seconds)
