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
    """The oldest first; where not all fit, the blocking one stays before the slow ones, and these
    before the others. `waits`: where each slow one waits, and for which pool."""
    chosen: list[Entry] = []
    others: list[Entry] = []
    websockets = 0
    for entry in entries:
        if entry.number == blocking:
            chosen.insert(0, entry)
        elif entry.number in waits:
            chosen.append(entry)
        elif entry.scope.get("type") != "websocket" or websockets < _MAX_WEBSOCKETS:
            websockets += entry.scope.get("type") == "websocket"
            others.append(entry)
    chosen = sorted(
        [*chosen, *others][:choice.max_requests], key=lambda entry: entry.number)
    return tuple(
        _request(entry, now, choice, blocking, task_names, waits.get(entry.number))
        for entry in chosen)


def _request(
    entry: Entry, now: float, choice: Choice,
    blocking: int | None, task_names: Mapping[int, str],
    wait: tuple[Frame | None, str | None] | None,
) -> Request:
    scope = entry.scope
    path = path_of(scope)
    query = scope.get("query_string", b"")
    if choice.with_query and query:
        path += "?" + query.decode("latin-1")
    return Request(
        id=entry.number,
        type=str(scope.get("type", "")),
        method=scope.get("method"),
        path=path[:_MAX_TEXT],
        client=address(scope.get("client")),
        age_s=round(max(0.0, now - entry.began), 3),
        blocking=entry.number == blocking,
        response_started=_state(entry.send, "response_started"),
        response_complete=_state(entry.send, "response_complete") or None,
        task=task_names.get(entry.number),
        headers=_headers(scope.get("headers"), choice.headers) or None,
        slow=wait is not None or None,
        waits_at=wait and wait[0],
        pool=wait and wait[1],
    )


def path_of(scope: Mapping[str, Any]) -> str:
    """A request's path, without its query."""
    return str(scope.get("path", ""))[:_MAX_TEXT]


def address(pair: Any) -> str | None:
    """Of a client."""
    if not pair:
        return None
    host = str(pair[0])
    return f"[{host}]:{pair[1]}" if ":" in host else f"{host}:{pair[1]}"


def _state(send: Any, name: str) -> bool | None:
    """How far the response is, from the server's object that `send` belongs to."""
    state = getattr(getattr(send, "__self__", None), name, None)
    return state if isinstance(state, bool) else None


def _headers(pairs: Any, names: tuple[str, ...]) -> dict[str, str]:
    wanted = {name.encode("latin-1") for name in names}
    return {
        name.decode("latin-1"): value[:_MAX_TEXT].decode("latin-1")
        for name, value in pairs or () if name in wanted
    }
