"""What a thread waits for in Python's terms."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.gunicorn_server import until
from watchdog_worker.capture import filelocks, process, waits


def told(block: Callable[[], object], expected: str) -> str | None:
    """What a thread waits for that runs this; asked until it is as expected, or for a while."""
    thread = threading.Thread(target=block, daemon=True)
    thread.start()
    last: list[str | None] = [None]

    def look() -> bool:
        last[0] = waits.waits_for(thread.ident or 0)
        return expected in (last[0] or "")

    until(look, what=f"{expected!r}; it was {last}")
    return last[0]


class Shop:
    """Locks as they are kept in attributes."""

    def __init__(self) -> None:
        self.lock, self.done = threading.Lock(), threading.Event()

    def keep(self) -> None:
        with self.lock:
            try:
                self.done.wait()
            finally:
                pass

    def keep_by_hand(self) -> None:
        self.lock.acquire()
        try:
            self.done.wait()
        finally:
            self.lock.release()

    def want(self) -> None:
        with self.lock:
            pass

    def passed(self) -> None:
        with self.lock:
            pass
        self.done.wait()


@pytest.mark.parametrize("keep", [Shop.keep, Shop.keep_by_hand])
def test_the_thread_that_holds_a_lock(keep: Callable[[Shop], None]) -> None:
    """In its `with` block or after its `acquire()`; one that has passed by does not hold it."""
    shop = Shop()
    bystander = threading.Thread(target=shop.passed, name="bystander", daemon=True)
    bystander.start()
    holder = threading.Thread(target=keep, args=(shop,), name="holder", daemon=True)
    until(lambda: not shop.lock.locked())
    holder.start()
    until(shop.lock.locked)
    text = told(shop.want, "held by thread holder")
    assert text is not None and f"in {keep.__name__}" in text and __file__ in text
    shop.done.set()
    holder.join()


def test_who_waits_for_a_condition_does_not_hold_its_lock() -> None:
    """Who has entered the condition does."""
    lock, done = threading.Lock(), threading.Event()
    condition = threading.Condition(lock)

    def innocent() -> None:
        with lock:
            condition.wait(30)

    def keep() -> None:
        with condition:
            done.wait()

    waiter = threading.Thread(target=innocent, name="innocent", daemon=True)
    waiter.start()
    until(lambda: condition._waiters)  # type: ignore[attr-defined]
    holder = threading.Thread(target=keep, name="keeper", daemon=True)
    holder.start()
    until(lock.locked)

    def want() -> None:
        with lock:
            pass

    told(want, "held by thread keeper")
    done.set()
    holder.join(30)
    with condition:
        condition.notify_all()
    waiter.join(30)


def test_a_lock_that_another_function_releases_has_no_known_holder() -> None:
    """What happens there is not known."""
    lock, done = threading.Lock(), threading.Event()

    def acquire_and_hand_on() -> None:
        lock.acquire()
        done.wait()

    thread = threading.Thread(target=acquire_and_hand_on, name="was-there", daemon=True)
    thread.start()
    until(lock.locked)
    assert told(lambda: lock.acquire(timeout=5), "a threading.Lock") == "a threading.Lock"
    done.set()
    lock.release()
    thread.join()


def test_an_rlock_names_its_owner() -> None:
    """Itself, wherever the owner stands."""
    lock, done = threading.RLock(), threading.Event()

    def keep() -> None:
        with lock:
            done.wait()

    holder = threading.Thread(target=keep, name="r-holder", daemon=True)
    holder.start()
    told(lambda: lock.acquire(timeout=30),
         f"a threading.RLock held by thread r-holder, which stands at {__file__}")
    done.set()
    holder.join()


def test_a_lock_that_nobody_is_known_to_hold() -> None:
    """Is told without a holder."""
    lock = threading.Lock()
    keep: Any = lock.acquire
    keep()
    told(lambda: lock.acquire(timeout=5), "a threading.Lock")
    lock.release()


def test_queues_events_threads() -> None:
    """The outermost of the standard library's own frames, not the lock within."""
    event, items, full = threading.Event(), queue.Queue[int](), queue.Queue[int](1)
    full.put(1)
    other = threading.Thread(target=event.wait, name="other", daemon=True)
    other.start()
    told(lambda: items.get(timeout=30), "an item of queue.Queue")
    told(lambda: full.put(2, timeout=30), "room in queue.Queue")
    told(lambda: event.wait(30), "a threading.Event")
    told(other.join, "the end of thread other")
    event.set()
    items.put(1)
    full.get()


def test_futures() -> None:
    """Which thread works for it, if one does."""
    done = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="crew") as pool:
        future = pool.submit(done.wait)
        told(lambda: future.result(30), "a future that is worked on by thread crew_0")
        lonely = Future[int]()
        assert told(lambda: lonely.result(30), "a future") == "a future"
        done.set()
        lonely.set_result(1)


def test_a_child_process() -> None:
    """With its command."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told(child.wait, f"child process {child.pid} ({sys.executable} -c import time")
    child.kill()


def test_a_thread_that_is_gone_waits_for_nothing() -> None:
    """And is no error."""
    assert waits.waits_for(1) is None


def test_the_locked_file_among_ours(tmp_path: Any) -> None:
    """With the process that has it; nothing where nothing is locked."""
    import fcntl

    path = tmp_path / "file"
    path.touch()
    with open(path, "w") as ours:
        assert filelocks.locked(ours.fileno()) is None
        script = (f"import fcntl, time; f = open({str(path)!r}, 'w'); fcntl.flock(f, 2); "
                  "print(1, flush=True); time.sleep(60)")
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline()
        text = filelocks.locked(ours.fileno())
        assert text is not None and text.startswith(f"{path}, locked by process {child.pid} (")
        child.kill()
        child.wait()
        child.stdout.close()
        fcntl.flock(ours, fcntl.LOCK_EX)
        assert filelocks.locked(ours.fileno()) == f"{path}, locked by this very process"
        assert filelocks.locked_database() is None


def test_a_locked_database_is_told_and_no_other_locked_file(tmp_path: Any) -> None:
    """SQLite locks bytes of its own; where two are locked, none is named."""
    import fcntl
    import sqlite3

    with open(tmp_path / "leader.lock", "w") as leader:
        fcntl.flock(leader, fcntl.LOCK_EX)
        first = sqlite3.connect(tmp_path / "shop.sqlite")
        first.execute("create table t (x)")
        assert filelocks.locked_database() is None
        first.execute("begin exclusive")
        assert filelocks.locked_database() == (
            f"{tmp_path / 'shop.sqlite'}, locked by this very process")
        second = sqlite3.connect(tmp_path / "second.sqlite")
        second.execute("begin exclusive")
        assert filelocks.locked_database() is None
        first.close()
        second.close()


@pytest.mark.parametrize("command, shown", [
    ("run --password=hunter2 -v", "run --password=<masked> -v"),
    ("psql postgres://me:hunter2@db/shop", "psql postgres://me:<masked>@db/shop"),
    ("x --api-key abc --y", "x --api-key <masked> --y"),
    ("sleep 600", "sleep 600"),
])
def test_a_command_line_keeps_its_secrets(command: str, shown: str) -> None:
    """What looks like one."""
    assert process.masked(command) == shown
