"""One connection, byte by byte: what a well-behaved client would not do."""

from __future__ import annotations

import json
import socket
import ssl
from types import TracebackType
from typing import Any

from tests.gunicorn_server import PATIENCE_S

UPGRADE = (b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")


def request(path: str, body: bytes = b"", headers: bytes = b"") -> bytes:
    """A request as bytes; a POST where it has a body."""
    method = "POST" if body else "GET"
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\n".encode() + headers + length + (
        b"\r\n" + body)


class RawClient:
    """A connection to a server on 127.0.0.1."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._unread = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def json(self) -> Any:
        """The body of the next response."""
        return json.loads(self.response()[1])

    def response(self) -> tuple[int, bytes]:
        """Status and body of the next response, which has a content-length."""
        head = self._until(b"\r\n\r\n").lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(head.split()[1]), self._read(int(length or b"0"))

    def websocket(self, path: str) -> Any:
        """Upgrade, and give the first message, which is short JSON text."""
        self.send(request(path, headers=UPGRADE))
        head = self._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        opening = self._read(2)
        assert opening[0] == 0x81, opening
        length = opening[1]
        if length == 126:
            length = int.from_bytes(self._read(2), "big")
        return json.loads(self._read(length))

    def _until(self, end: bytes) -> bytes:
        while end not in self._unread:
            self._more()
        found, _, self._unread = self._unread.partition(end)
        return found + end

    def _read(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._more()
        found, self._unread = self._unread[:count], self._unread[count:]
        return found

    def _more(self) -> None:
        data = self._socket.recv(65536)
        assert data, "the server has closed the connection"
        self._unread += data
