"""An ASGI application that can die in every way there is; each function is known by its name."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import threading
import time
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    die = WAYS.get(scope["path"].strip("/"))
    if die is not None:
        await die()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def wait() -> None:
    """Until somebody else ends it."""
    await asyncio.sleep(3600)


async def segfault() -> None:
    ctypes.string_at(0)


async def segfault_in_thread() -> None:
    await asyncio.to_thread(crash_here)


def crash_here() -> None:
    ctypes.string_at(0)


async def abort() -> None:
    os.abort()


async def leave() -> None:
    os._exit(7)


async def leave_in_peace() -> None:
    os._exit(0)


async def hold_gil() -> None:
    sum(range(10 ** 13))


async def hold_gil_in_thread() -> None:
    await asyncio.to_thread(hold_here)


def hold_here() -> None:
    sum(range(10 ** 13))


async def leave_as_if_boot_had_failed() -> None:
    os._exit(3)


async def deadlock() -> None:
    """Wait for ever in C, with the GIL held and no CPU used."""
    ctypes.PyDLL(None).pause()


async def hold_gil_among_many() -> None:
    """The same as hold_gil, with more threads than faulthandler writes."""
    for _ in range(120):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    await asyncio.sleep(2.5)  # the monitor looks in between, and sees how many there are
    sum(range(10 ** 13))


async def sleep() -> None:
    time.sleep(3600)


async def sleep_then_deadlock() -> None:
    """What was told of is not what it dies of, in one silence."""
    time.sleep(1.5)
    deadlock_here()


def deadlock_here() -> None:
    ctypes.PyDLL(None).pause()


async def eat() -> None:
    """More and more memory, until the kernel has enough of it."""
    kept = []
    while True:
        kept.append(bytearray(2 ** 20))
        await asyncio.sleep(0.002)


async def fork_and_crash() -> None:
    """A child that ends as badly as can be, and one that does what an exit begins with."""
    for end in (crash_here, faulthandler.cancel_dump_traceback_later):
        pid = os.fork()
        if pid == 0:
            end()
            os._exit(0)
        await asyncio.to_thread(os.waitpid, pid, 0)


WAYS = {function.__name__: function for function in (
    wait, segfault, segfault_in_thread, abort, leave, leave_in_peace, leave_as_if_boot_had_failed,
    hold_gil, hold_gil_in_thread, deadlock, hold_gil_among_many, sleep,
    sleep_then_deadlock, eat, fork_and_crash)}
