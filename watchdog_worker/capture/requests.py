"""The requests in flight, for a report. Runs in the monitor thread."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from watchdog_worker.model import Frame, Request
from watchdog_worker.vitals.inflight import Entry

_MAX_TEXT = 2000
_MAX_WEBSOCKETS = 10
"""WebSockets stay open by the thousand, and tell little: some are listed, the rest counted."""


class Choice(NamedTuple):
    """What of a request may be shown."""

    max_requests: int
    headers: tuple[str, ...]
    with_query: bool


def listed(
    entries: list[Entry], now: float, choice: Choice,
    blocking: int | None, task_names: Mapping[int, str],
    waits: Mapping[int, tuple[Frame | None, str | None]] = MappingProxyType({}),
) -> tuple[Request, ...]:
    """The oldest first; the blocking one is never left out. `waits`: where each slow one waits,
    and for which pool."""
    chosen: list[Request] = []
    websockets = 0
    for entry in entries:
        if entry.number != blocking:
            if entry.scope.get("type") == "websocket":
                websockets += 1
                if websockets > _MAX_WEBSOCKETS:
                    continue
            if len(chosen) >= choice.max_requests:
                continue
        request = _request(entry, now, choice, blocking, task_names)
        if entry.number in waits:
            frame, pool = waits[entry.number]
            request = request._replace(slow=True, waits_at=frame, pool=pool)
        chosen.append(request)
    if len(chosen) > choice.max_requests:  # the blocking one is beyond the others
        del chosen[choice.max_requests - 1]
    return tuple(chosen)


def _request(
    entry: Entry, now: float, choice: Choice,
    blocking: int | None, task_names: Mapping[int, str],
) -> Request:
    scope = entry.scope
    path = str(scope.get("path", ""))
    query = scope.get("query_string", b"")
    if choice.with_query and query:
        path += "?" + query.decode("latin-1")
    return Request(
        id=entry.number,
        type=str(scope.get("type", "")),
        method=scope.get("method"),
        path=path[:_MAX_TEXT],
        client=_client(scope.get("client")),
        age_s=round(max(0.0, now - entry.began), 3),
        blocking=entry.number == blocking,
        response_started=_started(entry.send),
        task=task_names.get(entry.number),
        headers=_headers(scope.get("headers"), choice.headers) or None,
    )


def _client(address: Any) -> str | None:
    if not address:
        return None
    host = str(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def _started(send: Any) -> bool | None:
    """Whether the response has begun, from the server's object that `send` belongs to."""
    server_side = getattr(send, "__self__", None)
    started = getattr(server_side, "response_started", None)
    return started if isinstance(started, bool) else None


def _headers(pairs: Any, names: tuple[str, ...]) -> dict[str, str]:
    wanted = {name.encode("latin-1") for name in names}
    return {
        name.decode("latin-1"): value[:_MAX_TEXT].decode("latin-1")
        for name, value in pairs or () if name in wanted
    }
