"""The smallest applications there are, for the benchmark."""

from __future__ import annotations

import os
from typing import Any

BODY = b"Hello, world!"
START = {"type": "http.response.start", "status": 200,
         "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")]}
END = {"type": "http.response.body", "body": BODY}


async def raw(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/pid":
        body = str(os.getpid()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    await send(START)
    await send(END)


def fast() -> Any:
    """A FastAPI application with one JSON endpoint."""
    from fastapi import FastAPI

    application = FastAPI()

    @application.get("/pid")
    async def pid() -> int:
        return os.getpid()

    @application.get("/{item}")
    async def read(item: int, q: str | None = None) -> dict[str, Any]:
        return {"item": item, "q": q, "tags": ["a", "b"], "price": 12.5}

    return application
