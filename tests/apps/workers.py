"""The four pairs of loop and parser that uvicorn has, as worker classes."""

from __future__ import annotations

from watchdog_worker import Worker


class UvloopHttptools(Worker):
    CONFIG_KWARGS = {"loop": "uvloop", "http": "httptools"}


class UvloopH11(Worker):
    CONFIG_KWARGS = {"loop": "uvloop", "http": "h11"}


class AsyncioHttptools(Worker):
    CONFIG_KWARGS = {"loop": "asyncio", "http": "httptools"}


class AsyncioH11(Worker):
    CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}
