"""Figures of the whole process and its control group. Runs in the monitor thread."""

from __future__ import annotations

import os
import re
import resource
import sys
from time import monotonic

from watchdog_worker.capture import cgroup
from watchdog_worker.capture.procfs import read
from watchdog_worker.model import Process

_SEARCH_S = 0.05
_MAX_COMMAND = 100
_SECRET = re.compile(
    r"((?:pass|pwd|secret|token|auth|cred|(?:api|access|private)[-_]?key)[\w-]*(?:=|\s+|:\s*)"
    r"|://[^\s/:@]*:)[^\s@]+", re.IGNORECASE)


def figures() -> Process:
    """What the operating system counts for us now; parts it does not tell are None."""
    times = os.times()
    return Process(
        rss_bytes=rss(),
        cpu_user_s=round(times.user, 3),
        cpu_system_s=round(times.system, 3),
        threads=_entries("/proc/self/task"),
        open_fds=_open_fds(),
        cgroup=cgroup.figures() or None,
    )


def rss() -> int | None:
    """Bytes of memory that are ours now."""
    text = read("/proc/self/statm")
    if text:
        return int(text.split()[1]) * resource.getpagesize()
    if sys.platform == "darwin":  # the peak, in bytes there
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _entries(folder: str) -> int | None:
    try:
        return len(os.listdir(folder))
    except OSError:
        return None


def _open_fds() -> int | None:
    # Linux 6.2 and later keep the count as the folder's size; listing it would cost a pass.
    try:
        size = os.stat("/proc/self/fd").st_size
    except OSError:
        return _entries("/dev/fd")
    return size or _entries("/proc/self/fd")


def child(pid: int) -> str | None:
    """A child process in words."""
    if pid <= 0:
        return "a child process"
    command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return f"child process {pid}" + (f" ({masked(command)[:_MAX_COMMAND]})" if command else "")


def masked(command: str) -> str:
    """A command line without what looks like a secret."""
    return _SECRET.sub(lambda found: found[1] + "<masked>", command)


def other_end(pipe: str, reads: bool) -> str | None:
    """The child process of ours at the other end of `pipe:[…]`, in words; None: there is none.

    `reads`: we do, so it has to be able to write. One that holds both ends has only inherited them.
    """
    deadline = monotonic() + _SEARCH_S
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    for pid in sorted(pids, key=lambda pid: (pid <= os.getpid(), -pid)):
        if monotonic() > deadline:
            return None
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 1 and fields[1] == str(os.getpid()):
            if _modes(pid, pipe) == {os.O_WRONLY if reads else os.O_RDONLY}:
                return child(pid)
    return None


def _modes(pid: int, pipe: str) -> set[int]:
    """How this process has the pipe open."""
    found = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == pipe:
                for line in read(f"/proc/{pid}/fdinfo/{fd}").splitlines():
                    if line.startswith("flags:"):
                        found.add(int(line.split()[1], 8) & os.O_ACCMODE)
    except OSError:  # it has ended, or is not ours to look into
        pass
    return found
