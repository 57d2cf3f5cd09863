"""The four pairs of loop and parser that uvicorn has, as our worker classes and as its own."""

from __future__ import annotations

from uvicorn_worker import UvicornWorker

from watchdog_worker import Worker


class UvloopHttptools(Worker):
    CONFIG_KWARGS = {"loop": "uvloop", "http": "httptools"}


class UvloopH11(Worker):
    CONFIG_KWARGS = {"loop": "uvloop", "http": "h11"}


class AsyncioHttptools(Worker):
    CONFIG_KWARGS = {"loop": "asyncio", "http": "httptools"}


class AsyncioH11(Worker):
    CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}


class PlainUvloopHttptools(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS = {"loop": "uvloop", "http": "httptools"}


class PlainUvloopH11(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS = {"loop": "uvloop", "http": "h11"}


class PlainAsyncioHttptools(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS = {"loop": "asyncio", "http": "httptools"}


class PlainAsyncioH11(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}
