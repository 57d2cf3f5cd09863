"""A Starlette application that uses what Starlette's own tests use, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

events: list[str] = []
"""What has happened behind the client's back."""
in_middleware: ContextVar[str] = ContextVar("in_middleware")
in_pure: ContextVar[str] = ContextVar("in_pure")


class Pure:
    """A middleware that is no coroutine of Starlette's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = in_pure.set(scope["path"] if scope["type"] != "lifespan" else "lifespan")
        try:
            if scope.get("path") == "/disconnect":
                await disconnect(Request(scope, receive))
            else:
                await self.app(scope, receive, send)
        finally:
            in_pure.reset(token)


async def dispatch(request: Request, call_next: Any) -> Any:
    in_middleware.set(request.url.path)
    response = await call_next(request)
    response.headers["x-dispatched"] = in_middleware.get()
    return response


async def pid(request: Request) -> Any:
    return PlainTextResponse(str(os.getpid()))


async def told(request: Request) -> Any:
    return JSONResponse(events)


async def variables(request: Request) -> Any:
    return JSONResponse([
        in_middleware.get(), in_pure.get(), await run_in_threadpool(in_pure.get),
        request.state.from_lifespan])


async def stream(request: Request) -> Any:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(5):
            yield f"{number} {in_pure.get()}\n".encode()
            await asyncio.sleep(0.01)

    return StreamingResponse(numbers(), media_type="text/plain")


async def endless(request: Request) -> Any:
    async def dots() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"." * 1000
                await asyncio.sleep(0.01)
        finally:
            events.append("the endless stream was closed")

    return StreamingResponse(dots())


async def background(request: Request) -> Any:
    tasks = BackgroundTasks()
    tasks.add_task(in_background, "async")
    tasks.add_task(in_thread, "thread")
    return PlainTextResponse("before", background=tasks)


async def in_background(name: str) -> None:
    await asyncio.sleep(0.05)
    events.append(f"{name} background of {in_pure.get()}")


def in_thread(name: str) -> None:
    events.append(f"{name} background of {in_pure.get()}")


async def broken_background(request: Request) -> Any:
    async def fail() -> None:
        raise RuntimeError("in the background")

    return PlainTextResponse("fine", background=BackgroundTask(fail))


async def upload(request: Request) -> Any:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
    return PlainTextResponse(str(total))


async def disconnect(request: Request) -> None:
    """Not behind BaseHTTPMiddleware, which does not let a disconnect through to who polls."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    events.append("the client has gone")


async def groups(request: Request) -> Any:
    found: list[str] = []

    async def child(name: str) -> None:
        await anyio.sleep(0)
        found.append(name + in_pure.get())

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(child, name)
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    return JSONResponse([sorted(found), scope.cancelled_caught])


async def fails(request: Request) -> Any:
    raise RuntimeError("as it should")


async def teapot(request: Request) -> Any:
    raise HTTPException(418)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="echo" if "echo" in websocket["subprotocols"] else None)
    async for message in websocket.iter_text():  # until the client closes
        await websocket.send_text(f"{message} {in_pure.get()}")
    events.append("websocket closed")


async def rejected(websocket: WebSocket) -> None:
    await websocket.close(4003)


async def closing(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"last": "words"})
    await websocket.close(4001, "enough")


@contextlib.asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"from_lifespan": in_pure.get("nothing")}


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(Pure), Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    routes=[
        Route("/pid", pid), Route("/told", told), Route("/variables", variables),
        Route("/stream", stream), Route("/endless", endless), Route("/background", background),
        Route("/broken_background", broken_background),
        Route("/upload", upload, methods=["POST"]),
        Route("/fails", fails), Route("/teapot", teapot),
        Mount("/under", routes=[Route("/groups", groups)]),
        WebSocketRoute("/echo", echo), WebSocketRoute("/rejected", rejected),
        WebSocketRoute("/closing", closing),
    ])
