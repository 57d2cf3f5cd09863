"""An ASGI application whose requests are slow in every way but blocking the loop."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread

executor = ThreadPoolExecutor(2, thread_name_prefix="reports")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    query = parse_qs(scope["query_string"].decode())
    seconds = float(query.get("s", ["0"])[0])
    name = scope["path"].strip("/")
    if name:
        await globals()[f"on_{name}"](seconds)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def on_wait(seconds: float) -> None:
    await deeper(seconds)


async def deeper(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def on_started(seconds: float) -> None:
    await asyncio.wait([asyncio.create_task(deeper(seconds))])


async def on_joined(seconds: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(deeper, seconds)


async def on_gathered(seconds: float) -> None:
    await asyncio.gather(deeper(seconds), asyncio.sleep(0))


async def on_timed(seconds: float) -> None:
    await asyncio.wait_for(deeper(seconds), 3600)


async def on_shielded(seconds: float) -> None:
    await asyncio.shield(asyncio.create_task(deeper(seconds)))


async def on_timed_thread(seconds: float) -> None:
    future = asyncio.get_running_loop().run_in_executor(executor, work, seconds)
    await asyncio.wait_for(future, 3600)


async def on_beside(seconds: float) -> None:
    """Start something, and wait for something else."""
    other = asyncio.create_task(deeper(3600))
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    await event.wait()
    other.cancel()


async def on_busy(seconds: float) -> None:
    """Hardly ever wait, and never for long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.03)
        await asyncio.sleep(0)


class Hostile:
    """An awaitable that answers nothing but how to await it."""

    def __init__(self, future: Any) -> None:
        self._iterator = iter(future)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(object.__getattribute__(self, "_iterator"))

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


async def on_hostile(seconds: float) -> None:
    await Hostile(asyncio.ensure_future(asyncio.sleep(seconds)))


async def on_empty_cell(seconds: float) -> None:
    future = asyncio.get_running_loop().create_future()

    def _call_check_cancel(done: Any) -> None:
        return late

    future.add_done_callback(_call_check_cancel)
    asyncio.get_running_loop().call_later(seconds, future.set_result, None)
    await future
    late = None


leader: Any = None


async def on_leader(seconds: float) -> None:
    global leader
    leader = asyncio.current_task()
    await asyncio.sleep(seconds)


async def on_follower(seconds: float) -> None:
    other = leader
    await asyncio.wait([other])


async def on_anyio(seconds: float) -> None:
    await anyio.to_thread.run_sync(work, seconds)


async def on_to_thread(seconds: float) -> None:
    await asyncio.to_thread(work, seconds)


async def on_executor(seconds: float) -> None:
    await asyncio.get_running_loop().run_in_executor(executor, work, seconds)


async def on_block(seconds: float) -> None:
    time.sleep(seconds)


def work(seconds: float) -> None:
    time.sleep(seconds)


def starlette(with_middleware: bool = False) -> Any:
    """A Starlette application, also behind its BaseHTTPMiddleware."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    async def endpoint(request: Any) -> Any:
        await deeper(float(request.query_params.get("s", "0")))
        return PlainTextResponse(str(os.getpid()))

    def in_thread(request: Any) -> Any:
        work(float(request.query_params["s"]))
        return PlainTextResponse("done")

    async def stream(request: Any) -> Any:
        async def numbers() -> Any:
            yield b"1"
            await deeper(float(request.query_params["s"]))

        return StreamingResponse(numbers())

    async def stream_in_thread(request: Any) -> Any:
        def numbers() -> Any:
            yield b"1"
            work(float(request.query_params["s"]))

        return StreamingResponse(numbers())

    return Starlette(
        routes=[Route("/", endpoint), Route("/endpoint", endpoint),
                Route("/in_thread", in_thread), Route("/stream", stream),
                Route("/stream_in_thread", stream_in_thread)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)] if with_middleware else [])
