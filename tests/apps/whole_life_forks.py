"""An ASGI application that has children, in every way there is; each does what it is told.

`/fork?WAY ACT` answers with the child's pid. The child notes what it finds itself to be, and then
does one of `ACTS`; its end is noted by the parent. In `/fork_out?WAY` the child of a plain fork
comes out of the request itself, in one of `WAYS_OUT`. All else is as in `whole_life`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.lifecycle.notes import note
from whole_life import answer, app as rest  # type: ignore[import-not-found]

MODULE = "whole_life_forks"


class Child(NamedTuple):
    """One that has been started."""

    pid: int
    wait: Callable[[], int]
    """Blocks until it has ended: its exit code, or the signal's number with a minus."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope.get("path") == "/fork_out":
        child = _forked_out(unquote(scope["query_string"].decode()))
    elif scope.get("path") == "/fork":
        way, _, act = unquote(scope["query_string"].decode()).rpartition(" ")
        child = await WAYS[way](act)
    else:
        await rest(scope, receive, send)
        return
    threading.Thread(target=_see_off, args=(child,), daemon=True).start()
    await answer(send, str(child.pid))


def _see_off(child: Child) -> None:
    note(f"ended {child.wait()}", child.pid)


def found() -> dict[str, Any]:
    """What a process finds itself to be."""
    recorders = os.environ["WATCHDOG_RUN_DIR"]
    links = [_link(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return {
        "mask": sorted(signal.Signals(number).name
                       for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": [thread.name for thread in threading.enumerate()
                    if thread.name.startswith("watchdog")],
        "native_threads": len(os.listdir("/proc/self/task")),
        "recorders": len([link for link in links if link.startswith(recorders)]),
    }


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # the list of them was one of them
        return ""


def leave() -> None:
    """An exit with all that Python does on the way."""
    if multiprocessing.parent_process() is None:
        ctypes.pythonapi.Py_Exit(0)


def sleep() -> None:
    time.sleep(3600)


def crash() -> None:
    ctypes.string_at(0)


ACTS: dict[str, Callable[[], None]] = {act.__name__: act for act in (leave, sleep, crash)}


def child(act: str) -> None:
    """All that it does."""
    note(f"child {json.dumps(found())}")
    ACTS[act]()


async def fork(act: str) -> Child:
    return _forked(act)


async def fork_in_thread(act: str) -> Child:
    return await asyncio.to_thread(_forked, act)


def _forked(act: str) -> Child:
    pid = os.fork()
    if pid == 0:
        try:
            child(act)
        finally:
            os._exit(99)  # it must not go on as if it were its parent
    return Child(pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _forked_out(way: str) -> Child:
    """As who has never heard of `os._exit` does it."""
    pid = os.fork()
    if pid == 0:
        note(f"child {json.dumps(found())}")
        raise WAYS_OUT[way]
    return Child(pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


WAYS_OUT = {"sys.exit(3)": SystemExit(3), "an error": LookupError("in a child")}


def _multiprocessing(method: str) -> Callable[[str], Any]:
    async def start(act: str) -> Child:
        process: Any = multiprocessing.get_context(method).Process(  # type: ignore[attr-defined]
            target=child, args=(act,))
        process.start()

        def wait() -> int:
            process.join()
            return int(process.exitcode)

        return Child(process.pid, wait)

    return start


async def run(act: str) -> Child:
    process = subprocess.Popen([sys.executable, "-m", MODULE, act])
    return Child(process.pid, process.wait)


async def run_by_loop(act: str) -> Child:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", MODULE, act)
    loop = asyncio.get_running_loop()
    return Child(process.pid, lambda: asyncio.run_coroutine_threadsafe(
        process.wait(), loop).result())


WAYS: dict[str, Callable[[str], Any]] = {
    "os.fork": fork, "os.fork in a thread": fork_in_thread,
    **{f"multiprocessing {method}": _multiprocessing(method)
       for method in ("fork", "spawn", "forkserver")},
    "subprocess": run, "asyncio subprocess": run_by_loop}

if __name__ == "__main__":
    child(sys.argv[1])
