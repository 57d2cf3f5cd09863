"""An ASGI application that blocks its loop on purpose, each path in another way."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any

SECONDS = float(os.environ.get("STALL_SECONDS", "60"))
_held = threading.Lock()


def block_sleep() -> None:
    time.sleep(SECONDS)


def block_lock() -> None:
    _held.acquire()
    _held.acquire(timeout=SECONDS)


def block_recv() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_connection(silent.getsockname()) as client:
            client.settimeout(SECONDS)
            client.recv(1)


def block_subprocess() -> None:
    subprocess.run([sys.executable, "-c", f"import time; time.sleep({SECONDS})"])


def block_sqlite() -> None:
    path = os.path.join(os.environ["STALL_FOLDER"], "locked.sqlite")
    first = sqlite3.connect(path)
    first.execute("create table if not exists t (x)")
    first.execute("begin exclusive")
    second = sqlite3.connect(path, timeout=SECONDS)
    second.execute("insert into t values (1)")


def block_future() -> None:
    loop = asyncio.get_running_loop()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(SECONDS)


def block_cpu() -> None:
    end = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < end:
        count += 1


def block_queue() -> None:
    queue.Queue[int]().get(timeout=SECONDS)


async def innocent() -> None:
    await asyncio.sleep(3600)


async def respond(send: Any, body: bytes = b"ok\n", status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    path = scope["path"].strip("/")
    if path == "innocent":
        await innocent()
    elif path == "short":
        time.sleep(float(scope["query_string"] or b"0.95"))
    elif path:
        _note_deadline()
        globals()[f"block_{path}"]()
    await respond(send, str(os.getpid()).encode())


def _note_deadline() -> None:
    """Write down when the arbiter will kill, from what it compares itself (time of day)."""
    worker = getattr(sys.modules.get("__config__"), "WORKER", None)
    if worker is not None:
        left = worker.tmp.last_update() + worker.cfg.timeout - time.monotonic()
        with open(os.path.join(os.environ["STALL_FOLDER"], "deadline"), "w") as file:
            file.write(repr(time.time() + left))


async def _lifespan(receive: Any, send: Any) -> None:
    threading.Thread(target=_idle, name="idle-beside", daemon=True).start()
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            time.sleep(float(os.environ.get("STALL_STARTUP", "0")))
        else:
            time.sleep(float(os.environ.get("STALL_SHUTDOWN", "0")))
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _idle() -> None:
    threading.Event().wait()
