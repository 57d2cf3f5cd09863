"""An ASGI application whose requests, lifespan and habits are awkward on purpose."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs

STARTUP_S = float(os.environ.get("LIFE_STARTUP_S", "0"))
SHUTDOWN_S = float(os.environ.get("LIFE_SHUTDOWN_S", "0"))
SHUTDOWN_WAIT_S = float(os.environ.get("LIFE_SHUTDOWN_WAIT_S", "0"))


class Hostile:
    """Everything that can be asked of it goes wrong, or would take for ever."""

    def __repr__(self) -> str:
        time.sleep(3600)
        raise RuntimeError

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        time.sleep(3600)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    query = {key: value[0] for key, value in parse_qs(scope["query_string"].decode()).items()}
    answer = await globals()["on_" + (scope["path"].strip("/") or "pid")](query, send)
    if answer is not None:
        await start(send)
        await send({"type": "http.response.body", "body": str(answer).encode()})


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain")]})


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    time.sleep(STARTUP_S)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    time.sleep(SHUTDOWN_S)
    await asyncio.sleep(SHUTDOWN_WAIT_S)
    await send({"type": "lifespan.shutdown.complete"})


async def on_pid(query: dict[str, str], send: Any) -> int:
    return os.getpid()


async def on_block(query: dict[str, str], send: Any) -> int:
    time.sleep(float(query["s"]))
    return os.getpid()


async def on_hold_gil(query: dict[str, str], send: Any) -> int:
    """Compute in native code that never lets go of the GIL."""
    return sum(range(int(query["n"])))


async def on_slices(query: dict[str, str], send: Any) -> int:
    """Wait with others for the same moment, then block for a while, and again."""
    for _ in range(int(query["n"])):
        await asyncio.sleep(1.0 - time.time() % 1.0)
        time.sleep(float(query["s"]))
    return os.getpid()


async def on_eager(query: dict[str, str], send: Any) -> int:
    """Never let the loop turn, while one task after the other is the current one."""
    factory: Any = getattr(asyncio, "eager_task_factory")
    asyncio.get_running_loop().set_task_factory(factory)

    async def slow() -> None:
        time.sleep(0.07)

    while True:
        await asyncio.gather(slow(), slow())


async def on_stream(query: dict[str, str], send: Any) -> None:
    """A byte every tenth of a second, for so long."""
    await start(send)
    for _ in range(int(float(query["s"]) * 10)):
        await send({"type": "http.response.body", "body": b".", "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"end"})


async def on_cancel_all(query: dict[str, str], send: Any) -> int:
    """Cancel every task but this one and the server's own, which a worker cannot do without."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    others = [task for task in tasks if "_serve" not in str(task.get_coro())]
    for task in others:
        task.cancel()
    await asyncio.sleep(0)
    return len(others)


async def on_hold_log_lock(query: dict[str, str], send: Any) -> int:
    """Block with the locks of the log's handlers held, as a thread does that is stuck in one."""
    handlers = logging.getLogger("gunicorn.error").handlers
    for handler in handlers:
        handler.acquire()
    time.sleep(float(query["s"]))
    for handler in handlers:
        handler.release()
    return 1


async def on_flood_log(query: dict[str, str], send: Any) -> int:
    """Log until the pipe behind the log is full, and block there; or have a thread do so, and
    block elsewhere."""
    def flood() -> None:
        for at in range(int(query["lines"])):
            logging.getLogger("gunicorn.error").info("flood %d %s", at, "x" * 1000)

    if "thread" in query:
        threading.Thread(target=flood, daemon=True).start()
        time.sleep(3600)
    flood()
    return 1


async def on_hostile(query: dict[str, str], send: Any) -> int:
    """Block with objects about that nobody may touch."""
    strange = Hostile()
    password = "hunter2"
    huge = "x" * 100_000_000
    number = 10 ** 20_000
    waiting = asyncio.create_task(_never(strange), name="evil\n[CRITICAL] forged\x1b[31m")
    await asyncio.sleep(0)
    _deep(10_000, float(query["s"]))
    waiting.cancel()
    return len(huge) + len(password) + number.bit_length()


async def _never(strange: Hostile) -> None:
    await asyncio.sleep(3600)


def _deep(depth: int, seconds: float) -> None:
    if depth:
        _deep(depth - 1, seconds)
    else:
        time.sleep(seconds)


sys.setrecursionlimit(20_000)


async def on_vanish(query: dict[str, str], send: Any) -> int:
    """Block in code whose source file is gone by then."""
    path = os.path.join(os.environ["STALL_FOLDER"], "vanishing.py")
    with open(path, "w") as file:
        file.write("import time\ndef block(seconds):\n    time.sleep(seconds)\n")
    import vanishing  # type: ignore[import-not-found]
    os.unlink(path)
    vanishing.block(float(query["s"]))
    return 1


async def on_threads(query: dict[str, str], send: Any) -> str:
    return ",".join(sorted(thread.name for thread in threading.enumerate()))


async def on_child_mask(query: dict[str, str], send: Any) -> str:
    """The signal mask and the ignored signals that a child process starts with."""
    words = ("import re; status = open('/proc/self/status').read();"
             r"print(re.findall(r'Sig(?:Blk|Ign):\s*(\w+)', status))")
    return subprocess.run([sys.executable, "-c", words], capture_output=True, text=True).stdout


async def on_fork_and_signal(query: dict[str, str], send: Any) -> str:
    """What the dump signal does to a child that the application forks."""
    ready, born = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(born, b"1")
        time.sleep(20)
        os._exit(0)
    os.read(ready, 1)
    os.kill(pid, signal.SIGUSR2)
    _, status = os.waitpid(pid, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "lived"


async def on_crowd(query: dict[str, str], send: Any) -> int:
    """Block beside so many threads that compute without pause."""
    def spin() -> None:
        while True:
            pass

    for _ in range(int(query["n"])):
        threading.Thread(target=spin, daemon=True).start()
    time.sleep(60)
    return 1
