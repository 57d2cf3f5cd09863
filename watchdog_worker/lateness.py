"""Why the monitor woke late: the GIL was kept from it, or nothing of the process ran. Pure.

While a thread waits for the GIL it wakes after every switch interval to ask for it, and each of
these turns is a voluntary context switch that the kernel counts: some 190 a second with CPython's
5 ms (3.10 to 3.13). In a process that is stopped, throttled or starved there are next to none.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


_LEAST_S = 0.02


class Reading(NamedTuple):
    """What counts up while time goes by; seconds but for the turns."""

    cpu_s: float = 0.0
    """CPU time of the loop's thread."""
    process_cpu_s: float = 0.0
    turns: int | None = None
    """How often the monitor's thread gave way by itself; None where the system does not tell."""
    turn_s: float = 0.005
    """The interpreter's switch interval now."""
    collected_s: float = 0.0
    """Time spent in full garbage collections."""


class Why(Enum):
    """What kept the monitor from running."""

    LOOP_KEPT_GIL = auto()
    ANOTHER_KEPT_GIL = auto()
    PAUSED = auto()
    UNKNOWN = auto()


def why_late(late_s: float, before: Reading, now: Reading) -> Why:
    """What the counts since the last look say of so much lateness."""
    by_loop, by_all = now.cpu_s - before.cpu_s, now.process_cpu_s - before.process_cpu_s
    computed = by_all > late_s / 2
    if before.turns is None or now.turns is None:
        waited = computed
    else:
        waited = (now.turns - before.turns) * now.turn_s > late_s / 2
    if waited or by_loop > late_s / 2:
        return Why.LOOP_KEPT_GIL if used_most(by_loop, by_all) else Why.ANOTHER_KEPT_GIL
    return Why.UNKNOWN if computed else Why.PAUSED


def used_most(cpu_s: float, process_cpu_s: float) -> bool:
    """Whether a thread used most of what the process did. Not of the time: a machine that is busy
    with other things makes everything take longer."""
    return cpu_s > _LEAST_S and cpu_s > process_cpu_s / 2
