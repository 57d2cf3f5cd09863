"""An ASGI application that is hurt on purpose and notes what happens to it; `tests.chaos` reads
the notes. A path is `/what/id`: each answer says who gave it, to which id, in which context."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl

from tests.chaos.texts import big_text, trickle_text
from tests.lifecycle.notes import ended, note

LAG_S = 0.5
_BREATH_S = 0.02
_TRICKLE_S = 0.1

current: ContextVar[str] = ContextVar("current", default="none")
Query = dict[str, str]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    what, ident = scope["path"].strip("/").split("/") if scope["path"] != "/" else ("pid", "first")
    note(f"in {ident} {what}")
    before = current.get()
    current.set(ident)
    try:
        body = await read(receive)
        query = dict(parse_qsl(scope["query_string"].decode()), body=body)
        more = await WAYS[what](ident, query)
        # No other request may have got in between, whatever was awaited.
        answer = f"{os.getpid()} {ident} {before} {current.get()} {more}".encode()
        await respond(send, answer, pieces=20 if what == "trickle" else 1)
    finally:
        note(f"out {ident}")


async def respond(send: Any, answer: bytes, pieces: int) -> None:
    """The whole answer, in so many pieces."""
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(answer)).encode())]})
    size = -(-len(answer) // pieces)
    for at in range(0, len(answer), size):
        await send({"type": "http.response.body", "body": answer[at:at + size],
                    "more_body": at + size < len(answer)})
        if pieces > 1:
            await asyncio.sleep(_TRICKLE_S)


async def read(receive: Any) -> str:
    """The whole body, as a hash."""
    found, more = hashlib.sha1(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        found.update(message.get("body", b""))
        more = message.get("more_body", False)
    return found.hexdigest()


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    task = asyncio.create_task(measure_lag())
    await send({"type": "lifespan.startup.complete"})
    note("serving")
    await receive()
    note("leaving")
    task.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def measure_lag() -> None:
    """Note each time in which the loop did not get round to this."""
    last = time.time()
    while True:
        await asyncio.sleep(_BREATH_S)
        now = time.time()
        if now - last - _BREATH_S > LAG_S:
            note(f"lag {last:.6f}")
        last = now


async def pid(ident: str, query: Query) -> str:
    return ""


async def nap(ident: str, query: Query) -> str:
    await asyncio.sleep(float(query["s"]))
    return ""


async def thread(ident: str, query: Query) -> str:
    return await asyncio.to_thread(current.get)


async def upload(ident: str, query: Query) -> str:
    return query["body"]


async def big(ident: str, query: Query) -> str:
    return big_text(ident)


async def trickle(ident: str, query: Query) -> str:
    return trickle_text(ident)


async def slices(ident: str, query: Query) -> str:
    """Never block for long, but nearly always."""
    end = time.monotonic() + float(query["s"])
    while time.monotonic() < end:
        time.sleep(0.25)
        await asyncio.sleep(0.005)
    return ""


def blocking(way: Callable[[float], object]) -> Callable[[str, Query], Awaitable[str]]:
    """The loop's thread is in `way` for a while, or for ever; noted before and after."""

    async def block(ident: str, query: Query) -> str:
        note(f"block {ident} {way.__name__}")
        way(float(query["s"]))
        note(f"free {ident}")
        return ""

    return block


def stall_in_sleep(seconds: float) -> None:
    time.sleep(seconds)


def stall_computing(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def stall_holding_gil(seconds: float) -> None:
    """A signal would end it before its time; it goes on then."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ctypes.PyDLL(None).usleep(int(left * 1e6))


def block_in_sleep(seconds: float) -> None:
    time.sleep(3600)


def block_computing(seconds: float) -> None:
    while True:
        pass


def block_in_c(seconds: float) -> None:
    """In C without the GIL, and again when a signal has ended it."""
    while True:
        ctypes.CDLL(None).pause()


def block_at_lock(seconds: float) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def block_in_pause(seconds: float) -> None:
    """With the GIL held; the first signal ends it, the second pass does not come to a third."""
    while True:
        ctypes.PyDLL(None).pause()


def block_in_deadlock(seconds: float) -> None:
    """With the GIL held, and no signal changes it."""
    mutex = ctypes.create_string_buffer(128)  # zeros are one that is free
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def segfault(seconds: float) -> None:
    ctypes.string_at(0)


def abort(seconds: float) -> None:
    os.abort()


def leave_with_7(seconds: float) -> None:
    os._exit(7)


def leave_with_0(seconds: float) -> None:
    os._exit(0)


async def segfault_in_thread(ident: str, query: Query) -> str:
    note(f"block {ident} segfault_in_thread")
    await asyncio.to_thread(segfault, 0.0)
    return ""


async def fork_and_exit(ident: str, query: Query) -> str:
    return await forked(lambda: os._exit(5))


async def fork_and_crash(ident: str, query: Query) -> str:
    return await forked(lambda: segfault(0.0))


async def fork_and_terminate(ident: str, query: Query) -> str:
    """The child would leave by itself: it may outlive us."""
    return await forked(lambda: time.sleep(3.0), terminate=True)


async def forked(child: Callable[[], object], terminate: bool = False) -> str:
    ready, born = os.pipe()
    child_pid = os.fork()
    if child_pid == 0:
        try:
            os.write(born, b"1")  # a signal before that is lost, whoever sends it
            child()
        finally:
            os._exit(99)
    await asyncio.to_thread(os.read, ready, 1)
    if terminate:
        os.kill(child_pid, signal.SIGTERM)
    _, status = await asyncio.to_thread(os.waitpid, child_pid, 0)
    os.close(ready)
    os.close(born)
    return ended(status)


async def run_command(ident: str, query: Query) -> str:
    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", "exit 6"])
    return f"exit {done.returncode}"


WAYS: dict[str, Callable[[str, Query], Awaitable[str]]] = {
    **{way.__name__: way for way in (
        pid, nap, thread, upload, big, trickle, slices, segfault_in_thread, fork_and_exit,
        fork_and_crash, fork_and_terminate, run_command)},
    **{way.__name__: blocking(way) for way in (
        stall_in_sleep, stall_computing, stall_holding_gil, block_in_sleep, block_computing,
        block_in_c, block_at_lock, block_in_pause, block_in_deadlock, segfault, abort,
        leave_with_7, leave_with_0)},
}
