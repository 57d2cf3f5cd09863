"""Which of the files that we have open is locked, and by whom, from the kernel's own list.

A database in a file (SQLite) waits for such a lock by asking again and again: the kernel sees a
thread that sleeps. Runs in the monitor thread and touches no file but those of /proc.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from watchdog_worker.capture.process import child
from watchdog_worker.capture.procfs import read

_MAX_FDS = 1000


def locked(only: int | None = None) -> str | None:
    """The locked file among our descriptors (or this one), with its holder; None: there is none.

    One that another process holds goes before one of our own.
    """
    holders = dict(_holders())
    found = [(pid, path) for inode, path in _open_files(only) if (pid := holders.get(inode))]
    for pid, path in sorted(found, key=lambda each: each[0] == os.getpid()):
        by = "this very process" if pid == os.getpid() else (child(pid) or "").removeprefix(
            "child ")
        return f"{path}, locked by {by}"
    return None


def _holders() -> Iterator[tuple[str, int]]:
    """Inode and process of every lock: `1: POSIX ADVISORY WRITE 4711 08:01:1234 0 EOF`."""
    for line in read("/proc/locks", 65536).splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] != "->" and fields[4].isdigit() and fields[3] != "READ":
            yield fields[5].rpartition(":")[2], int(fields[4])


def _open_files(only: int | None) -> Iterator[tuple[str, str]]:
    """Inode and path of the regular files that we have open."""
    try:
        fds = [str(only)] if only is not None else os.listdir("/proc/self/fd")[:_MAX_FDS]
    except OSError:
        return
    for fd in fds:
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if path.startswith("/") and not path.startswith("/dev/"):
            for line in read(f"/proc/self/fdinfo/{fd}").splitlines():
                if line.startswith("ino:"):
                    yield line.split()[1], path
