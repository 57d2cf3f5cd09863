"""What the kernel says a thread does: its state, its CPU time, what it waits for.

Reads /proc (proc(5)); everything is absent where the platform has none or refuses. Runs in the
monitor thread and takes no lock.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

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
_KINDS: dict[int, str] = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
_POLLFD = struct.Struct("ihh")
_MAX_POLLED = 64


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
        return None, _child(_signed(arguments[0]))
    if call == "waitid":
        return None, _child(_signed(arguments[1]) if arguments[0] == os.P_PID else -1)
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


def _signed(argument: int) -> int:
    """A system call's argument as the C int that it is."""
    return (argument & 0xFFFFFFFF) - ((argument & 0x80000000) << 1)


def _child(pid: int) -> str | None:
    if pid <= 0:
        return "a child process"
    command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return f"child process {pid}" + (f" ({command[:100]})" if command else "")


def target_of(fd: int) -> str | None:
    """The peer of a socket (`tcp 10.0.3.4:5432`), or the path behind another descriptor.

    Never touches the file itself: its file system may be the one that blocks the loop.
    """
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
        return _peer(fd, path) if path.startswith("socket:[") else path
    except OSError:
        return None


def _peer(fd: int, link: str) -> str | None:
    with _copy(fd) as copy:
        kind = _KINDS.get(copy.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), "socket")
        if copy.family == socket.AF_UNIX:
            return _address("unix", copy.getpeername) or _address("unix", copy.getsockname)
        peer = _address(kind, copy.getpeername)
        if peer is None and kind == "tcp":
            peer = _connected(link.removeprefix("socket:[").removesuffix("]"))
        return peer or _address(f"{kind} (no peer) local", copy.getsockname)


def _copy(fd: int) -> socket.socket:
    """A socket object of our own on the same socket; closing it closes nothing else.

    Said to be non-blocking already, or Python would make it so where the application has called
    `socket.setdefaulttimeout`, and with it the application's own socket: both share the flag.
    """
    own = os.dup(fd)
    try:
        return socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK, fileno=own)
    except BaseException:
        os.close(own)
        raise


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


def _connected(inode: str) -> str | None:
    """The peer of a TCP socket, also of one not connected yet, from the kernel's own table."""
    for path, family in (("/proc/self/net/tcp", socket.AF_INET),
                         ("/proc/self/net/tcp6", socket.AF_INET6)):
        try:
            with open(path) as table:
                for line in table:
                    fields = line.split()
                    if len(fields) > 9 and fields[9] == inode:
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
