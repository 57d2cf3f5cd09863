"""Long sequences cut in the middle: deep recursion repeats there, its ends tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")

_WALK_LIMIT = 100_000


def both_ends(items: Iterable[Item], first: int, last: int) -> tuple[list[Item], list[Item], int]:
    """The first and the last items, and how many are left out between them; one walk."""
    iterator = islice(items, _WALK_LIMIT)
    head = list(islice(iterator, first))
    tail: deque[Item] = deque(maxlen=last)
    beyond = 0
    for item in iterator:
        tail.append(item)
        beyond += 1
    return head, list(tail), beyond - len(tail)


def shares(max_frames: int) -> tuple[int, int]:
    """How many of the frames shown go to the outer end of a stack, and how many to the inner."""
    inner = max(1, max_frames * 2 // 3)
    return max(1, max_frames - inner), inner
