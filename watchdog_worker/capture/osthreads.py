"""What the kernel says a thread does: its state, its CPU time, what it waits for.

Reads /proc (proc(5)); everything is absent where the platform has none or refuses. Runs in the
monitor thread and takes no lock.
"""

from __future__ import annotations

import os
import platform
import socket
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

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
_POLLFD = struct.Struct("ihh")
_MAX_POLLED = 64


class KernelView(NamedTuple):
    """A thread as the kernel sees it; each part None where it is not told."""

    state: str | None = None
    cpu_s: float | None = None
    wait: KernelWait | None = None


def look(native_id: int) -> KernelView:
    """What the kernel says of this thread of our process; never raises."""
    state, cpu_s = _state_and_cpu(_read(f"{_TASK}/{native_id}/stat"))
    return KernelView(state, cpu_s, _wait(native_id))


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _state_and_cpu(line: str) -> tuple[str | None, float | None]:
    # The second field is the thread's name in brackets, which may hold anything.
    fields = line.rpartition(")")[2].split()
    if len(fields) < 13:
        return None, None
    letter = fields[0]
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return f"{letter} ({_STATES[letter]})" if letter in _STATES else letter, cpu


def _wait(native_id: int) -> KernelWait | None:
    wchan = _read(f"{_TASK}/{native_id}/wchan").strip()
    fields = _read(f"{_TASK}/{native_id}/syscall").split()
    wchan = "" if wchan == "0" else wchan
    if len(fields) < 3 or not fields[0].isdigit():  # "running", or refused
        return KernelWait(wchan=wchan) if wchan else None
    number, arguments = int(fields[0]), [int(field, 16) for field in fields[1:7]]
    call = _CALLS.get(number, f"syscall {number}")
    fd, target = _subject(call, arguments)
    return KernelWait(wchan=wchan or None, syscall=call, fd=fd, target=target)


def _subject(call: str, arguments: list[int]) -> tuple[int | None, str | None]:
    """The descriptor that a call waits for, and the file, socket or child behind it."""
    if call in ("wait4", "waitid"):
        pid = arguments[0] if call == "wait4" else arguments[1]
        return None, _child(pid & 0xFFFFFFFF)
    if call in ("poll", "ppoll"):
        fds = _polled(arguments[0], arguments[1])
        names = [name for name in (target_of(fd) for fd in fds) if name]
        return (fds[0] if len(fds) == 1 else None), ", ".join(names) or None
    if call in _FD_FIRST:
        return arguments[0] & 0xFFFFFFFF, target_of(arguments[0] & 0xFFFFFFFF)
    return None, None


def _polled(address: int, count: int) -> list[int]:
    """The descriptors in an array of `struct pollfd` at this address of our own memory.

    Through /proc/self/mem: an address that is gone by now is an error there, not a crash.
    """
    count = min(count, _MAX_POLLED)
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(memory, count * _POLLFD.size, address)
        finally:
            os.close(memory)
    except (OSError, OverflowError):
        return []
    whole = len(data) - len(data) % _POLLFD.size
    return [fd for fd, _, _ in _POLLFD.iter_unpack(data[:whole]) if fd >= 0]


def _child(pid: int) -> str | None:
    if pid in (0, 0xFFFFFFFF):
        return "any child process"
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return f"child process {pid}" + (f" ({command[:100]})" if command else "")


def target_of(fd: int) -> str | None:
    """The peer of a socket (`tcp 10.0.3.4:5432`), or the path behind another descriptor."""
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            return _peer(fd)
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def _peer(fd: int) -> str | None:
    # A copy of the descriptor asks on our behalf, so that the owner's object is not touched.
    with socket.socket(fileno=os.dup(fd)) as copy:
        kind = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}.get(copy.type, "socket")
        if copy.family == socket.AF_UNIX:
            return _address("unix", copy.getpeername) or _address("unix", copy.getsockname)
        peer = _address(kind, copy.getpeername)
        if peer is None and kind == "tcp":
            peer = _connecting(os.fstat(fd).st_ino)
        return peer or _address(f"{kind} (no peer) local", copy.getsockname)


def _address(kind: str, ask: Callable[[], object]) -> str | None:
    try:
        address = ask()
    except OSError:
        return None
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{kind} {host}:{address[1]}"
    if isinstance(address, bytes):  # Linux's abstract namespace
        address = "@" + address[1:].decode("utf-8", "backslashreplace")
    return f"{kind} {address}" if address else f"{kind} (unnamed)"


def _connecting(inode: int) -> str | None:
    """The peer of a TCP socket that is not connected yet, from the kernel's own table."""
    for path, family in (("/proc/self/net/tcp", socket.AF_INET),
                         ("/proc/self/net/tcp6", socket.AF_INET6)):
        try:
            with open(path) as table:
                for line in table:
                    fields = line.split()
                    if len(fields) > 9 and fields[9] == str(inode):
                        return _from_table(fields[2], family)
        except OSError:
            continue
    return None


def _from_table(field: str, family: int) -> str | None:
    # Each 32-bit word of the address is printed in the machine's own byte order.
    address, _, port = field.partition(":")
    if int(port, 16) == 0:
        return None
    words = [int(address[at:at + 8], 16) for at in range(0, len(address), 8)]
    host = socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
    return f"tcp {f'[{host}]' if ':' in host else host}:{int(port, 16)}"
