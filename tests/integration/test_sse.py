"""sse-starlette puts a method of its own in the place of uvicorn's `Server.handle_exit`, to learn
that the server is to go: its streams have no other end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gunicorn_server import PATIENCE_S, Gunicorn
from tests.lifecycle.case import OURS, THEIRS
from tests.lifecycle.notes import HOOKS, Diary

GRACEFUL_S = 40
SOON_S = GRACEFUL_S / 2
"""Who waits for the end of a drain does not come before."""


def opened(server: Gunicorn) -> tuple[socket.socket, int]:
    """A stream whose first event has come, and which worker it is from."""
    stream = server.send("/events")
    found = b""
    while not found.endswith(b"\r\n\r\n\r\n"):  # the event, and the end of the chunk
        more = stream.recv(1000)
        assert more, found
        found += more
    return stream, int(found.rpartition(b"data: ")[2].split()[0])


def rest(stream: socket.socket) -> bytes:
    """All that comes until it is closed."""
    stream.settimeout(PATIENCE_S)
    found = b""
    with stream:
        while more := stream.recv(1000):
            found += more
    return found


def to_worker(server: Gunicorn, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def to_master(server: Gunicorn, pid: int) -> None:
    server.hang_up()


@pytest.mark.smoke
@pytest.mark.parametrize("tell", [to_worker, to_master], ids=["TERM", "HUP"])
@pytest.mark.parametrize("worker", [OURS, THEIRS])
def test_an_event_stream_ends_when_the_worker_is_to_go(
    worker: str, tell: Callable[[Gunicorn, int], None], tmp_path: Path
) -> None:
    """At once and in good order: nobody waits for the end of the drain, and nobody kills."""
    config = f'graceful_timeout = {GRACEFUL_S}\nwatchdog_dump_dir = "dumps"\n{HOOKS}'
    with Gunicorn(tmp_path, "events:app", worker=worker, timeout=4, config=config) as server:
        diary = Diary(tmp_path)
        stream, pid = opened(server)
        tell(server, pid)
        began = time.monotonic()
        assert rest(stream) == b""  # sse-starlette ends it without a last word
        end = diary.end(pid)
        assert time.monotonic() - began < SOON_S
        assert diary.wait("told to exit", pid).what == "told to exit: True"
        # uvicorn raises the signal anew when it has drained.
        assert end == ("exit 0" if worker == OURS else "SIGTERM")
        assert server.replaced(pid)
        assert "WORKER TIMEOUT" not in server.log
        assert not server.reports()
