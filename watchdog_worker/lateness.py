"""Why the monitor woke late: the GIL was kept from it, or nothing of the process ran. Pure.

While a thread waits for the GIL it wakes after every switch interval to ask for it, and each of
these turns is a voluntary context switch that the kernel counts: some 190 a second with CPython's
5 ms (3.10 to 3.13). In a process that is stopped, throttled or starved there are next to none.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


_LEAST_S = 0.02
_SHARE = 0.1
_LEAST_TURNS = 20
_LONG_TURN_S = 0.05


class Reading(NamedTuple):
    """What counts up while time goes by; seconds but for the turns."""

    cpu_s: float | None = 0.0
    """CPU time of the loop's thread; None where the system does not tell."""
    process_cpu_s: float = 0.0
    turns: int | None = None
    """How often the monitor's thread gave way by itself; None where the system does not tell."""
    turn_s: float = 0.005
    """The interpreter's switch interval now."""
    collected_s: float = 0.0
    """Time spent in full garbage collections."""
    queued_s: float | None = None
    """For how long the loop's thread was ready and had no processor; None where it is not told."""
    threads: dict[int, float] | None = None
    """CPU time of the other threads, by native id."""


class Why(Enum):
    """What kept the monitor from running."""

    LOOP_KEPT_GIL = auto()
    ANOTHER_KEPT_GIL = auto()
    PAUSED = auto()
    UNKNOWN = auto()


def why_late(late_s: float, before: Reading, now: Reading) -> Why:
    """What the counts since the last look say of so much lateness.

    A process that is throttled asks and computes only while it runs: a tenth of the time is enough
    to tell it from one that did not run at all.
    """
    by_all = now.process_cpu_s - before.process_cpu_s
    if _asked_for_gil(late_s, by_all, before, now):
        by_loop = now.cpu_s is not None and before.cpu_s is not None and used_most(
            now.cpu_s - before.cpu_s, by_all)
        return Why.LOOP_KEPT_GIL if by_loop else Why.ANOTHER_KEPT_GIL
    return Why.PAUSED if by_all < _SHARE * late_s else Why.UNKNOWN


def _asked_for_gil(late_s: float, by_all: float, before: Reading, now: Reading) -> bool:
    if before.turns is None or now.turns is None or now.turn_s > _LONG_TURN_S:
        return by_all > late_s / 2  # the turns are not told, or too few to tell
    turns = now.turns - before.turns
    return turns >= _LEAST_TURNS and turns * now.turn_s > _SHARE * late_s


def used_most(cpu_s: float, process_cpu_s: float) -> bool:
    """Whether a thread used most of what the process did. Not of the time: a machine that is busy
    with other things makes everything take longer."""
    return cpu_s > _LEAST_S and cpu_s > process_cpu_s / 2
