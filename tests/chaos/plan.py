"""What is done when: a seed gives the same faults at the same times. Pure."""

from __future__ import annotations

import random
from typing import NamedTuple

MEAN_PAUSE_S = 1.2

STALLS = ("stall_in_sleep", "stall_computing", "stall_holding_gil")
"""Requests that block the loop for a while, and then answer."""
BLOCKS = ("block_in_sleep", "block_computing", "block_in_c", "block_at_lock")
"""Requests that block the loop until the kill, while Python could run."""
GIL_BLOCKS = ("block_in_pause", "block_in_deadlock")
"""The same with the GIL held."""
CRASHES = ("segfault", "segfault_in_thread", "abort", "leave_with_7", "leave_with_0")
FORKS = ("fork_and_exit", "fork_and_crash", "fork_and_terminate", "run_command")
"""Requests that have children, and answer how those ended."""
CLIENTS = ("slow_sender", "slow_reader", "half_a_request", "half_an_answer", "mute", "flood")
"""What clients do that is no fault of the worker's."""
TO_WORKER = ("KILL", "TERM", "QUIT", "INT", "STOP", "USR2")
TO_MASTER = ("HUP", "TTIN", "TTOU", "USR1")

_DECK = (
    *STALLS, *STALLS, "stall_in_sleep", "stall_in_sleep", "slices", "slices",
    *BLOCKS, *GIL_BLOCKS, *CRASHES, *FORKS, *CLIENTS, "flood",
    *TO_WORKER, "STOP", "STOP", "USR2", "USR2", "USR2", "TTIN", "TTOU", *TO_MASTER,
)
_SECONDS = {"STOP": (1.3, 2.8), "slices": (2.0, 4.0)} | dict.fromkeys(STALLS, (1.5, 2.5))


class Planned(NamedTuple):
    """One fault."""

    at: float
    """Seconds after the beginning."""
    kind: str
    number: int
    seconds: float
    """How long it is to last, where that can be said."""
    pick: float
    """Which of the workers, from 0 to 1, where one is chosen."""

    @property
    def id(self) -> str:
        """Of the request that carries it, or of the signal."""
        return f"f{self.number}-{self.kind}"


def plan(seconds: float, seed: int, least: int, most: int) -> list[Planned]:
    """All faults of a run, at random times; as kinds are dealt like cards, each comes soon. The
    number of workers stays between `least` and `most`: it begins, and HUP puts it back, at the
    middle."""
    dice, deck, planned, at = random.Random(seed), list[str](), list[Planned](), 1.0
    workers = first_workers(least, most)
    while (at := at + dice.expovariate(1 / MEAN_PAUSE_S)) < seconds:
        if not deck:
            deck = list(_DECK)
            dice.shuffle(deck)
        kind = deck.pop()
        low, high = _SECONDS.get(kind, (0.0, 0.0))
        length, pick = dice.uniform(low, high), dice.random()
        if kind in ("TTIN", "TTOU"):
            if least == most:
                continue
            kind = "TTOU" if workers == most else "TTIN" if workers == least else kind
            workers += 1 if kind == "TTIN" else -1
        elif kind == "HUP":
            workers = first_workers(least, most)
        planned.append(Planned(round(at, 3), kind, len(planned), round(length, 3), pick))
    return planned


def first_workers(least: int, most: int) -> int:
    """With how many it begins."""
    return (least + most + 1) // 2
