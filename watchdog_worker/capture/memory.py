"""What the arguments of a system call point to, in our own memory.

Read through /proc/self/mem: an address that is gone by now is an error there, not a crash. Runs
in the monitor thread.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator

_POLLFD = struct.Struct("ihh")
_MAX_FDS = 64
_MAX_SET = 1024
_MAX_TEXT = 4096


def _read(address: int, size: int) -> bytes:
    """What is there; less, or nothing, where it cannot be read."""
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(memory, size, address) if address else b""
        finally:
            os.close(memory)
    except (OSError, OverflowError):
        return b""


def pollfds(address: int, count: int) -> list[int]:
    """The descriptors in an array of `struct pollfd`."""
    data = _read(address, min(count, _MAX_FDS) * _POLLFD.size)
    whole = len(data) - len(data) % _POLLFD.size
    return [fd for fd, _, _ in _POLLFD.iter_unpack(data[:whole]) if fd >= 0]


def fd_sets(count: int, addresses: Iterable[int]) -> list[int]:
    """The descriptors below `count` in `fd_set`s: bits in native words."""
    size = min(count, _MAX_SET) // 64 * 8 + 8
    found = {fd for address in addresses if address for fd in _bits(_read(address, size))}
    return sorted(fd for fd in found if fd < count)[:_MAX_FDS]


def _bits(data: bytes) -> Iterator[int]:
    for at, (word,) in enumerate(struct.iter_unpack("Q", data[: len(data) // 8 * 8])):
        yield from (at * 64 + bit for bit in range(64) if word >> bit & 1)


def text(address: int) -> str:
    """A C string, such as the path of a file that is being opened."""
    # It may end right before a page that is not there: up to the page's end first.
    first = 4096 - address % 4096
    data = _read(address, first)
    if b"\0" not in data:
        data += _read(address + first, _MAX_TEXT - first)
    return os.fsdecode(data.partition(b"\0")[0])
