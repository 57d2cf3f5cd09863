"""What is behind a descriptor: the peer of a socket, a path. Runs in the monitor thread.

Never touches the file itself: its file system may be the one that blocks the loop.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from watchdog_worker.capture.procfs import read

_KINDS: dict[int, str] = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}


def target_of(fd: int) -> str | None:
    """The peer of a socket (`tcp 10.0.3.4:5432`), or the path behind another descriptor."""
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


def polled_by(epoll: int) -> list[int]:
    """The descriptors that an epoll instance watches."""
    lines = read(f"/proc/self/fdinfo/{epoll}").splitlines()
    fields = (line.split() for line in lines if line.startswith("tfd:"))
    return [int(each[1]) for each in fields if len(each) > 1 and each[1].isdigit()]
