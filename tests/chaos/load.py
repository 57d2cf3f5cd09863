"""Innocent clients, who ask all the time, and are to be answered."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable

from tests.chaos.talk import LOST, OK, Connection, Exchange
from tests.chaos.texts import big_text, trickle_text

KEEPERS, FRESH = 10, 6
TRIES = 6
_PAUSE_S = (0.02, 0.12)
_KEPT_FOR = 40
"""Requests on one connection, before a keeper takes another."""


class Load:
    """The clients, and all that they have been through."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self._seed = port, seed
        self._asked = 0
        self.exchanges: list[Exchange] = []
        self._over = asyncio.Event()

    def note(self, exchange: Exchange) -> Exchange:
        """Keep it."""
        self.exchanges.append(exchange)
        return exchange

    async def run(self) -> None:
        """Until `stop`, and every last answer."""
        await asyncio.gather(
            *(self._client(number, kept=number < KEEPERS) for number in range(KEEPERS + FRESH)))

    def stop(self) -> None:
        """Ask nothing new."""
        self._over.set()

    def next_id(self) -> str:
        """Unique in this run."""
        self._asked += 1
        return f"i{self._asked}"

    async def _client(self, number: int, kept: bool) -> None:
        dice, connection, asked = random.Random(self._seed * 1000 + number), None, 0
        while not self._over.is_set():
            if connection is None or not kept or asked % _KEPT_FOR == 0:
                if connection is not None:
                    connection.close()
                connection = Connection(self._port)
            asked += 1
            await self.ask(connection, dice)
            await asyncio.sleep(dice.uniform(*_PAUSE_S))
        if connection is not None:
            connection.close()

    async def ask(self, connection: Connection, dice: random.Random, manner: str = "") -> None:
        """One innocent request; again on a new connection if that one is lost."""
        what, query, body, right = _innocent(dice)
        again = ""
        for _ in range(TRIES):
            ident = self.next_id()
            found = await connection.ask(ident, what, query, body, manner)
            if found.outcome == OK and not right(ident, found.text):
                found = found._replace(outcome=f"wrong text {found.text[:80]!r}")
            self.note(found._replace(again=again, text=""))
            if found.outcome not in LOST:
                return
            again = ident
            connection.close()

    async def flood(self, connections: int, dice: random.Random) -> None:
        """So many at once."""
        each = [Connection(self._port) for _ in range(connections)]
        await asyncio.gather(*(self.ask(one, dice, "flood") for one in each))
        for one in each:
            one.close()


Right = Callable[[str, str], bool]


def _innocent(dice: random.Random) -> tuple[str, str, bytes, Right]:
    """What is asked, and whether an answer to this id is right."""
    lot = dice.random()
    if lot < 0.55:
        return "pid", "", b"", lambda ident, text: text == ""
    if lot < 0.75:
        return "nap", f"s={dice.choice((0.02, 0.1, 0.4, 1.2))}", b"", lambda ident, text: text == ""
    if lot < 0.85:
        return "thread", "", b"", lambda ident, text: text == ident
    if lot < 0.93:
        body = dice.randbytes(dice.choice((10, 5_000, 150_000)))
        sha = hashlib.sha1(body).hexdigest()
        return "upload", "", body, lambda ident, text: text == sha
    if lot < 0.96:
        return "trickle", "", b"", lambda ident, text: text == trickle_text(ident)
    return "big", "", b"", lambda ident, text: text == big_text(ident)
