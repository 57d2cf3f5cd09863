"""Clients of a case: what they got, and whether it was all of it."""

from __future__ import annotations

import re
import time

from tests.gunicorn_server import PATIENCE_S, Gunicorn

_WHOSE = re.compile(rb"pid (\d+)\n")


class Client:
    """One request on a connection of its own, whose answer is read bit by bit."""

    def __init__(self, server: Gunicorn, path: str, headers: bytes = b"") -> None:
        self._socket = server.send(path, headers)
        self.got = b""
        """What has come so far, head and all."""

    def whose(self, seconds: float = PATIENCE_S) -> int:
        """Wait for the beginning of a stream: the pid of the worker that serves it."""
        deadline = time.monotonic() + seconds
        while True:
            found = _WHOSE.search(self.got)
            if found:
                return int(found[1])
            assert self._more(deadline), f"the stream has not begun: {self.got!r}"

    def rest(self, seconds: float = PATIENCE_S) -> bytes:
        """All that comes until the answer is whole, or the connection ends; AssertionError after
        the time."""
        deadline = time.monotonic() + seconds
        while not self.whole and self._more(deadline):
            pass
        self.close()
        return self.got

    @property
    def whole(self) -> bool:
        """The answer came to its end (it has to be a stream, in chunks)."""
        return self.got.endswith(b"\r\n0\r\n\r\n")

    def _more(self, deadline: float) -> bool:
        """Whether the connection is still there."""
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        except TimeoutError:
            raise AssertionError(f"the answer has not ended: {self.got[-80:]!r}") from None
        self.got += data
        return bool(data)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
