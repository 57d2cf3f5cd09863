"""What holds up a boot or a drain, and the first line that tells it."""

from __future__ import annotations

import pytest

from watchdog_worker import report
from watchdog_worker.diagnosis import stage as room
from watchdog_worker.diagnosis.stage import Held
from watchdog_worker.model import (
    Effort,
    Frame,
    Request,
    Snapshot,
    Stage,
    Stall,
    TaskGroup,
    Tasks,
    ThreadStack,
)
from watchdog_worker.render.headline import headline

SERVE = Frame("/lib/uvicorn/server.py", 90, "serve")
DRAINS = Frame("/lib/uvicorn/server.py", 290, "_wait_tasks_to_complete")
ON_STARTUP = Frame("/lib/uvicorn/lifespan/on.py", 40, "startup")
ON_SHUTDOWN = Frame("/lib/uvicorn/lifespan/on.py", 60, "shutdown")
LIFESPAN = Frame("/lib/uvicorn/lifespan/on.py", 86, "main")
CONNECT = Frame("/srv/shop/db.py", 12, "connect", "await pool.open()", app=True)
SLEEPS = Frame("/lib/asyncio/tasks.py", 649, "sleep")
ALIVE = Stall(0.1, "shutdown", 30.0, silent=False)
BOOT, DRAIN = Stage("startup", 30.0), Stage("shutdown", 15.0, 30.0)


def chains(*found: tuple[Frame, ...]) -> Snapshot:
    groups = tuple(TaskGroup(1, (f"Task-{at}",), chain) for at, chain in enumerate(found, 1))
    return Snapshot(tasks=Tasks(len(groups), groups))


def thread(name: str, *frames: Frame, holds: bool = True, loop: bool = False) -> ThreadStack:
    return ThreadStack(7, name, loop, frames, holds_exit=holds or None)


@pytest.mark.parametrize("serving, holder", [
    ((SERVE, ON_STARTUP), "lifespan startup"), ((SERVE, ON_SHUTDOWN), "lifespan shutdown")])
@pytest.mark.parametrize("stage", [BOOT, DRAIN])
def test_the_lifespan_is_told_by_its_own_task(
    serving: tuple[Frame, ...], holder: str, stage: Stage
) -> None:
    """The server's task waits for it, and the lifespan's has the line; a worker can be asked to
    leave while it still starts."""
    snapshot = chains(serving, (LIFESPAN, CONNECT, SLEEPS))
    found = room.held(stage, snapshot, ALIVE)
    assert found == Held(holder, CONNECT)
    told = room.explain(stage, snapshot, found)
    assert told is not None and told.culprit == CONNECT and told.cause is None


def test_a_lifespan_in_nobodys_code_is_told_by_its_innermost_line() -> None:
    """A framework's own."""
    snapshot = chains((SERVE, ON_STARTUP), (LIFESPAN, SLEEPS))
    assert room.held(BOOT, snapshot, ALIVE) == Held("lifespan startup", SLEEPS)


def test_requests_hold_a_drain() -> None:
    """The oldest, with where it waits."""
    request = Request(3, "http", "/stream", 40.0, False, "GET", slow=True, waits_at=CONNECT)
    snapshot = chains((SERVE, DRAINS))._replace(requests=(request,), requests_total=2)
    assert room.held(DRAIN, snapshot, ALIVE) == Held("requests", CONNECT)


def test_connections_hold_it_where_there_is_no_request() -> None:
    """A client that does not take what it was sent."""
    assert room.held(DRAIN, chains((SERVE, DRAINS)), ALIVE) == Held("connections")


def test_what_is_left_when_the_server_has_ended() -> None:
    """Tasks first, then threads that are no daemons; asyncio's own waiter is not to blame."""
    waiter = thread("Thread-1 (_do_shutdown)", SLEEPS)
    works = thread("pool_0", CONNECT)
    snapshot = chains((CONNECT, SLEEPS))._replace(threads=(waiter, works))
    assert room.held(DRAIN, snapshot, ALIVE) == Held("task", CONNECT, "Task-1")
    snapshot = Snapshot(threads=(waiter, thread("idle", SLEEPS), works))
    assert room.held(DRAIN, snapshot, ALIVE) == Held("thread", CONNECT, "pool_0")
    assert room.held(DRAIN, Snapshot(threads=(waiter, thread("d", CONNECT, holds=False))), ALIVE
                     ) == Held(None)


@pytest.mark.parametrize("outer, holder", [
    (Frame("/lib/gunicorn/workers/base.py", 136, "load_wsgi"), "import"),
    (Frame("/lib/gunicorn/workers/base.py", 140, "init_process"), "hook")])
def test_before_the_loop_runs_the_stack_tells(outer: Frame, holder: str) -> None:
    """An import, or one of gunicorn's hooks; the advice is not that for a loop."""
    own = thread("MainThread", outer, CONNECT._replace(calls="time.sleep"), loop=True, holds=False)
    snapshot, stall = Snapshot(threads=(own,)), Stall(30.0, "startup", 30.0, running=False)
    found = room.held(BOOT, snapshot, stall)
    assert found.holder == holder
    told = room.explain(BOOT, snapshot, found)
    assert told is not None and told.culprit is not None and told.culprit.line == 12
    assert "asyncio" not in (told.remedy or "")


def test_where_nothing_is_known_nothing_is_said() -> None:
    """Rather than a guess."""
    assert room.held(BOOT, Snapshot(), ALIVE) == Held(None)
    assert room.explain(BOOT, Snapshot(), Held(None)) is None


@pytest.mark.parametrize("stage, snapshot, line", [
    (BOOT, chains((SERVE, ON_STARTUP), (LIFESPAN, CONNECT)),
     "watchdog slow startup: 30.0 s since the fork, waiting for lifespan startup at "
     "/srv/shop/db.py:12 in connect: await pool.open()"),
    (BOOT._replace(limit_s=30.0, ended=True), chains((SERVE, ON_STARTUP), (LIFESPAN,)),
     "watchdog slow startup: 30.0 s since the fork, waiting for lifespan startup at "
     "/lib/uvicorn/lifespan/on.py:86 in main; ended by watchdog_startup_timeout = 30"),
    (BOOT, Snapshot(), "watchdog slow startup: 30.0 s since the fork"),
    (DRAIN._replace(connections=2), chains((SERVE, DRAINS)),
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for 2 connections "
     "to close"),
    (DRAIN, chains((SERVE, DRAINS))._replace(requests_total=3, requests=(
        Request(3, "http", "/stream\n", 40.0, False, "GET", slow=True, waits_at=CONNECT),)),
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for GET "
     "/stream%0A, 40.0 s at /srv/shop/db.py:12 in connect: await pool.open(); 2 more"),
    (DRAIN, Snapshot(threads=(thread("pool_0", CONNECT),)),
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for thread pool_0 "
     "at /srv/shop/db.py:12 in connect: await pool.open()"),
])
def test_the_first_line(stage: Stage, snapshot: Snapshot, line: str) -> None:
    """What a person reads first."""
    found = room.held(stage, snapshot, ALIVE)
    told = room.explain(stage, snapshot, found)
    stage = stage._replace(holder=found.holder, holder_name=found.name)
    assert headline(report.SLOW_STARTUP, snapshot, ALIVE, told, stage=stage) == line


STARVED = Effort(10.0, silent_s=10.0, cpu_s=0.1, process_cpu_s=0.2, late_s=0.5)


@pytest.mark.parametrize("stage, outer, running, line", [
    (BOOT, Frame("/lib/gunicorn/workers/base.py", 136, "load_wsgi"), False,
     "watchdog slow startup: 30.0 s since the fork, importing: the process does not get to run"),
    (DRAIN, SERVE, True,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, loop silent: the process "
     "does not get to run")])
def test_where_the_process_does_not_get_to_run_no_line_is_blamed(
    stage: Stage, outer: Frame, running: bool, line: str
) -> None:
    """Its thread is ready to run."""
    own = thread("MainThread", outer, CONNECT, loop=True, holds=False)._replace(state="R (running)")
    snapshot = Snapshot(threads=(own,), effort=STARVED)
    stall = Stall(10.0, "startup", 30.0, running=running)
    found = room.held(stage, snapshot, stall)
    told = room.explain(stage, snapshot, found)
    assert told is not None and (told.cause, told.culprit) == ("suspended", None)
    assert "throttled" in (told.summary or "")
    stage = stage._replace(holder=found.holder)
    assert headline(report.SLOW_STARTUP, snapshot, stall, told, stage=stage) == line


def test_what_a_boot_was_paused_for_is_said() -> None:
    """It is in the seconds since the fork, and not in what is held against the boot."""
    told = headline(report.SLOW_STARTUP, Snapshot(), ALIVE, None,
                    stage=BOOT._replace(paused_s=20.04))
    assert told == "watchdog slow startup: 30.0 s since the fork (20.0 s of it paused)"


def test_a_pause_is_no_time_that_the_loop_was_blocked() -> None:
    """A drain whose loop is blocked after it, too."""
    own = thread("MainThread", SERVE, CONNECT._replace(calls="time.sleep"), loop=True, holds=False)
    snapshot = Snapshot(threads=(own,), effort=Effort(1.0, 0.0, 0.0, silent_s=1.5))
    stall = Stall(21.5, "shutdown", 30.0)
    found = room.held(DRAIN, snapshot, stall)
    told = headline(report.SLOW_SHUTDOWN, snapshot, stall, room.explain(DRAIN, snapshot, found),
                    stage=DRAIN._replace(holder=found.holder))
    assert "loop blocked 1.5 s by time.sleep" in told


IMPORTS = Frame("<frozen importlib._bootstrap>", 241, "_find_and_load",
                module="importlib._bootstrap")
MODULE = Frame("/srv/shop/main.py", 3, "<module>", "import shop.db", app=True)
LOADS = Frame("/lib/gunicorn/workers/base.py", 136, "load_wsgi", module="gunicorn.workers.base")
HELD = Effort(3.0, 2.9, 2.9, gil_wait_s=2.8, silent_s=3.0, late_s=2.8)


@pytest.mark.parametrize("innermost, effort, cause", [
    ((CONNECT._replace(calls="time.sleep"),), Effort(3.0, 0.0, 0.0, silent_s=3.0), "sleep"),
    ((CONNECT._replace(calls="sum"),), HELD, "gil_held"),
    ((CONNECT, IMPORTS, Frame("/lib/numpy/__init__.py", 9, "<module>", module="numpy")), HELD,
     "import")], ids=["sleeps", "holds the GIL", "imports a library"])
def test_that_a_boot_imports_is_no_cause(
    innermost: tuple[Frame, ...], effort: Effort, cause: str
) -> None:
    """Modules of the application import each other; what they are at then is what takes long."""
    own = thread("MainThread", LOADS, IMPORTS, MODULE, IMPORTS, *innermost, loop=True, holds=False)
    snapshot, stall = Snapshot(threads=(own,), effort=effort), Stall(3.0, "startup", 30.0,
                                                                     running=False)
    told = room.explain(BOOT, snapshot, room.held(BOOT, snapshot, stall))
    assert told is not None and told.culprit is not None
    assert (told.cause, told.culprit.function) == (cause, "connect")
    assert ("kept the GIL" in (told.summary or "")) is (cause == "gil_held")
