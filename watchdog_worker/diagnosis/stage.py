"""What a boot or a drain that takes long waits for. Pure."""

from __future__ import annotations

from typing import NamedTuple

from watchdog_worker import phases
from watchdog_worker.model import (
    Frame,
    Progress,
    Request,
    Snapshot,
    Stall,
    TaskGroup,
    innermost_app,
)

IMPORT, HOOK, LOOP, REQUESTS = "import", "hook", "loop", "requests"
CONNECTIONS, TASK, THREAD, EXIT = "connections", "task", "thread", "exit"
LIFESPAN_STARTUP, LIFESPAN_SHUTDOWN = phases.LIFESPAN_STARTUP, phases.LIFESPAN_SHUTDOWN

_WAITER = "_do_shutdown"
"""In the name of asyncio's own thread, which waits for those of the default executor."""
_JOINS = (("threading", "_shutdown"), ("concurrent.futures.thread", "_python_exit"))
"""In these the interpreter waits for threads as it ends."""
_SERVERS = ("gunicorn", "uvicorn", "uvicorn_worker", "watchdog_worker")
_THEIRS = ("asyncio", "logging", "uvloop")
"""What these call for themselves."""
_RUNNERS = ("run", "run_until_complete", "run_forever")


class Held(NamedTuple):
    """What holds it up."""

    holder: str | None
    frame: Frame | None = None
    """The line of the application at which it does."""
    name: str | None = None


def held(snapshot: Snapshot, stall: Stall | None, progress: Progress) -> Held:
    """What is waited for, as far as the picture shows."""
    step, waiting = progress.step, progress.waiting
    if step == phases.BEFORE_LOOP:
        return Held(_before_loop(snapshot), _of_own_loop(snapshot, progress))
    if step == phases.LOOP_ENDED:
        return _after_loop(snapshot, progress)
    if stall is not None and stall.silent:
        return Held(LOOP)
    if step in (LIFESPAN_STARTUP, LIFESPAN_SHUTDOWN):
        return Held(step, waiting.at if waiting is not None else None)
    if step == phases.DRAIN:
        first = oldest_request(snapshot)
        if first is not None:
            return Held(REQUESTS, first.waits_at)
        return Held(CONNECTIONS if progress.connections else None)
    if step == phases.SERVER_ENDED:
        return _left_over(snapshot)
    return Held(None)


def oldest_request(snapshot: Snapshot) -> Request | None:
    """The first that a drain waits for."""
    return next(iter(snapshot.requests), None)


def waits_in_own_loop(snapshot: Snapshot) -> bool:
    """The main thread runs a loop by itself and that has nothing to do: what its thread is in says
    nothing, as it is the loop's selector."""
    own = snapshot.loop_thread
    frames = own.frames if own is not None else ()
    if frames and (frames[-1].calls or "").rpartition(".")[2] in _RUNNERS[1:]:
        return True  # uvloop's, which has no frame
    runs = max((at for at, frame in enumerate(frames) if frame.function in _RUNNERS
                and _root(frame) in ("asyncio", "uvloop")), default=None)
    return runs is not None and all(
        _root(frame) in ("asyncio", "uvloop", "selectors") for frame in frames[runs:])


def _of_own_loop(snapshot: Snapshot, progress: Progress) -> Frame | None:
    """Where the task of such a loop waits."""
    if progress.waiting is None or not waits_in_own_loop(snapshot):
        return None
    return progress.waiting.at


def _before_loop(snapshot: Snapshot) -> str:
    """What gunicorn calls to import the application is on the stack while it does."""
    own = snapshot.loop_thread
    imports = own is None or any(frame.function == "load_wsgi" for frame in own.frames)
    return IMPORT if imports else HOOK


def _after_loop(snapshot: Snapshot, progress: Progress) -> Held:
    """gunicorn's hooks come first, then the threads that are no daemons, then `atexit`."""
    own = snapshot.loop_thread
    frames = own.frames if own is not None else ()
    frame = _of_own_loop(snapshot, progress) or innermost_app(frames)
    joins = any((each.module, each.function) in _JOINS for each in frames)
    if not frames or (joins and frame is None):
        return _thread(snapshot)
    served = max((at for at, each in enumerate(frames) if _root(each) in _SERVERS), default=-1)
    called = frames[served + 1:]
    if frame is None and (not called or (served >= 0 and _root(called[0]) in _THEIRS)):
        return Held(None)
    return Held(EXIT if served < 0 else HOOK, frame or frames[-1])


def _left_over(snapshot: Snapshot) -> Held:
    """The server has ended: a task of the application, or a thread."""
    for group in _groups(snapshot):
        frame = innermost_app(group.await_chain)
        if frame is not None:
            return Held(TASK, frame, group.names[0])
    return _thread(snapshot)


def _thread(snapshot: Snapshot) -> Held:
    """One that the process waits for; rather in the application's own code than idle."""
    holding = [thread for thread in snapshot.threads if thread.holds_exit and thread.frames
               and _WAITER not in thread.name]
    for thread in sorted(holding, key=lambda each: innermost_app(each.frames) is None):
        return Held(THREAD, innermost_app(thread.frames) or thread.frames[-1], thread.name)
    return Held(None)


def _groups(snapshot: Snapshot) -> tuple[TaskGroup, ...]:
    return snapshot.tasks.groups if snapshot.tasks is not None else ()


def _root(frame: Frame) -> str:
    return (frame.module or "").partition(".")[0]
