"""A moderate load that stays the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.chaos.talk import OK, Connection

_SLOW_SHARE = 0.02
_FRESH_SHARE = 0.3
_CLIENTS = 24
_KEPT_FOR = 200
_TALKS_FOR, _TALK_PAUSE_S = 120, 0.5


class Load:
    """So many requests a second, and some WebSockets."""

    def __init__(self, port: int, rate: float, websockets: int = 3) -> None:
        self._port, self._pause_s, self._websockets = port, _CLIENTS / rate, websockets
        self._asked = 0
        self._over = asyncio.Event()
        self.outcomes = Counter[str]()
        """Of requests, and of messages that were echoed."""

    async def run(self) -> None:
        """Until `stop`."""
        await asyncio.gather(
            *(self._client(random.Random(number)) for number in range(_CLIENTS)),
            *(self._talker() for _ in range(self._websockets)))

    def stop(self) -> None:
        """Ask nothing new."""
        self._over.set()

    async def _client(self, dice: random.Random) -> None:
        kept = Connection(self._port)
        for number in range(1, 1_000_000_000):
            if self._over.is_set():
                break
            due = asyncio.get_running_loop().time() + dice.uniform(0.5, 1.5) * self._pause_s
            if dice.random() < _FRESH_SHARE:
                connection = Connection(self._port)
                await self._ask(connection, "pid")
                connection.close()
            else:
                await self._ask(kept, "slow" if dice.random() < _SLOW_SHARE else "pid")
            if number % _KEPT_FOR == 0:
                kept.close()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        kept.close()

    async def _ask(self, connection: Connection, what: str) -> None:
        self._asked += 1
        self.outcomes[(await connection.ask(f"i{self._asked}", what)).outcome] += 1

    async def _talker(self) -> None:
        while not self._over.is_set():
            try:
                async with connect(f"ws://127.0.0.1:{self._port}/talk") as talk:
                    for number in range(_TALKS_FOR):
                        await talk.send(str(number))
                        right = await talk.recv() == str(number)
                        self.outcomes[OK if right else "another echo"] += 1
                        if self._over.is_set():
                            break
                        await asyncio.sleep(_TALK_PAUSE_S)
            except (OSError, WebSocketException) as error:
                self.outcomes[f"websocket: {error}"] += 1
                await asyncio.sleep(1.0)
