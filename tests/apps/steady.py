"""An ASGI application that does nothing wrong. A path is `/what/id`, and each answer says who
gave it, to which id, in which context, as `tests.chaos.talk` wants it; a WebSocket is echoed."""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from typing import Any

current: ContextVar[str] = ContextVar("current", default="none")
_SLOW_S = 1.2


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await answer(scope["path"].strip("/"), send)


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def answer(path: str, send: Any) -> None:
    what, _, ident = path.partition("/")
    before = current.get()
    current.set(ident)
    if what == "slow":
        await asyncio.sleep(_SLOW_S)
    body = f"{os.getpid()} {ident} {before} {current.get()} ".encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
