"""Why a boot or a drain takes so long, in words, and what to do about it. Pure."""

from __future__ import annotations

from watchdog_worker import phases
from watchdog_worker.diagnosis import diagnose, stage as room
from watchdog_worker.diagnosis.fingerprint import fingerprint
from watchdog_worker.diagnosis.rules import GIL_HELD, SUSPENDED, UNKNOWN
from watchdog_worker.diagnosis.stack import is_importer, split
from watchdog_worker.diagnosis.stage import Held
from watchdog_worker.model import Diagnosis, Frame, Progress, Snapshot, Stage

_AT_IMPORT = (
    "what takes long or waits for others does not belong at import or in a hook: do it in the "
    "lifespan's startup or when it is first needed, and give it a timeout; a boot that has to take "
    "long wants a larger watchdog_startup_threshold")
_IN_LIFESPAN = (
    "give what it waits for a timeout, so that a boot that cannot succeed fails and says why; a "
    "boot that has to take long wants a larger watchdog_startup_threshold")
_COMPUTES = (
    "what computes for long is better done in a thread or another process (asyncio.to_thread), or "
    "once for all workers before the fork (--preload); a boot that has to take long wants a larger "
    "watchdog_startup_threshold")
_AT_SHUTDOWN = (
    "what waits for others in the lifespan's shutdown wants a timeout well below graceful_timeout")
_AT_EXIT = (
    "what runs after the loop (worker_exit, atexit, processes that are joined) wants a timeout: "
    "gunicorn kills the worker when its time is over")
_FOR_CLIENTS = (
    "responses without an end (streams, long polls) are to end when their worker is told to leave, "
    "or a longer graceful_timeout; what has not ended by then is cancelled")
_FOR_READERS = (
    "a client that reads slowly, or not at all, is to be kept away from the workers: have the "
    "proxy in front buffer responses (nginx: proxy_buffering), or give sending a timeout of its "
    "own; what has not been taken when graceful_timeout is over is lost")
_FOR_WEBSOCKETS = (
    "nothing has to be done: uvicorn closes the connection by itself when the client does not "
    "answer, at the latest when graceful_timeout is over")
_FOR_OTHERS = (
    "have what goes on in the background end in the lifespan's shutdown, or make its thread a "
    "daemon")
_WORKS = "; its task was at work and waited for nothing: the loop is busy with it, not free"
_TAKES_NOT = "does not take what it is sent"


def explain(
    stage: Stage, snapshot: Snapshot, found: Held, progress: Progress
) -> Diagnosis | None:
    """Why it takes so long."""
    if found.holder == room.LOOP:
        return diagnose(snapshot)
    if found.holder in (room.IMPORT, room.HOOK, room.EXIT):
        return _of_main_thread(snapshot, found, progress)
    if found.holder is None:
        return None
    summary, remedy = _told(snapshot, found.holder, progress)
    return Diagnosis(
        culprit=found.frame if found.frame is not None and found.frame.app else None,
        blocking_call=found.frame,
        summary=summary,
        remedy=remedy,
        fingerprint=fingerprint(f"slow_{stage.name} {found.holder}", found.frame, None),
    )


def _of_main_thread(snapshot: Snapshot, found: Held, progress: Progress) -> Diagnosis | None:
    """It runs no loop of the server's: what it stands at is what is waited for."""
    told = diagnose(_imported(snapshot))
    if told is None or told.cause == SUSPENDED:
        return told
    what, remedy = _doing(found.holder, progress)
    if not room.waits_in_own_loop(snapshot):
        call = f"in {told.call}" if told.call else "at this line"
        kept = f"; {told.summary}" if told.cause == GIL_HELD else ""
        return told._replace(summary=f"{what}; the main thread is {call}{kept}", remedy=remedy)
    own = f"{what}; it runs an event loop of its own there"
    if progress.waiting is None or found.frame is None:
        return told._replace(
            cause=UNKNOWN, blocking_call=told.culprit or told.blocking_call, waits_for=None,
            summary=f"{own}, and what that waits for is not known", remedy=remedy)
    state = "is at work at" if progress.waiting.busy else "waits at"
    return told._replace(
        cause=None, culprit=found.frame if found.frame.app else told.culprit,
        blocking_call=found.frame, waits_for=None, call=None, evidence=(),
        summary=f"{own}, whose task {state} this line", remedy=remedy,
        fingerprint=fingerprint(f"slow {found.holder}", found.frame, None))


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


def _doing(holder: str | None, progress: Progress) -> tuple[str, str]:
    """What the main thread is at, and what to do about it."""
    if holder == room.IMPORT:
        return "the application is still being imported", _AT_IMPORT
    if holder == room.EXIT:
        return ("the loop has ended; what runs at the interpreter's end (atexit, processes that "
                "are joined) has not returned"), _AT_EXIT
    if progress.step == phases.LOOP_ENDED:
        return "the loop has ended; a server hook has not returned", _AT_EXIT
    return "a server hook has not returned, and the loop does not run yet", _AT_IMPORT


def _told(snapshot: Snapshot, holder: str, progress: Progress) -> tuple[str, str]:
    """What each other holder means, and what to do about it."""
    if holder in (room.LIFESPAN_STARTUP, room.LIFESPAN_SHUTDOWN):
        return _of_lifespan(holder, progress)
    if holder == room.REQUESTS:
        summary = "the loop runs; requests are in flight, and the worker waits for them"
        first = room.oldest_request(snapshot)
        if first is not None and any(
                each.unread and each.request == first.id for each in progress.clients):
            return f"{summary}; the client of the oldest {_TAKES_NOT}", _FOR_READERS
        return summary, _FOR_CLIENTS
    if holder == room.CONNECTIONS:
        return _of_connections(progress)
    if holder == room.TASK:
        return ("the server has ended; tasks of the application go on although they were "
                "cancelled"), _FOR_OTHERS
    return "the server has ended; the process waits for threads of the application", _FOR_OTHERS


def _of_lifespan(holder: str, progress: Progress) -> tuple[str, str]:
    starts, waiting = holder == room.LIFESPAN_STARTUP, progress.waiting
    what = "startup" if starts else "shutdown"
    summary = f"the application's lifespan has not finished its {what}"
    if waiting is not None and waiting.busy:
        return summary + _WORKS, _COMPUTES if starts else _AT_SHUTDOWN
    if waiting is not None and waiting.pool is not None:
        summary += f"; it waits for a thread of pool {waiting.pool}"
    return f"{summary}; the loop runs", _IN_LIFESPAN if starts else _AT_SHUTDOWN


def _of_connections(progress: Progress) -> tuple[str, str]:
    unread = sum(1 for each in progress.clients if each.unread)
    none = "the loop runs, and no request is in flight; "
    if unread:
        who = "a client" if unread == 1 else f"each of {unread} clients"
        return f"{none}{who} {_TAKES_NOT}", _FOR_READERS
    if any(each.websocket for each in progress.clients):
        return f"{none}clients of WebSockets have not answered that they close", _FOR_WEBSOCKETS
    return f"{none}clients do not close their connection", _FOR_CLIENTS
