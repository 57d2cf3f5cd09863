"""Processes that only look at the machine: where that is to blame, no worker is.

    python -m tests.chaos.control FILE COMMAND ...

Becomes the command, and leaves a process on each processor behind, until the command ends. They
are of its session: the kernel divides processors among sessions first (`sched_autogroup_enabled`),
and one in which all are quick says nothing of another. Appends to the file a line
`late since until` (time of day) for each time in which one could not run itself, and
`busy since until` where more was ready to run than there are processors for.
"""

from __future__ import annotations

import os
import select
import sys
import time

LATE_S = 0.2
_SLEEP_MS = 20
_WINDOW_S = 0.5
_BUSY = 1.25


def main(path: str, command: list[str]) -> None:
    """Start to look, and become the command."""
    leader = os.getpid()
    for at, processor in enumerate(sorted(os.sched_getaffinity(0))):
        child = os.fork()
        if child == 0:
            # Nobody's child: the command may count those that it has.
            if os.fork() == 0:
                os.setpgid(0, 0)
                os.sched_setaffinity(0, {processor})
                look(path, leader, also_busy=at == 0)
            os._exit(0)
        os.waitpid(child, 0)
    os.execvp(command[0], command)


def look(path: str, leader: int, also_busy: bool) -> None:
    """Until that process has ended."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    ended = select.poll()
    ended.register(os.pidfd_open(leader), select.POLLIN)
    processors = os.cpu_count() or 1
    last = window = time.time()
    ready = list[int]()
    while not ended.poll(_SLEEP_MS):
        now = time.time()
        if now - last > LATE_S:
            os.write(file, f"late {last:.6f} {now:.6f}\n".encode())
        if also_busy:
            ready.append(runnable())
        if ready and now - window > _WINDOW_S:
            if sum(ready) / len(ready) > _BUSY * processors:
                os.write(file, f"busy {window:.6f} {now:.6f}\n".encode())
            window, ready = now, []
        last = now


def runnable() -> int:
    """How many others could run now."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[0]) - 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
