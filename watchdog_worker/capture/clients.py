"""Who is at the other end of the connections. Runs in the monitor thread.

The objects are the server's own and the loop goes on: whatever one of them does not tell, or tells
in another shape, is missing. Nothing of theirs is called but `is_closing`, which reads one flag.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

from watchdog_worker.capture.requests import address, path_of
from watchdog_worker.model import Connection
from watchdog_worker.vitals.inflight import Entry

_MOST = 1000


def seen(connections: Collection[Any], entries: Collection[Entry]) -> tuple[Connection, ...]:
    """The connections of uvicorn's server, at most 1,000 of them; those come first whose clients
    take nothing, then those of the oldest requests. Never raises.

    `entries`: the requests in flight.
    """
    try:
        copied = list(islice(list(connections), _MOST))
    except RuntimeError:  # the set changed meanwhile
        return ()
    numbers = {id(entry.scope): entry.number for entry in entries}
    found = (_seen(connection, numbers) for connection in copied)
    return tuple(sorted((each for each in found if each is not None), key=_order))


def _order(connection: Connection) -> tuple[bool, float, str]:
    number = connection.request
    return (not connection.unread, float("inf") if number is None else number,
            connection.client or "")


def _seen(connection: Any, numbers: dict[int, int]) -> Connection | None:
    try:
        scope = connection.scope
        number = numbers.get(id(scope))
        websocket = "websocket" in type(connection).__module__ or (
            "wsproto" in type(connection).__module__)
        scope = scope if isinstance(scope, dict) else {}
        return Connection(
            client=address(connection.client),
            method=_text(scope.get("method")),
            path=path_of(scope) or None,
            request=number,
            websocket=websocket or None,
            unread=_is_unread(connection, websocket) or None,
        )
    except Exception:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_unread(connection: Any, websocket: bool) -> bool:
    """What was sent is not taken: so much of it that the application has to wait, or the rest of a
    connection that the server has closed. A WebSocket closes when its client has answered."""
    flow = getattr(connection, "flow", None)
    if getattr(flow, "write_paused", False) is True:
        return True
    return not websocket and connection.transport.is_closing() is True
