"""CPU time of a process as the operating system counts it."""

from __future__ import annotations

import os


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process, in seconds.

    From schedstat, which counts in nanoseconds: the ticks of /proc/<pid>/stat are too coarse for
    an idle process and for a short burst.
    """
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9
