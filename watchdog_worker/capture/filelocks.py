"""Which of the files that we have open is locked, and by whom, from the kernel's own list.

A database in a file (SQLite) waits for such a lock by asking again and again: the kernel sees a
thread that sleeps. Runs in the monitor thread and touches no file but those of /proc.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from watchdog_worker.capture.process import child
from watchdog_worker.capture.procfs import read

_MAX_FDS = 5000
_LIST_BYTES = 1 << 20
_SQLITE_RANGE = 0x40000000
"""SQLite locks bytes from here on, wherever the file ends (sqlite.org/fileformat2.html, 1.4)."""


class _Lock(NamedTuple):
    inode: str
    """Device and inode: `fe:00:1234`."""
    pid: int
    writes: bool
    start: int


def locked(fd: int) -> str | None:
    """This file with the holder of the lock on it; None where nobody holds one."""
    path = _path(str(fd))
    inode = _inode(str(fd), _devices())
    held = [lock for lock in _locks() if lock.inode == inode]
    return _told(path, held) if path and held else None


def locked_database() -> str | None:
    """The SQLite database that is locked, if it is one of ours and the only one."""
    held = [lock for lock in _locks() if lock.start >= _SQLITE_RANGE]
    if not held:
        return None
    found, devices = dict[str, list[_Lock]](), _devices()
    for fd in _fds():
        path = _path(fd)
        if path is not None and path.startswith("/") and path not in found:
            inode = _inode(fd, devices)
            mine = [lock for lock in held if lock.inode == inode]
            if mine:
                found[path] = mine
    return _told(*found.popitem()) if len(found) == 1 else None


def _told(path: str, held: list[_Lock]) -> str:
    """One who writes goes before one who reads, another process before ourselves."""
    pid = min(held, key=lambda lock: (not lock.writes, lock.pid == os.getpid())).pid
    by = "this very process" if pid == os.getpid() else (child(pid) or "").removeprefix("child ")
    return f"{path}, locked by {by}"


def _locks() -> Iterator[_Lock]:
    """`1: POSIX ADVISORY WRITE 4711 08:01:1234 0 EOF`; those that are waited for have `->`."""
    for line in read("/proc/locks", _LIST_BYTES).splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[1] != "->" and fields[4].isdigit() and fields[6].isdigit():
            yield _Lock(fields[5], int(fields[4]), fields[3] == "WRITE", int(fields[6]))


def _devices() -> dict[str, str]:
    """By mount: its device as /proc/locks writes it."""
    found = {}
    for line in read("/proc/self/mountinfo", _LIST_BYTES).splitlines():
        fields = line.split()
        major, _, minor = fields[2].partition(":")
        found[fields[0]] = f"{int(major):02x}:{int(minor):02x}"
    return found


def _fds() -> list[str]:
    try:
        return os.listdir("/proc/self/fd")[:_MAX_FDS]
    except OSError:
        return []


def _path(fd: str) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def _inode(fd: str, devices: dict[str, str]) -> str | None:
    lines = read(f"/proc/self/fdinfo/{fd}").splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    mount, inode = told.get("mnt_id", "").strip(), told.get("ino", "").strip()
    return f"{devices[mount]}:{inode}" if mount in devices and inode else None
