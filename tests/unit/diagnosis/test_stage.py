"""What holds up a boot or a drain, and the first line that tells it."""

from __future__ import annotations

import pytest

from watchdog_worker import phases, report
from watchdog_worker.diagnosis import stage as room, stagewords
from watchdog_worker.diagnosis.stage import Held
from watchdog_worker.model import (
    Connection,
    Diagnosis,
    Frame,
    KernelWait,
    Progress,
    Request,
    Snapshot,
    Stage,
    Stall,
    TaskGroup,
    Tasks,
    ThreadStack,
    Waiting,
)
from watchdog_worker.render.headline import headline

LIFESPAN = Frame("/lib/uvicorn/lifespan/on.py", 86, "main")
CONNECT = Frame("/srv/shop/db.py", 12, "connect", "await pool.open()", app=True)
SLEEPS = Frame("/lib/asyncio/tasks.py", 649, "sleep")
ALIVE = Stall(0.1, "shutdown", 30.0, silent=False)
SILENT = Stall(30.0, "startup", 30.0)
BOOT, DRAIN = Stage("startup", 30.0), Stage("shutdown", 15.0, 30.0)
AT_CONNECT = Waiting(CONNECT)
STARTING = Progress(phases.LIFESPAN_STARTUP, waiting=AT_CONNECT)
DRAINING = Progress(phases.DRAIN, connections=2)
LEFT, ENDED = Progress(phases.SERVER_ENDED), Progress(phases.LOOP_ENDED)
STREAM = Request(3, "http", "/stream", 40.0, False, "GET", waits_at=CONNECT)
ARBITER = Frame("/lib/gunicorn/arbiter.py", 600, "spawn_worker", module="gunicorn.arbiter")
ENDS = Frame("/lib/threading.py", 1590, "_shutdown", module="threading")
JOINS = Frame("/lib/multiprocessing/process.py", 149, "join", module="multiprocessing.process")
LOADS = Frame("/lib/gunicorn/workers/base.py", 136, "load_wsgi", module="gunicorn.workers.base")
RUNS = Frame("/lib/asyncio/base_events.py", 640, "run_until_complete",
             module="asyncio.base_events")
SELECTS = Frame("/lib/selectors.py", 468, "select", module="selectors", calls="select.epoll.poll")


def chains(*found: tuple[Frame, ...]) -> Snapshot:
    groups = tuple(TaskGroup(1, (f"Task-{at}",), chain) for at, chain in enumerate(found, 1))
    return Snapshot(tasks=Tasks(len(groups), groups))


def thread(name: str, *frames: Frame, holds: bool = True, loop: bool = False) -> ThreadStack:
    return ThreadStack(7, name, loop, frames, holds_exit=holds or None)


def main(*frames: Frame, **more: object) -> Snapshot:
    """The main thread alone."""
    return Snapshot(threads=(
        ThreadStack(1, "MainThread", True, frames)._replace(**more),))  # type: ignore[arg-type]


def told(stage: Stage, snapshot: Snapshot, progress: Progress, stall: Stall = ALIVE) -> Diagnosis:
    found = stagewords.explain(stage, snapshot, room.held(snapshot, stall, progress), progress)
    assert found is not None
    return found


@pytest.mark.parametrize("step", [phases.LIFESPAN_STARTUP, phases.LIFESPAN_SHUTDOWN])
@pytest.mark.parametrize("stage", [BOOT, DRAIN])
def test_the_lifespan_is_told_by_its_own_task(step: str, stage: Stage) -> None:
    """The server knows that it waits for it, whatever the list of tasks has room for; a worker can
    be asked to leave while it still starts."""
    progress = Progress(step, waiting=AT_CONNECT)
    assert room.held(Snapshot(), ALIVE, progress) == Held(step, CONNECT)
    diagnosis = told(stage, Snapshot(), progress)
    assert diagnosis.culprit == CONNECT and diagnosis.cause is None
    assert "the loop runs" in (diagnosis.summary or "")


def test_a_lifespan_in_nobodys_code_is_told_by_its_innermost_line() -> None:
    """A framework's own."""
    progress = STARTING._replace(waiting=Waiting(SLEEPS))
    assert room.held(Snapshot(), ALIVE, progress) == Held("lifespan startup", SLEEPS)
    assert told(BOOT, Snapshot(), progress).culprit is None


def test_a_lifespan_that_computes_in_slices_does_not_leave_the_loop_free() -> None:
    """It beats between them, and yet nothing waits but everybody else."""
    progress = STARTING._replace(waiting=Waiting(CONNECT, busy=True))
    diagnosis = told(BOOT, Snapshot(), progress)
    assert "the loop is busy with it, not free" in (diagnosis.summary or "")
    assert "asyncio.to_thread" in (diagnosis.remedy or "")


def test_a_lifespan_that_waits_for_a_thread_names_the_pool() -> None:
    """Where the line is one of the thread's, or the pool has none free."""
    progress = STARTING._replace(waiting=Waiting(CONNECT, pool="anyio"))
    assert "a thread of pool anyio" in (told(BOOT, Snapshot(), progress).summary or "")


def test_a_blocked_loop_comes_before_what_it_was_at() -> None:
    """Its stack says more than the lifespan's chain."""
    assert room.held(Snapshot(), SILENT, STARTING) == Held("loop")


def test_requests_hold_a_drain() -> None:
    """The oldest, with where it waits, whether it is slow or not."""
    snapshot = Snapshot(requests=(STREAM,), requests_total=2)
    assert room.held(snapshot, ALIVE, DRAINING) == Held("requests", CONNECT)
    assert "their worker is told to leave" in (told(DRAIN, snapshot, DRAINING).remedy or "")


def test_a_client_that_takes_nothing_has_a_remedy_of_its_own() -> None:
    """The response has an end, and nobody hears it: with its request in flight, and after it."""
    reader = Connection("10.0.0.9:5000", "GET", "/big", request=3, unread=True)
    holds = DRAINING._replace(clients=(reader,))
    for snapshot in Snapshot(requests=(STREAM,)), Snapshot():
        diagnosis = told(DRAIN, snapshot, holds)
        assert "does not take what it is sent" in (diagnosis.summary or "")
        assert "proxy_buffering" in (diagnosis.remedy or "")
    other = DRAINING._replace(clients=(reader._replace(request=4),))
    assert "proxy" not in (told(DRAIN, Snapshot(requests=(STREAM,)), other).remedy or "")


def test_connections_hold_it_where_there_is_no_request() -> None:
    """And where there are none of these either, nothing is said."""
    assert room.held(Snapshot(), ALIVE, DRAINING) == Held("connections")
    assert room.held(Snapshot(), ALIVE, Progress(phases.DRAIN)) == Held(None)


def test_what_is_left_when_the_server_has_ended() -> None:
    """Tasks first, then threads that are no daemons; asyncio's own waiter is not to blame."""
    waiter = thread("Thread-1 (_do_shutdown)", SLEEPS)
    works = thread("pool_0", CONNECT)
    snapshot = chains((CONNECT, SLEEPS))._replace(threads=(waiter, works))
    assert room.held(snapshot, ALIVE, LEFT) == Held("task", CONNECT, "Task-1")
    snapshot = Snapshot(threads=(waiter, thread("idle", SLEEPS), works))
    assert room.held(snapshot, ALIVE, LEFT) == Held("thread", CONNECT, "pool_0")
    snapshot = Snapshot(threads=(waiter, thread("d", CONNECT, holds=False)))
    assert room.held(snapshot, ALIVE, LEFT) == Held(None)


@pytest.mark.parametrize("frames, holder, frame", [
    ((ARBITER, CONNECT), "hook", CONNECT), ((ARBITER, JOINS), "hook", JOINS),
    ((CONNECT, SLEEPS), "exit", CONNECT), ((JOINS,), "exit", JOINS),
    ((ENDS,), "thread", CONNECT), ((), "thread", CONNECT), ((ARBITER,), None, None),
])
def test_after_the_loop_the_main_thread_tells(
    frames: tuple[Frame, ...], holder: str | None, frame: Frame | None
) -> None:
    """gunicorn's hook, a function of atexit, a process that is joined; a thread only where the
    interpreter waits for threads."""
    snapshot = main(*frames)
    snapshot = snapshot._replace(threads=(*snapshot.threads, thread("pool_0", CONNECT)))
    found = room.held(snapshot, SILENT, ENDED)
    assert found == Held(holder, frame, "pool_0" if holder == "thread" else None)
    if holder in ("hook", "exit"):
        assert "the loop has ended" in (told(DRAIN, snapshot, ENDED, SILENT).summary or "")


@pytest.mark.parametrize("outer, holder", [
    (LOADS, "import"), (LOADS._replace(function="init_process"), "hook")])
def test_before_the_loop_runs_the_stack_tells(outer: Frame, holder: str) -> None:
    """An import, or one of gunicorn's hooks; the advice is not that for a loop."""
    snapshot = main(outer, CONNECT._replace(calls="time.sleep"))
    stall, progress = SILENT._replace(running=False), Progress(phases.BEFORE_LOOP)
    assert room.held(snapshot, stall, progress).holder == holder
    diagnosis = told(BOOT, snapshot, progress, stall)
    assert diagnosis.culprit is not None and diagnosis.culprit.line == 12
    assert "asyncio" not in (diagnosis.remedy or "")


IN_SELECTOR = KernelWait(syscall="epoll_wait", wchan="ep_poll", target="tcp 10.0.0.1:5432")


def test_a_loop_of_ones_own_is_told_by_its_task() -> None:
    """asyncio.run at import: its thread is in a selector, which is no cause."""
    calls = Frame("/srv/shop/app.py", 3, "<module>", "asyncio.run(load())", app=True)
    snapshot = main(LOADS, calls, RUNS, SELECTS, state="S (sleeping)", wait=IN_SELECTOR)
    before = Progress(phases.BEFORE_LOOP, waiting=AT_CONNECT)
    assert room.held(snapshot, SILENT, before) == Held("import", CONNECT)
    diagnosis = told(BOOT, snapshot, before, SILENT)
    assert diagnosis.culprit == diagnosis.blocking_call == CONNECT
    assert (diagnosis.cause, diagnosis.waits_for, diagnosis.call) == (None, None, None)
    unknown = told(BOOT, snapshot, Progress(phases.BEFORE_LOOP), SILENT)
    assert (unknown.cause, unknown.culprit, unknown.waits_for) == ("unknown", calls, None)


def test_a_loop_of_ones_own_that_is_blocked_is_told_by_its_stack() -> None:
    """Its task has called something that blocks."""
    blocks = CONNECT._replace(line=20, calls="time.sleep", function="blocks")
    snapshot = main(LOADS, RUNS, blocks, state="S (sleeping)",
                    wait=KernelWait(syscall="clock_nanosleep", wchan="hrtimer_nanosleep"))
    before = Progress(phases.BEFORE_LOOP, waiting=AT_CONNECT)
    diagnosis = told(BOOT, snapshot, before, SILENT)
    assert diagnosis.culprit == blocks and diagnosis.cause == "sleep"


def test_where_nothing_is_known_nothing_is_said() -> None:
    """Rather than a guess."""
    for step in None, phases.LISTENING, phases.SERVING:
        assert room.held(Snapshot(), ALIVE, Progress(step)) == Held(None)
    assert stagewords.explain(BOOT, Snapshot(), Held(None), Progress(None)) is None


READER = Connection("10.0.0.9:5000", "GET", "/big\x1b[31m", unread=True)


@pytest.mark.parametrize("stage, snapshot, progress, line", [
    (BOOT, Snapshot(), STARTING,
     "watchdog slow startup: 30.0 s since the fork, waiting for lifespan startup at "
     "/srv/shop/db.py:12 in connect: await pool.open()"),
    (BOOT._replace(limit_s=30.0, ended=True), Snapshot(),
     STARTING._replace(waiting=Waiting(LIFESPAN)),
     "watchdog slow startup: 30.0 s since the fork, waiting for lifespan startup at "
     "/lib/uvicorn/lifespan/on.py:86 in main; ended by watchdog_startup_timeout = 30"),
    (BOOT, Snapshot(), Progress(None), "watchdog slow startup: 30.0 s since the fork"),
    (DRAIN, Snapshot(), DRAINING,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for 2 connections "
     "to close"),
    (DRAIN, Snapshot(), DRAINING._replace(clients=(READER, Connection("10.0.0.9:5001"))),
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for 2 connections "
     "to close: 10.0.0.9:5000 (GET /big%1B%5B31m, takes nothing), 10.0.0.9:5001"),
    (DRAIN, Snapshot(requests_total=3, requests=(STREAM._replace(path="/stream\n"),)), DRAINING,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for GET "
     "/stream%0A, 40.0 s at /srv/shop/db.py:12 in connect: await pool.open(); 2 more"),
    (DRAIN, Snapshot(threads=(thread("pool_0", CONNECT),)), LEFT,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, waiting for thread pool_0 "
     "at /srv/shop/db.py:12 in connect: await pool.open()"),
    (DRAIN, main(CONNECT), ENDED,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, at the interpreter's end, "
     "at /srv/shop/db.py:12 connect"),
])
def test_the_first_line(stage: Stage, snapshot: Snapshot, progress: Progress, line: str) -> None:
    """What a person reads first."""
    assert first_line(report.SLOW_STARTUP, stage, snapshot, progress) == line


def first_line(event: str, stage: Stage, snapshot: Snapshot, progress: Progress) -> str:
    found = room.held(snapshot, ALIVE, progress)
    diagnosis = stagewords.explain(stage, snapshot, found, progress)
    stage = stage._replace(
        holder=found.holder, holder_name=found.name, step=progress.step,
        connections=progress.connections, clients=progress.clients)
    return headline(event, snapshot, ALIVE._replace(kill_in_s=1.0), diagnosis, stage=stage)


def test_the_last_line_before_a_kill_says_what_it_waits_for() -> None:
    """With a loop that lives, and with one that has ended."""
    step = phases.LIFESPAN_SHUTDOWN
    assert first_line(report.PRE_KILL, DRAIN, Snapshot(), Progress(step, waiting=AT_CONNECT)) == (
        "watchdog loop alive, but the drain has outlasted graceful_timeout, waiting for lifespan "
        "shutdown at /srv/shop/db.py:12 in connect: await pool.open(); WORKER TIMEOUT in 1.0 s")
    assert first_line(report.PRE_KILL, DRAIN, main(CONNECT), ENDED) == (
        "watchdog loop has ended, and the process has not, at the interpreter's end, at "
        "/srv/shop/db.py:12 connect; WORKER TIMEOUT in 1.0 s")
