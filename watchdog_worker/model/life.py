"""A boot or a drain: how far it has got, and what it waits for."""

from __future__ import annotations

from typing import NamedTuple

from watchdog_worker.model.picture import Frame


class Connection(NamedTuple):
    """An open connection of a client's."""

    client: str | None = None
    """`address:port` of the other end of the socket; None where it has none (a Unix socket)."""
    method: str | None = None
    path: str | None = None
    """Of the last request on it, without its query; None where none has come."""
    request: int | None = None
    """The number of the request in flight on it."""
    websocket: bool | None = None
    unread: bool | None = None
    """True where the client does not take what it is sent."""


class Stage(NamedTuple):
    """A boot or a drain that takes long."""

    name: str
    """`startup` or `shutdown`."""
    seconds: float
    """Since the fork, or since the worker was asked to leave."""
    limit_s: float | None = None
    """What it may take, `watchdog_startup_timeout` or `graceful_timeout`; None: without a limit."""
    ended: bool | None = None
    """True where the worker is ended for it."""
    holder: str | None = None
    """What it waits for: `import`, `hook` (gunicorn's, before the loop runs or after), `loop` (it
    is blocked), `lifespan startup`, `lifespan shutdown`, `requests`, `connections`, `task`,
    `thread`, `exit` (what runs as the interpreter ends); None where that cannot be told."""
    holder_name: str | None = None
    """Of the task or the thread."""
    connections: int | None = None
    """How many are open."""
    clients: tuple[Connection, ...] = ()
    """Some of these: first those who do not take what they are sent."""
    step: str | None = None
    """How far it has got; one of `phases`."""
    paused_s: float | None = None
    """For how much of the boot the process did not run: not counted towards any limit."""


class Waiting(NamedTuple):
    """Where a task stands that everything waits for."""

    at: Frame | None
    """In the task, in one that it waits for, or in the thread that works for it."""
    pool: str | None = None
    """The name of the thread pool that it waits for."""
    busy: bool = False
    """It did not wait when it was looked at: it ran, or would at the loop's next turn."""


class Progress(NamedTuple):
    """How far a worker has got: facts, for the diagnosis to conclude from."""

    step: str | None
    """One of `phases`; None: a server of foreign make does not tell."""
    connections: int = 0
    clients: tuple[Connection, ...] = ()
    """Of these as far as they could be looked at."""
    waiting: Waiting | None = None
    """The lifespan's task; before and after the loop that of another one, which the main thread
    runs itself."""
