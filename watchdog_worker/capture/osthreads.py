"""What the kernel says a thread does: its state, its CPU time, what it waits for.

Reads /proc (proc(5)); everything is absent where the platform has none or refuses. Runs in the
monitor thread and takes no lock.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import NamedTuple

from watchdog_worker.capture import memory
from watchdog_worker.capture.descriptors import polled_by, target_of
from watchdog_worker.capture.filelocks import locked
from watchdog_worker.capture.process import child
from watchdog_worker.capture.procfs import read
from watchdog_worker.model import KernelWait

_TASK = "/proc/self/task"
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STATES = {"R": "running", "S": "sleeping", "D": "uninterruptible", "T": "stopped",
           "t": "traced", "Z": "zombie", "I": "idle"}

# The calls that threads of a web service are found in; numbers differ by machine
# (asm/unistd_64.h, asm-generic/unistd.h).
_CALLS = {
    "x86_64": {
        0: "read", 1: "write", 7: "poll", 19: "readv", 20: "writev", 23: "select", 35: "nanosleep",
        40: "sendfile", 42: "connect", 43: "accept", 44: "sendto", 45: "recvfrom", 46: "sendmsg",
        47: "recvmsg", 61: "wait4", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync",
        2: "open", 17: "pread64", 18: "pwrite64", 202: "futex", 230: "clock_nanosleep",
        232: "epoll_wait", 247: "waitid", 257: "openat", 270: "pselect6", 271: "ppoll",
        281: "epoll_pwait", 288: "accept4", 441: "epoll_pwait2",
    },
    "aarch64": {
        25: "fcntl", 32: "flock", 56: "openat", 63: "read", 64: "write", 65: "readv", 66: "writev",
        67: "pread64", 68: "pwrite64", 71: "sendfile", 72: "pselect6", 73: "ppoll", 82: "fsync",
        83: "fdatasync", 22: "epoll_pwait", 95: "waitid", 98: "futex", 101: "nanosleep",
        115: "clock_nanosleep", 202: "accept", 203: "connect", 206: "sendto", 207: "recvfrom",
        211: "sendmsg", 212: "recvmsg", 242: "accept4", 260: "wait4", 441: "epoll_pwait2",
    },
}.get(platform.machine(), {})

_FD_FIRST = {"read", "write", "readv", "writev", "pread64", "pwrite64", "connect", "accept",
             "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg", "fcntl", "flock", "fsync",
             "fdatasync", "sendfile"}


class KernelView(NamedTuple):
    """A thread as the kernel sees it; each part None where it is not told."""

    state: str | None = None
    cpu_s: float | None = None
    wait: KernelWait | None = None


def look(native_id: int) -> KernelView:
    """What the kernel says of this thread of our process; never raises."""
    state, cpu_s = _state_and_cpu(read(f"{_TASK}/{native_id}/stat"))
    return KernelView(state, cpu_s, _wait(native_id))


def _state_and_cpu(line: str) -> tuple[str | None, float | None]:
    # The second field is the thread's name in brackets, which may hold anything.
    fields = line.rpartition(")")[2].split()
    if len(fields) < 13:
        return None, None
    letter = fields[0]
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return f"{letter} ({_STATES[letter]})" if letter in _STATES else letter, cpu


def _wait(native_id: int) -> KernelWait | None:
    wchan = read(f"{_TASK}/{native_id}/wchan").strip()
    fields = read(f"{_TASK}/{native_id}/syscall").split()
    wchan = "" if wchan == "0" else wchan
    if len(fields) < 3 or not fields[0].isdigit():  # "running", or refused
        return KernelWait(wchan=wchan) if wchan else None
    number, arguments = int(fields[0]), [int(field, 16) for field in fields[1:7]]
    call = _CALLS.get(number, f"syscall {number}")
    fd, target = _subject(call, arguments)
    return KernelWait(wchan=wchan or None, syscall=call, fd=fd, target=target)


def _subject(call: str, arguments: list[int]) -> tuple[int | None, str | None]:
    """The descriptor that a call waits for, and the file, socket or child behind it."""
    if call == "wait4":
        return None, child(_signed(arguments[0]))
    if call == "waitid":
        return None, child(_signed(arguments[1]) if arguments[0] == os.P_PID else -1)
    if call in ("poll", "ppoll"):
        return _first_of(memory.pollfds(arguments[0], arguments[1]))
    if call in ("select", "pselect6"):
        return _first_of(memory.fd_sets(arguments[0], arguments[1:4]))
    if call.startswith("epoll_"):
        return _first_of(polled_by(arguments[0]))
    if call in ("open", "openat"):
        return None, memory.text(arguments[0 if call == "open" else 1]) or None
    if call in _FD_FIRST:
        fd = arguments[0] & 0xFFFFFFFF
        held = locked(fd) if call in ("flock", "fcntl") else None
        return fd, held or target_of(fd)
    return None, None


def _first_of(fds: Iterable[int]) -> tuple[int | None, str | None]:
    """Several descriptors: all that they lead to, and the one if there is only one."""
    several = list(fds)
    names = [name for name in (target_of(fd) for fd in several) if name]
    return (several[0] if len(several) == 1 else None), ", ".join(names) or None


def _signed(argument: int) -> int:
    """A system call's argument as the C int that it is."""
    return (argument & 0xFFFFFFFF) - ((argument & 0x80000000) << 1)
