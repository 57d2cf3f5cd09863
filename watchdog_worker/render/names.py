"""How things are called in one line: frames, requests, and who is to blame. Pure.

What these give is not yet safe: foreign text is in it, and goes through `plain` with the rest.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from watchdog_worker.model import Connection, Diagnosis, Frame, Request, innermost_app

_PATH_CHARS = 200
_BLOCKERS = {"import": "by an import", "logging": "by writing a log"}
_SIMPLE_PATH = re.compile(r"[^\s,\x00-\x1f\x7f-\x9f]*")


def place(frame: Frame) -> str:
    """A frame in one line: `shop/views.py:42 in checkout: time.sleep(30)`."""
    code = f": {frame.code}" if frame.code else ""
    return f"{short_path(frame.file)}:{frame.line} in {frame.function}{code}"


def telling_frame(frames: tuple[Frame, ...]) -> Frame | None:
    """The frame that says most about a stack: the application's innermost, else the innermost."""
    return innermost_app(frames) or (frames[-1] if frames else None)


def short_path(path: str) -> str:
    """A path below the working directory is shown from there."""
    try:
        folder = os.getcwd().rstrip(os.sep) + os.sep
    except OSError:  # it has been removed
        return path
    return path[len(folder):] if path.startswith(folder) else path


def request_name(request: Request) -> str:
    """A request in one line."""
    return _asked(request.method or request.type, request.path)


def connection_name(connection: Connection) -> str:
    """A connection in one line: `10.0.3.4:5432 (GET /big, takes nothing)`."""
    asked = "WebSocket" if connection.websocket else connection.method
    known = [_asked(asked or "", connection.path)] if connection.path is not None else []
    known += ["takes nothing"] if connection.unread else []
    name = connection.client or "a client"
    return f"{name} ({', '.join(known)})" if known else name


def _asked(word: str, whole_path: str) -> str:
    path = whole_path[:_PATH_CHARS]
    if not _SIMPLE_PATH.fullmatch(path):  # it could pass for more than a path
        path = quote(path, safe="/:@!$&'()*+;=~?%", errors="replace")
    return f"{word} {path}".lstrip()


def handling(request: Request | None) -> str:
    if request is None:
        return ""
    return f", handling {request_name(request)}"


def where(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None:
        return "(its stack could not be read)"
    frame = diagnosis.culprit or diagnosis.blocking_call
    return "" if frame is None else (
        f"at {short_path(frame.file)}:{frame.line} {frame.qualname or frame.function}")


def by(diagnosis: Diagnosis | None) -> str:
    """What blocks; empty where no more is known than where."""
    cause, call = (diagnosis.cause, diagnosis.call) if diagnosis is not None else (None, None)
    if cause is None or cause in _BLOCKERS:
        return _BLOCKERS.get(cause or "", "")
    if cause == "cpu_bound":
        return f"by computing ({call})" if call else "by computing"
    if cause == "gil_held":
        return f"by {call or 'native code'} (which kept the GIL)"
    if cause == "unknown":
        return f"in {call}" if call else ""
    return f"by {call or cause.replace('_', ' ')}"


def during(phase: str) -> str:
    """`during startup`, `while serving`."""
    return f"{'while' if phase == 'serving' else 'during'} {phase}"
