"""An ASGI application that is awkward at any moment of its life, as the environment tells it.

`LIFE_IMPORT`, `LIFE_STARTUP`, `LIFE_SHUTDOWN`, `LIFE_EXIT` each name a function below that is
called at that moment; `LIFE_S` is how long what ends takes; with `LIFE_ONCE` only the first process
does it, and those after it are well. A request's path names one, too. What happens is noted.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.lifecycle.notes import note

FOLDER = Path(os.environ["STALL_FOLDER"])
SECONDS = float(os.environ.get("LIFE_S", "3600"))


def told(moment: str) -> Callable[[], Any]:
    """What the environment tells this process to do at that moment."""
    way = AT.get(os.environ.get(f"LIFE_{moment}", ""))
    if way is None or ("LIFE_ONCE" in os.environ and not _first(moment)):
        return lambda: None
    note(way.__name__)
    return way


def _first(moment: str) -> bool:
    try:
        os.close(os.open(FOLDER / f"once-{moment}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def import_blocks() -> None:
    time.sleep(SECONDS)


def import_blocks_in_native_code() -> None:
    """The GIL is given up, and no signal handler gets a turn."""
    LIBC.sleep(int(SECONDS))


def import_hangs_in_native_code() -> None:
    deadlock(LIBC)


def import_computes() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pass


def import_holds_gil() -> None:
    """In native code, for some seconds, whatever `SECONDS` says."""
    sum(range(2 * 10 ** 8))


def import_runs_a_loop() -> None:
    asyncio.run(startup_awaits())


def import_raises() -> None:
    raise LookupError("the import has failed")


def startup_blocks() -> None:
    time.sleep(SECONDS)


async def startup_awaits() -> None:
    await asyncio.sleep(SECONDS)


async def startup_waits_for_a_child() -> None:
    await asyncio.wait([asyncio.create_task(startup_awaits())])


async def startup_waits_for_a_thread() -> None:
    await asyncio.to_thread(startup_blocks)


async def startup_computes_in_slices() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        a_slice()
        await asyncio.sleep(0)


def a_slice() -> None:
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass


def startup_raises() -> None:
    raise LookupError("the startup has failed")


def shutdown_blocks() -> None:
    time.sleep(SECONDS)


async def shutdown_awaits() -> None:
    await asyncio.sleep(SECONDS)


def exit_blocks() -> None:
    time.sleep(SECONDS)


def deadlock(library: Any) -> None:
    """Wait for ever in C, whatever signals come: `lock` does not return to let handlers run."""
    mutex = ctypes.create_string_buffer(256)  # all zeros: unlocked; larger than any platform's
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


LIBC, LIBC_WITH_GIL = ctypes.CDLL(None), ctypes.PyDLL(None)
AT: dict[str, Callable[[], Any]] = {way.__name__: way for way in (
    import_blocks, import_blocks_in_native_code, import_hangs_in_native_code, import_computes,
    import_holds_gil, import_runs_a_loop, import_raises, startup_blocks, startup_awaits,
    startup_waits_for_a_child, startup_waits_for_a_thread, startup_computes_in_slices,
    startup_raises, shutdown_blocks, shutdown_awaits, exit_blocks)}

note("import")
told("IMPORT")()
if "LIFE_EXIT" in os.environ:
    atexit.register(lambda: told("EXIT")())
note("imported")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        way = ON[scope["path"].strip("/") or "pid"]
        if way is not pid:
            note(f"in {scope['path']}")
        try:
            await way(send, scope["query_string"].decode())
        except asyncio.CancelledError:
            note(f"cancelled {scope['path']}")
            raise


async def lifespan(receive: Any, send: Any) -> None:
    """As Starlette does it: what fails is told to the server, and raised."""
    await receive()
    note("lifespan startup")
    try:
        await _at("STARTUP")
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.startup.complete"})
    note("lifespan started")
    await receive()
    note("lifespan shutdown")
    await _at("SHUTDOWN")
    note("lifespan ended")
    await send({"type": "lifespan.shutdown.complete"})


async def _at(moment: str) -> None:
    waiting = told(moment)()
    if waiting is not None:
        await waiting


async def websocket(receive: Any, send: Any) -> None:
    """Says who it is, and then waits for what the client says."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": str(os.getpid())})
    note("in websocket")
    while (await receive())["type"] != "websocket.disconnect":
        pass
    note("websocket left")


async def pid(send: Any, query: str) -> None:
    await answer(send, str(os.getpid()))


async def answer(send: Any, words: str) -> None:
    await start(send)
    await send({"type": "http.response.body", "body": words.encode()})


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain")]})


async def begin(send: Any) -> None:
    """The beginning of a stream: whose it is."""
    await start(send)
    await part(send, f"pid {os.getpid()}\n")


async def part(send: Any, words: str) -> None:
    await send({"type": "http.response.body", "body": words.encode(), "more_body": True})


async def stream(send: Any, query: str) -> None:
    """A dot every tenth of a second, for so many seconds; for ever without a number."""
    await begin(send)
    end = time.monotonic() + float(query or "inf")
    while time.monotonic() < end:
        await part(send, ".")
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"end"})


async def ignores_cancellation(send: Any, query: str) -> None:
    """A stream that goes on however often it is told to stop."""
    await begin(send)
    while True:
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            note("cancelled in vain")


async def blocks_in_drain(send: Any, query: str) -> None:
    """A stream that blocks the loop as soon as there is a file named `go`."""
    await begin(send)
    while not (FOLDER / "go").exists():
        await asyncio.sleep(0.05)
    time.sleep(SECONDS)


async def large(send: Any, query: str) -> None:
    """More than a connection holds whose client does not read."""
    await start(send)
    await send({"type": "http.response.body", "body": bytes(50_000_000)})
    note("sent /large")


async def wait(send: Any, query: str) -> None:
    """An innocent request that is not answered soon."""
    await asyncio.sleep(3600)


async def thread(send: Any, query: str) -> None:
    """Start a thread that the interpreter waits for as it ends."""
    threading.Thread(target=holds_the_exit, name="holder").start()
    await answer(send, str(os.getpid()))


def holds_the_exit() -> None:
    threading.Event().wait(SECONDS)
    note("thread done")


async def sleeps(send: Any, query: str) -> None:
    time.sleep(SECONDS)


async def sleeps_beside_a_thread(send: Any, query: str) -> None:
    """A thread that computes runs on."""
    threading.Thread(target=computes, daemon=True).start()
    time.sleep(SECONDS)


def computes() -> None:
    while True:
        goes_deep(random.randrange(60))


def goes_deep(levels: int) -> int:
    return goes_deep(levels - 1) + 1 if levels else sum(each for each in (1, 2, 3))


async def waits_in_c(send: Any, query: str) -> None:
    """No handler of Python's ever gets its turn in this thread again; others run."""
    deadlock(LIBC)


async def holds_gil(send: Any, query: str) -> None:
    """Nothing of Python's runs again."""
    deadlock(LIBC_WITH_GIL)


async def computes_in_c(send: Any, query: str) -> None:
    """The same, with the processor busy."""
    sum(range(10 ** 13))


async def loops(send: Any, query: str) -> None:
    while True:
        pass


async def swallows(send: Any, query: str) -> None:
    """A block that nothing raised into it gets out of; then an answer, as if nothing had been."""
    try:
        time.sleep(SECONDS)
    except BaseException as error:
        note(f"swallowed {type(error).__name__}")
    await answer(send, "as if nothing had been")


async def log_held(send: Any, query: str) -> None:
    """Block, while another thread is stuck in the log with its locks held."""
    held = threading.Event()
    threading.Thread(target=_hold_log, args=(held,), daemon=True).start()
    held.wait()
    time.sleep(SECONDS)


async def log_held_in_c(send: Any, query: str) -> None:
    """Be stuck in the log oneself, where no handler of Python's gets its turn."""
    for handler in logging.getLogger("gunicorn.error").handlers:
        handler.acquire()
    deadlock(LIBC)


def _hold_log(held: threading.Event) -> None:
    for handler in logging.getLogger("gunicorn.error").handlers:
        handler.acquire()
    held.set()
    time.sleep(3600)


ON: dict[str, Callable[[Any, str], Awaitable[None]]] = {way.__name__: way for way in (
    pid, stream, large, ignores_cancellation, blocks_in_drain, wait, thread, sleeps,
    sleeps_beside_a_thread, waits_in_c, holds_gil, computes_in_c, loops, swallows, log_held,
    log_held_in_c)}
