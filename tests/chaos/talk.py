"""HTTP as a client speaks it, over a socket of its own, and what came of each request."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

ANSWER_S = 40.0
"""Whoever waits for longer gets no answer: blocks, kills and drains are over by then."""
OK = "ok"
LOST = ("closed", "reset", "cut off")
"""The connection ended before the answer was complete."""


class Exchange(NamedTuple):
    """A request, and how it ended for the client."""

    id: str
    what: str
    manner: str
    """`keep`: on a connection that had been used; `fresh`; or the fault that it belongs to."""
    sent_at: float
    """Time of day, as all times here."""
    done_at: float
    outcome: str
    """`ok`, one of LOST, `refused`, `no answer`, `status 500`, or what is wrong with it."""
    pid: int
    """Who answered; where nobody did, who had answered last on this connection, or 0."""
    text: str = ""
    """What the answer held beyond its frame."""
    again: str = ""
    """The id of the request that was sent again with this one."""


class Connection:
    """One connection to the server. Not to be used by two at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.pid = 0
        """Who answered last on it."""
        self.used = False

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, unless it is connected."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    def close(self) -> None:
        """The next request opens another."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
        self.pid, self.used = 0, False

    async def ask(
        self, ident: str, what: str, query: str = "", body: bytes = b"", manner: str = "",
        slowly: float = 0.0,
    ) -> Exchange:
        """Send a request and wait for all of the answer. Raises nothing but CancelledError.

        `slowly`: that many seconds between the bytes that are sent, and the chunks that are read.
        """
        sent_at = time.time()
        manner = manner or ("keep" if self.used else "fresh")
        try:
            outcome, text = await asyncio.wait_for(
                self._ask(request(ident, what, query, body), ident, slowly), ANSWER_S)
        except (TimeoutError, asyncio.TimeoutError):
            outcome, text = "no answer", ""
        except ConnectionRefusedError:
            outcome, text = "refused", ""
        except asyncio.IncompleteReadError as error:
            outcome, text = "cut off" if error.partial else "closed", ""
        except (ConnectionError, OSError):
            outcome, text = "reset", ""
        except ValueError as error:
            outcome, text = f"garbled: {error}", ""
        if not outcome.startswith((OK, "status")) and outcome != OK:
            pid = self.pid
            self.close()
        else:
            pid, self.used = self.pid, True
        return Exchange(ident, what, manner, sent_at, time.time(), outcome, pid, text)

    async def _ask(self, data: bytes, ident: str, slowly: float) -> tuple[str, str]:
        reader, writer = await self.open()
        if slowly:
            for at in range(len(data)):
                writer.write(data[at:at + 1])
                await writer.drain()
                await asyncio.sleep(slowly)
        else:
            writer.write(data)
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (
            line.partition(":") for line in head[1:])}
        body = await _body(reader, headers, slowly)
        if headers.get("connection") == "close":
            # What comes next needs another connection.
            writer.close()
            self._reader = self._writer = None
        return _judged(status, body, ident, self)


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], slowly: float
) -> bytes:
    left, chunks = int(headers.get("content-length", "-1")), []
    if left < 0:
        raise ValueError(f"an answer without a length: {headers}")
    while left:
        chunk = await reader.read(min(left, 50_000))
        if not chunk:
            raise asyncio.IncompleteReadError(b"head", left)
        chunks.append(chunk)
        left -= len(chunk)
        if slowly:
            await asyncio.sleep(slowly)
    return b"".join(chunks)


def _judged(status: int, body: bytes, ident: str, connection: Connection) -> tuple[str, str]:
    if status != 200:
        return f"status {status}", body.decode("latin-1")[:200]
    pid, answered, before, after, *more = body.decode().split(" ")
    connection.pid = int(pid)
    if answered != ident:
        return f"answer to {answered}", ""
    if (before, after) != ("none", ident):
        return f"context of {before}, then of {after}", ""
    return OK, " ".join(more)


def request(ident: str, what: str, query: str = "", body: bytes = b"") -> bytes:
    """As it is sent."""
    return (f"{'POST' if body else 'GET'} /{what}/{ident}?{query} HTTP/1.1\r\nHost: test\r\n"
            f"X-Request-ID: {ident}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
