"""A Starlette application that streams events without an end, as sse-starlette has it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.lifecycle.notes import note


async def pid(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(os.getpid()))


async def events(request: Request) -> EventSourceResponse:
    return EventSourceResponse(numbers())


async def numbers() -> AsyncIterator[dict[str, str]]:
    """One now, and another much later than any drain ends."""
    try:
        yield {"data": str(os.getpid())}
        await asyncio.sleep(3600)
    finally:
        # Applications look at it themselves; only sse-starlette's own handler sets it.
        note(f"told to exit: {AppStatus.should_exit}")


app = Starlette(routes=[Route("/", pid), Route("/events", events)])
