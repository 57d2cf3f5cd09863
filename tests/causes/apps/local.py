"""Blocks without a network: sleeps, files, programs, threads, logs."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import functools
import importlib
import logging
import multiprocessing
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from time import sleep as nap
from typing import Any

FOLDER = os.environ["FOLDER"]
FIFO = os.path.join(FOLDER, "orders.fifo")
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
SHELL = f"exec {sys.executable} -c 'import time; time.sleep(600)'"


def time_sleep() -> None:
    time.sleep(600)


def imported_sleep() -> None:
    nap(600)


def library_sleep() -> None:
    import thinlib
    thinlib.patiently(lambda: None)


def executed_sleep() -> None:
    exec("import time\ntime.sleep(600)")


def foreign_sleep() -> None:
    ctypes.CDLL(None).sleep(600)


async def busy_sleep() -> None:
    async def short() -> None:
        time.sleep(0.03)

    await asyncio.gather(*(short() for _ in range(400)))


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)
    return around


@traced
@traced
@traced
@traced
@traced
@traced
@traced
@traced
def charged() -> None:
    time.sleep(600)


@traced
@traced
def deep_decorators(depth: int = 25) -> None:
    if depth:
        max([0], key=lambda _: deep_decorators(depth - 1) or 0)
    else:
        charged()


def fifo_open() -> None:
    os.mkfifo(FIFO)
    with open(FIFO) as file:
        file.read()


def fifo_read() -> None:
    os.mkfifo(FIFO)
    fd = os.open(FIFO, os.O_RDWR)
    with open(fd) as file:
        file.read()


def fifo_lines() -> None:
    os.mkfifo(FIFO)
    with open(os.open(FIFO, os.O_RDWR)) as file:
        for line in file:
            print(line)


def fifo_pathlib() -> None:
    os.mkfifo(FIFO)
    pathlib.Path(FIFO).read_text()


def flock() -> None:
    path = os.path.join(FOLDER, "lockfile")
    first, second = open(path, "w"), open(path, "w")
    fcntl.flock(first, fcntl.LOCK_EX)
    fcntl.flock(second, fcntl.LOCK_EX)


def subprocess_run() -> None:
    subprocess.run(SLEEPER)


def subprocess_output() -> None:
    subprocess.check_output(SLEEPER, text=True)


def subprocess_timeout() -> None:
    subprocess.Popen(SLEEPER).wait(timeout=600)


def subprocess_read() -> None:
    child = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()


def os_system() -> None:
    os.system(SHELL)


def os_popen() -> None:
    os.popen(SHELL).read()


def process_join() -> None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    process.join()


def multiprocessing_queue() -> None:
    multiprocessing.get_context("fork").Queue().get()


class Cache:
    """Guarded by a lock that another thread keeps."""

    def __init__(self) -> None:
        self.lock, self.taken = threading.Lock(), threading.Event()

    def refresh(self) -> None:
        with self.lock:
            self.taken.set()
            time.sleep(600)

    def read(self) -> None:
        with self.lock:
            pass


def lock_with() -> None:
    cache = Cache()
    threading.Thread(target=cache.refresh, name="refresher", daemon=True).start()
    cache.taken.wait()
    cache.read()


def lock_twice() -> None:
    lock = threading.Lock()
    with lock:
        with lock:  # again
            pass


def rlock() -> None:
    lock, taken = threading.RLock(), threading.Event()

    def keep() -> None:
        with lock:
            taken.set()
            time.sleep(600)

    threading.Thread(target=keep, name="keeper", daemon=True).start()
    taken.wait()
    lock.acquire(timeout=600)


def queue_get() -> None:
    queue.Queue[int]().get()


def simple_queue() -> None:
    queue.SimpleQueue[int]().get(timeout=600)


def event_wait() -> None:
    threading.Event().wait(600)


def thread_join() -> None:
    thread = threading.Thread(target=time.sleep, args=(600,), name="importer", daemon=True)
    thread.start()
    thread.join()


def future_of_loop() -> None:
    loop = asyncio.get_running_loop()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()


EXECUTOR = ThreadPoolExecutor(1, thread_name_prefix="jobs")


def future_of_thread() -> None:
    EXECUTOR.submit(time.sleep, 600).result()


def futures_wait() -> None:
    wait([EXECUTOR.submit(time.sleep, 600)])


def slow_import() -> None:
    import slowlib  # noqa: F401


def computing_import() -> None:
    import hardlib  # noqa: F401


def waits_for_import() -> None:
    def other() -> None:
        importlib.import_module("slowlib")

    threading.Thread(target=other, name="first-importer", daemon=True).start()
    time.sleep(0.5)
    import slowlib  # noqa: F401


def full_pipe() -> Any:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    return open(write, "w")


def logging_pipe() -> None:
    log = logging.getLogger("shop")
    log.addHandler(logging.StreamHandler(full_pipe()))
    log.error("an order: %s", 1)


def print_pipe() -> None:
    pipe = full_pipe()
    os.dup2(pipe.fileno(), 1)
    print("an order" * 10_000, flush=True)
