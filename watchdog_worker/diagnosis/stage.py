"""What a boot or a drain that takes long waits for. Pure."""

from __future__ import annotations

from typing import NamedTuple

from watchdog_worker.diagnosis import diagnose
from watchdog_worker.diagnosis.fingerprint import fingerprint
from watchdog_worker.diagnosis.rules import GIL_HELD, SUSPENDED
from watchdog_worker.diagnosis.stack import is_importer, split
from watchdog_worker.model import (
    Diagnosis,
    Frame,
    Snapshot,
    Stage,
    Stall,
    TaskGroup,
    innermost_app,
)

IMPORT, HOOK, LOOP, REQUESTS = "import", "hook", "loop", "requests"
CONNECTIONS, TASK, THREAD = "connections", "task", "thread"
LIFESPAN_STARTUP, LIFESPAN_SHUTDOWN = "lifespan startup", "lifespan shutdown"

_SERVER, _LIFESPAN = "uvicorn/server.py", "uvicorn/lifespan/on.py"
_WAITER = "_do_shutdown"
"""In the name of asyncio's own thread, which waits for those of the default executor."""
_AT_IMPORT = (
    "what takes long or waits for others does not belong at import or in a hook: do it in the "
    "lifespan's startup or when it is first needed, and give it a timeout; a boot that has to take "
    "long wants a larger watchdog_startup_threshold")
_IN_LIFESPAN = (
    "give what it waits for a timeout, so that a boot that cannot succeed fails and says why; a "
    "boot that has to take long wants a larger watchdog_startup_threshold")
_AT_SHUTDOWN = (
    "what waits for others in the lifespan's shutdown wants a timeout well below graceful_timeout")
_FOR_CLIENTS = (
    "responses without an end (streams, long polls) are to end when their worker is told to leave, "
    "or a longer graceful_timeout; what has not ended by then is cancelled")
_FOR_OTHERS = (
    "have what goes on in the background end in the lifespan's shutdown, or make its thread a "
    "daemon")


_TOLD = {
    LIFESPAN_STARTUP: (
        "the loop is free; the application's lifespan has not finished its startup", _IN_LIFESPAN),
    LIFESPAN_SHUTDOWN: (
        "the loop is free; the application's lifespan has not finished its shutdown",
        _AT_SHUTDOWN),
    REQUESTS: (
        "the loop is free; requests are in flight, and the worker waits for them", _FOR_CLIENTS),
    CONNECTIONS: (
        "the loop is free, and no request is in flight; clients have not taken all that was sent "
        "to them, or do not close their connection", _FOR_CLIENTS),
    TASK: (
        "the server has ended; tasks of the application go on although they were cancelled",
        _FOR_OTHERS),
    THREAD: (
        "the server has ended; the process waits for threads of the application", _FOR_OTHERS),
}
"""What each holder means, and what to do about it."""


class Held(NamedTuple):
    """What holds it up."""

    holder: str | None
    frame: Frame | None = None
    """The line of the application at which it does."""
    name: str | None = None


def held(stage: Stage, snapshot: Snapshot, stall: Stall | None) -> Held:
    """What this stage waits for, as far as the picture shows."""
    if stall is not None and stall.silent:
        return Held(LOOP if stall.running else _before_loop(snapshot))
    for holder, function in (LIFESPAN_STARTUP, "startup"), (LIFESPAN_SHUTDOWN, "shutdown"):
        if _in_chain(snapshot, _LIFESPAN, function):
            return Held(holder, _lifespan_at(snapshot))
    if _in_chain(snapshot, _SERVER, "_wait_tasks_to_complete"):
        first = snapshot.slow_request
        if first is not None:
            return Held(REQUESTS, first.waits_at)
        return Held(CONNECTIONS)
    if stage.name == "shutdown" and not _in_chain(snapshot, _SERVER, "serve"):
        return _left_over(snapshot)
    return Held(None)


def explain(stage: Stage, snapshot: Snapshot, found: Held) -> Diagnosis | None:
    """Why it takes so long."""
    if found.holder in (IMPORT, HOOK, LOOP):
        picture = snapshot if found.holder == LOOP else _imported(snapshot)
        return _blocked(diagnose(picture), found.holder)
    if found.holder is None:
        return None
    summary, remedy = _TOLD[found.holder]
    return Diagnosis(
        culprit=found.frame if found.frame is not None and found.frame.app else None,
        blocking_call=found.frame,
        summary=summary,
        remedy=remedy,
        fingerprint=fingerprint(f"slow_{stage.name} {found.holder}", found.frame, None),
    )


def _blocked(told: Diagnosis | None, holder: str) -> Diagnosis | None:
    if told is None or holder == LOOP or told.cause == SUSPENDED:
        return told
    call = f"in {told.call}" if told.call else "at this line"
    what = "the application is still being imported" if holder == IMPORT else (
        "a server hook has not returned, and the loop does not run yet")
    kept = f"; {told.summary}" if told.cause == GIL_HELD else ""
    return told._replace(summary=f"{what}; the main thread is {call}{kept}", remedy=_AT_IMPORT)


def _imported(snapshot: Snapshot) -> Snapshot:
    """Without what has imported the application's own code: that it is being imported is what a
    boot is, and not why it takes long. What this code in turn imports of others stays."""
    profile = snapshot.profile
    return snapshot._replace(
        threads=tuple(each._replace(frames=_without_importers(each.frames)) if each.loop else each
                      for each in snapshot.threads),
        profile=profile and profile._replace(stacks=tuple(
            each._replace(frames=_without_importers(each.frames)) for each in profile.stacks)))


def _without_importers(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    culprit, below = split(frames)
    if culprit is None:
        return frames
    outer = frames[:len(frames) - len(below)]
    return (*(frame for frame in outer if not is_importer(frame)), *below)


def _before_loop(snapshot: Snapshot) -> str:
    """What gunicorn calls to import the application is on the stack while it does."""
    own = snapshot.loop_thread
    imports = own is None or any(frame.function == "load_wsgi" for frame in own.frames)
    return IMPORT if imports else HOOK


def _in_chain(snapshot: Snapshot, file: str, function: str) -> bool:
    """Whether some task is in this function of the server's, or waits for it."""
    return any(_is(frame, file, function)
               for group in _groups(snapshot) for frame in group.await_chain)


def _groups(snapshot: Snapshot) -> tuple[TaskGroup, ...]:
    return snapshot.tasks.groups if snapshot.tasks is not None else ()


def _is(frame: Frame, file: str, function: str) -> bool:
    return frame.function == function and frame.file.endswith(file)


def _lifespan_at(snapshot: Snapshot) -> Frame | None:
    """Where the application's lifespan stands: in a task of the server's own."""
    for group in _groups(snapshot):
        if any(_is(frame, _LIFESPAN, "main") for frame in group.await_chain):
            return innermost_app(group.await_chain) or group.await_chain[-1]
    return None


def _left_over(snapshot: Snapshot) -> Held:
    """The server has ended: a task of the application, or a thread."""
    for group in _groups(snapshot):
        frame = innermost_app(group.await_chain)
        if frame is not None:
            return Held(TASK, frame, group.names[0])
    holding = [thread for thread in snapshot.threads if thread.holds_exit and thread.frames
               and _WAITER not in thread.name]
    for thread in sorted(holding, key=lambda each: innermost_app(each.frames) is None):
        return Held(THREAD, innermost_app(thread.frames) or thread.frames[-1], thread.name)
    return Held(None)
