"""Where a request enters the application and leaves it. Runs in the loop thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Boundary:
    """An ASGI application around the user's: each request that enters or leaves is a sign.

    `scope`, `receive` and `send` are the server's own objects, untouched.
    """

    __slots__ = ("_application", "_sign")

    def __init__(self, application: Application, sign: Callable[[], None]) -> None:
        self._application = application
        self._sign = sign

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, WebSocket or lifespan."""
        self._sign()
        try:
            await self._application(scope, receive, send)
        finally:
            self._sign()
