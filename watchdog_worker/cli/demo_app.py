"""A small shop, with one blocking call in an `async def`. The demo serves a copy of this file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def newsletter() -> None:
    """An innocent request: it waits, and lets everybody else work meanwhile."""
    await asyncio.sleep(30)


def charge(card: str) -> None:
    """A payment library of the blocking kind: the whole loop stands still in here."""
    time.sleep(30)


async def checkout() -> None:
    """The guilty request."""
    charge("4242")


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        raise RuntimeError(f"this shop serves no {scope['type']}")
    if scope["path"] == "/checkout":
        await checkout()
    elif scope["path"] == "/newsletter":
        await newsletter()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello\n"})
