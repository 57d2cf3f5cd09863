"""What the loop's thread does, as the kernel and its CPU time have it. Pure.

The second of the three kinds of evidence: it knows nothing of Python.
"""

from __future__ import annotations

from enum import Enum

from watchdog_worker.model import Effort, KernelWait, ThreadStack

_COMPUTING_SHARE = 0.5
_RUNNING_SHARE = 0.25
"""Is enough where the thread runs right now: a host that is busy takes time from a guest unseen."""
_STARVED_SHARE = 0.7
_STARVED_CPU = 0.1
_QUEUED_SHARE = 0.2
_LATE_S = 0.05
"""So late was the monitor itself, and it was not the GIL that it waited for: nor is the loop's
thread, which is ready to run. Since Linux 6.18 a throttled thread is in no queue that counts."""
_LEAST_S = 0.05
"""Less than this is too short to say what share of it was what."""
_OWN_NEED = 3
_OWN_S = 0.5
"""A thread that waits so many times longer for a processor than it has one is starved, unless it
has used so much of it that it would have blocked the loop on an idle machine, too."""


class Standing(Enum):
    """What a thread is at; the value completes `the thread ...`."""

    TIMER = "sleeps until a time is over"
    SOCKET = "waits for a socket"
    PIPE = "waits for a pipe"
    OUTPUT = "writes to its standard output"
    FILE = "waits for a file"
    FILE_LOCK = "waits for a lock on a file"
    CHILD = "waits for a child process"
    FUTEX = "waits for another thread"
    COMPUTING = "computes"
    STARVED = "is ready to run and gets no processor"


_CALLS = {
    "nanosleep": Standing.TIMER, "clock_nanosleep": Standing.TIMER,
    "wait4": Standing.CHILD, "waitid": Standing.CHILD,
    "futex": Standing.FUTEX,
    "connect": Standing.SOCKET, "accept": Standing.SOCKET, "accept4": Standing.SOCKET,
    "sendto": Standing.SOCKET, "sendmsg": Standing.SOCKET,
    "recvfrom": Standing.SOCKET, "recvmsg": Standing.SOCKET,
    "open": Standing.FILE, "openat": Standing.FILE,
    "fsync": Standing.FILE, "fdatasync": Standing.FILE,
    "pread64": Standing.FILE, "pwrite64": Standing.FILE,
    "flock": Standing.FILE_LOCK, "fcntl": Standing.FILE_LOCK,
}
_WITHOUT_TARGET = {
    "poll": Standing.TIMER, "ppoll": Standing.TIMER,
    "select": Standing.TIMER, "pselect6": Standing.TIMER,
}
# Where the system call is refused (a process that has changed its user), the kernel still names
# the function that the thread sleeps in; it varies by release, these parts of it do not.
_WCHANS = (
    ("nanosleep", Standing.TIMER), ("do_wait", Standing.CHILD), ("futex", Standing.FUTEX),
    ("pipe", Standing.PIPE), ("wait_for_partner", Standing.FILE), ("fifo", Standing.FILE),
    ("wait_woken", Standing.SOCKET), ("inet_", Standing.SOCKET), ("tcp_", Standing.SOCKET),
    ("unix_", Standing.SOCKET), ("skb_", Standing.SOCKET), ("sk_", Standing.SOCKET),
    ("locks_lock", Standing.FILE_LOCK), ("flock", Standing.FILE_LOCK),
)
_SOCKETS = ("tcp ", "udp ", "unix ", "socket ")
_OUTPUTS = (1, 2)


def standing(thread: ThreadStack, effort: Effort | None) -> Standing | None:
    """What this thread is at; None where nothing is told, or it tells of neither."""
    by_kernel = _by_wait(thread.wait) if thread.wait is not None else None
    if by_kernel is None and (thread.state or "").startswith("D"):
        by_kernel = Standing.FILE
    if effort is None or effort.cpu_s is None:
        return by_kernel
    awake_s, queued_s = effort.seconds - effort.paused_s, effort.queued_s or 0.0
    if awake_s >= _LEAST_S:
        runs = by_kernel is None and (thread.state or "").startswith("R")
        if effort.cpu_s / awake_s >= (_RUNNING_SHARE if runs else _COMPUTING_SHARE):
            return Standing.COMPUTING
        late = effort.late_s >= _LATE_S and not effort.gil_wait_s
        queued = queued_s / awake_s >= _QUEUED_SHARE
        if runs and (late or queued) and effort.cpu_s / awake_s < _STARVED_CPU:
            return Standing.STARVED
        asleep = by_kernel is not None and by_kernel is not Standing.FUTEX
        if (effort.cpu_s + queued_s) / awake_s >= _STARVED_SHARE and not asleep and queued_s:
            starved = queued_s > _OWN_NEED * effort.cpu_s and effort.cpu_s < _OWN_S
            return Standing.STARVED if starved else Standing.COMPUTING
    return by_kernel


def _by_wait(wait: KernelWait) -> Standing | None:
    if wait.syscall in _CALLS:
        return _CALLS[wait.syscall]
    if wait.syscall in ("write", "writev") and wait.fd in _OUTPUTS:
        return Standing.OUTPUT
    if wait.target:
        return _by_target(wait.target)
    if wait.syscall in _WITHOUT_TARGET:
        return _WITHOUT_TARGET[wait.syscall]
    if wait.syscall is None and wait.wchan:
        return next((found for part, found in _WCHANS if part in wait.wchan), None)
    return None


def _by_target(target: str) -> Standing | None:
    """Of several descriptors that it waits for at once, the first that says anything."""
    for each in target.split(", "):
        if each.startswith(_SOCKETS):
            return Standing.SOCKET
        if "child process" in each:
            return Standing.CHILD
        if each.startswith("pipe:"):
            return Standing.PIPE
        if each.startswith("/"):
            return Standing.FILE
    return None
