"""The ASGI application of every case: `/block` calls the case's function, `/` answers.

CASE names it as `module:function`; its module is imported when the application is loaded.
"""

from __future__ import annotations

import importlib
import inspect
import os
from typing import Any

_module, _, _name = os.environ["CASE"].partition(":")
block = getattr(importlib.import_module(_module), _name)


async def handle() -> None:
    result = block()
    if inspect.isawaitable(result):
        await result


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        await handle()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
