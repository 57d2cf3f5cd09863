"""The control group of this process: its limits, and what it has done about them.

Version 2 and the memory controller of version 1. Everything is absent where the platform has
none or refuses. Any thread; never raises.
"""

from __future__ import annotations

import os
import zlib
from functools import lru_cache
from typing import NamedTuple

from watchdog_worker.capture.procfs import read

_ROOT = "/sys/fs/cgroup"
_MEMORY = {
    "memory.current": "memory_current_bytes",
    "memory.max": "memory_max_bytes",
    "memory.usage_in_bytes": "memory_current_bytes",
    "memory.limit_in_bytes": "memory_max_bytes",
}
_PIDS = {"pids.current": "pids_current"}
_OOM = {"memory.events": ("oom", "oom_kill"), "memory.oom_control": ("oom_kill",)}
_CPU = {"cpu.stat": ("nr_throttled", "throttled_usec")}
_NO_LIMIT = 2 ** 60
"""Version 1 has no word for "none", but a number near the end of all numbers."""


class Memory(NamedTuple):
    """What of memory is counted; -1 and 0 where it is not told."""

    group: int = 0
    """A checksum of the group's name: counts of different groups have nothing in common."""
    limit_bytes: int = 0
    current_bytes: int = 0
    group_oom_kills: int = -1
    """Processes of the group that the kernel has killed for memory."""
    machine_oom_kills: int = -1
    """The same of the whole machine, other containers included; asked where the group's are not
    told."""


def figures() -> dict[str, int]:
    """The limits and events that are set, of all controllers."""
    folders = _folders()
    return {**_numbers(folders, {**_MEMORY, **_PIDS}), **_events(folders, {**_OOM, **_CPU})}


def memory() -> Memory:
    """What is counted of memory now."""
    folders = _folders()
    numbers, events = _numbers(folders, _MEMORY), _events(folders, _OOM)
    group, machine = events.get("memory_oom_kill", -1), -1
    if group < 0:
        machine = dict(_pairs("/proc/vmstat", 65536)).get("oom_kill", -1)
    return Memory(
        zlib.crc32("\n".join(folders).encode()),
        numbers.get("memory_max_bytes", 0), numbers.get("memory_current_bytes", 0),
        group, machine)


def _numbers(folders: tuple[str, ...], files: dict[str, str]) -> dict[str, int]:
    found = {}
    for folder in folders:
        for file, name in files.items():
            text = read(f"{folder}/{file}").strip()
            if text.isdigit() and int(text) < _NO_LIMIT:
                found[name] = int(text)
    return found


def _events(folders: tuple[str, ...], files: dict[str, tuple[str, ...]]) -> dict[str, int]:
    return {
        f"{file.partition('.')[0]}_{key}": value
        for folder in folders for file, keys in files.items()
        for key, value in _pairs(f"{folder}/{file}") if key in keys}


def _folders() -> tuple[str, ...]:
    return _folders_of(read("/proc/self/cgroup"))


@lru_cache(maxsize=4)
def _folders_of(groups: str) -> tuple[str, ...]:
    """Where the groups that count for us are shown; in a container, at the root."""
    found = []
    for line in groups.splitlines():
        _, controllers, name = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:  # version 2, alone or beside version 1
            roots = [root for root in (_ROOT, f"{_ROOT}/unified")
                     if os.path.exists(f"{root}/cgroup.controllers")]
        elif "memory" in controllers.split(","):
            roots = [f"{_ROOT}/memory"]
        else:
            continue
        for root in roots[:1]:
            found.append(root + name if os.path.isdir(root + name) else root)
    return tuple(found)


def _pairs(path: str, size: int = 4096) -> list[tuple[str, int]]:
    pairs = (line.partition(" ")[::2] for line in read(path, size).splitlines())
    return [(key, int(value)) for key, value in pairs if value.strip().isdigit()]
