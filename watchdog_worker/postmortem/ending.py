"""How a worker ended, as the arbiter and the kernel see it. Runs in the arbiter.

gunicorn tells its hook nothing of the exit status; what it has said itself, it knows: whether it
struck the worker for its silence, and whether it is shutting down.
"""

from __future__ import annotations

import inspect
import os
import resource
import signal
import sys
from itertools import islice
from typing import NamedTuple

from gunicorn.arbiter import Arbiter

from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.capture.stacks import outwards
from watchdog_worker.vitals.layout import Pulse

BOOT_FAILED = (Arbiter.WORKER_BOOT_ERROR, Arbiter.APP_LOAD_ERROR)
"""Statuses for which gunicorn ends everything."""
REAPS_IN_HANDLER = len(inspect.signature(Arbiter.handle_chld).parameters) > 1
"""Before gunicorn 25, workers are reaped, and hooks called, in a handler of SIGCHLD: in the middle
of whatever the arbiter is doing, a fork included."""
_FRAMES_UP = 6


class Kills(NamedTuple):
    """How often the kernel has killed for memory: as the worker last read it, and now."""

    where: str = ""
    """`cgroup` or `machine`; empty where it is not told."""
    before: int = 0
    now: int = 0

    @property
    def more(self) -> bool:
        """One at least is not explained by another worker's death."""
        return self.now > self.before


class Used(NamedTuple):
    """What a child has used in its whole life."""

    cpu_s: float = 0.0
    """Of user and system."""
    switches: int = 0
    """How often its threads gave way by themselves."""
    peak_bytes: int | None = None
    """Resident; None where another was larger, so that it is not known."""


class Ending(NamedTuple):
    """What is known at the moment at which a worker was found dead."""

    at: float
    """Monotonic seconds."""
    status: int | None = None
    """As waitpid gives it; None where nobody knows."""
    struck: bool = False
    """The arbiter has aborted it for its silence."""
    stopping: bool = False
    """The arbiter is ending all workers."""
    used: Used | None = None
    """By the whole worker; None where that is not known."""
    kills: Kills = Kills()
    left_behind: bool = False
    """Its recorder was found without anybody who knew it."""
    untold: int = 0
    """So many more have died in the same way, and were not told."""

    @property
    def by_arbiter(self) -> bool:
        """gunicorn itself has killed it."""
        return self.struck or (self.stopping and self.signal == "SIGKILL")

    @property
    def exit_code(self) -> int | None:
        """None where a signal ended it, or nobody knows."""
        if self.status is None or not os.WIFEXITED(self.status):
            return None
        return os.WEXITSTATUS(self.status)

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it."""
        if self.status is None or not os.WIFSIGNALED(self.status):
            return None
        number = os.WTERMSIG(self.status)
        try:
            return signal.Signals(number).name
        except ValueError:  # a real-time one
            return f"signal {number}"


def status_in_caller(pid: int) -> int | None:
    """The status of this child in the frame of gunicorn's `reap_workers` that is calling us.

    It is nowhere else: the kernel has given it away by then.
    """
    for frame in islice(outwards(sys._getframe(1)), _FRAMES_UP):
        if frame.f_code.co_name == "reap_workers":
            found = frame.f_locals
            status = found.get("status")
            return status if found.get("wpid") == pid and isinstance(status, int) else None
    return None


def is_stopping() -> bool:
    """Whether gunicorn is ending everything further up, also where a signal has interrupted it."""
    ends = (Arbiter.stop.__code__, Arbiter.halt.__code__)
    return any(frame.f_code in ends for frame in outwards(sys._getframe(1)))


def status_from_halt() -> int | None:
    """The status of the worker for which gunicorn is ending everything, in the frame of its `halt`.

    It takes two statuses for a boot that has failed, and asks no hook about that worker.
    """
    for frame in islice(outwards(sys._getframe(1)), _FRAMES_UP):
        if frame.f_code.co_name == "halt":
            status = frame.f_locals.get("exit_status")
            return status << 8 if status in BOOT_FAILED else None
    return None


class MemoryKills:
    """Counts kills for memory, so that each explains one death. Arbiter."""

    def __init__(self) -> None:
        self._explained: dict[str, int] = {}

    def since(self, pulse: Pulse, memory: Memory) -> Kills:
        """What has been counted since that look, and explains no other worker's death."""
        if memory.group == pulse.group and min(
                memory.group_oom_kills, pulse.group_oom_kills) >= 0:
            kills = Kills("cgroup", pulse.group_oom_kills, memory.group_oom_kills)
        elif min(memory.machine_oom_kills, pulse.machine_oom_kills) >= 0:
            kills = Kills("machine", pulse.machine_oom_kills, memory.machine_oom_kills)
        else:
            return Kills()
        kills = kills._replace(before=max(kills.before, self._explained.get(kills.where, 0)))
        if kills.more:
            self._explained[kills.where] = kills.before + 1
        return kills


class Children:
    """What the kernel has counted of children that have ended, since it was last asked. Arbiter."""

    def __init__(self) -> None:
        self._before = self._counted()

    def since(self) -> Used:
        """What has been added. It is one worker's, but for a reporter's little, if it is asked for
        each."""
        before, self._before = self._before, self._counted()
        now = self._before
        return Used(
            max(0.0, now.cpu_s - before.cpu_s), now.switches - before.switches,
            now.peak_bytes if (now.peak_bytes or 0) > (before.peak_bytes or 0) else None)

    @staticmethod
    def _counted() -> Used:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        return Used(used.ru_utime + used.ru_stime, used.ru_nvcsw, used.ru_maxrss * unit)
