"""How a worker ended, as the arbiter sees it, and why. Runs in the arbiter; the rest is pure.

gunicorn tells its hook nothing of the exit status; what it has said itself, it knows: whether it
struck the worker for its silence, and whether it is shutting down.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType
from typing import NamedTuple

from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.diagnosis.death import (
    CRASH,
    EXIT,
    KILLED,
    OOM_SUSPECTED,
    TIMEOUT,
    UNKNOWN,
)
from watchdog_worker.vitals.recording import Recording

_ORDERLY = {"SIGTERM", "SIGINT", "SIGQUIT"}
_CRASHES = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}
_NEAR_LIMIT = 0.9
_FRAMES_UP = 6


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
    cpu_s: float | None = None
    """CPU time of the whole worker, and of what else ended since the worker before it."""
    peak_bytes: int | None = None
    """What it had resident at its peak; None where that is not known."""
    left_behind: bool = False
    """Its recorder was found without anybody who knew it."""

    @property
    def exit_code(self) -> int | None:
        """None where a signal ended it, or nobody knows."""
        known = self.status is not None and os.WIFEXITED(self.status)
        return os.WEXITSTATUS(self.status) if known and self.status is not None else None

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
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES_UP):
        if frame is None:
            return None
        if frame.f_code.co_name == "reap_workers":
            found = frame.f_locals
            status = found.get("status")
            return status if found.get("wpid") == pid and isinstance(status, int) else None
        frame = frame.f_back
    return None


class Children:
    """What the kernel has counted of children that have ended, since it was last asked. Arbiter."""

    def __init__(self) -> None:
        self._cpu_s, self._peak = self._counted()

    def since(self) -> tuple[float, int | None]:
        """CPU seconds, of user and system; and the bytes that one had resident at its peak, if that
        was more than any before it."""
        before_s, before = self._cpu_s, self._peak
        self._cpu_s, self._peak = self._counted()
        return max(0.0, self._cpu_s - before_s), self._peak if self._peak > before else None

    @staticmethod
    def _counted() -> tuple[float, int]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        return used.ru_utime + used.ru_stime, used.ru_maxrss * unit


def orderly(ending: Ending, phase: str) -> bool:
    """Whether nothing is to be told: it left as it was meant to.

    A worker that exits in the middle of serving has not drained, whatever its status. Of one that
    failed to boot, gunicorn tells in its own way, and ends.
    """
    if ending.struck or ending.left_behind:
        return False
    if ending.status is None:
        return ending.stopping and phase in ("boot", "startup")
    return ending.signal in _ORDERLY or (ending.exit_code == 0 and phase != "serving")


def judged(
    ending: Ending, recording: Recording, memory: Memory
) -> tuple[str, tuple[str, ...]]:
    """The reason, and the evidence for it, a sentence each. `memory`: as it is counted now."""
    if ending.struck:
        return TIMEOUT, (f"arbiter: it had not been notified for {recording.timeout:g} s, and sent "
                         f"SIGABRT; {_died_of(ending)}",)
    if ending.signal in _CRASHES:
        return CRASH, ()
    if ending.exit_code is not None:
        return EXIT, ()
    kills = _memory_kills(recording, memory)
    if ending.signal == "SIGKILL":
        if kills:
            return OOM_SUSPECTED, (*kills, *_peak(ending))
        if ending.stopping:
            return KILLED, (_while_stopping(ending, recording),)
        return KILLED, _no_memory(recording, memory)
    if ending.signal is not None:
        return KILLED, ()
    full = _nearly_full(recording)
    if kills or full:
        return OOM_SUSPECTED, (*kills, *full)
    return UNKNOWN, ("recorder: it was found without its worker; its arbiter has ended, too",) if (
        ending.left_behind) else ("arbiter: somebody else has asked for its exit status",)


def _while_stopping(ending: Ending, recording: Recording) -> str:
    drained = "had not begun to drain" if recording.phase != "shutdown" else (
        f"had drained for {ending.at - recording.phase_since:.1f} s")
    return ("arbiter: it was ending all workers, and kills those that are left after "
            f"graceful_timeout = {recording.graceful_timeout:g} s; this one {drained}")


def _died_of(ending: Ending) -> str:
    if ending.signal == "SIGABRT":
        return "the worker died of it"
    if ending.signal == "SIGKILL":
        return "that did not end the worker, and SIGKILL followed"
    if ending.exit_code is not None:
        return f"the worker exited with status {ending.exit_code}"
    return f"the worker died of {ending.signal}" if ending.signal else "how it died is not known"


def _memory_kills(recording: Recording, memory: Memory) -> tuple[str, ...]:
    """What the kernel has counted since the worker's monitor last looked."""
    pulse, found = recording.pulse, []
    if not pulse.at:
        return ()
    if memory.group == pulse.group and 0 <= pulse.group_oom_kills < memory.group_oom_kills:
        found.append("cgroup: the kernel has killed for memory in it since "
                     f"(oom_kill {pulse.group_oom_kills} -> {memory.group_oom_kills})")
    elif 0 <= pulse.machine_oom_kills < memory.machine_oom_kills:
        found.append("kernel: it has killed for memory on this machine since (oom_kill "
                     f"{pulse.machine_oom_kills} -> {memory.machine_oom_kills} in /proc/vmstat), "
                     "it is not known whom")
    return (*found, *_use(recording)) if found else ()


def _no_memory(recording: Recording, memory: Memory) -> tuple[str, ...]:
    known = memory.group_oom_kills >= 0 or memory.machine_oom_kills >= 0
    said = ("kernel: it has counted no kill for memory" if known else
            "kernel: it does not tell here whether it has killed for memory")
    return ("arbiter: it has not sent this signal", said, *_use(recording))


def _peak(ending: Ending) -> tuple[str, ...]:
    return () if ending.peak_bytes is None else (
        f"arbiter: it had {_mib(ending.peak_bytes)} resident at its peak",)


def _nearly_full(recording: Recording) -> tuple[str, ...]:
    pulse = recording.pulse
    full = pulse.memory_limit_bytes and (
        pulse.memory_bytes > _NEAR_LIMIT * pulse.memory_limit_bytes)
    return _use(recording) if full else ()


def _use(recording: Recording) -> tuple[str, ...]:
    pulse = recording.pulse
    if not pulse.rss_bytes:
        return ()
    limit = f", its control group had {_mib(pulse.memory_bytes)} of " + (
        f"{_mib(pulse.memory_limit_bytes)}" if pulse.memory_limit_bytes else "no limit") if (
        pulse.memory_bytes) else ""
    return (f"recorder: it had {_mib(pulse.rss_bytes)} resident at the last look{limit}",)


def _mib(size: int) -> str:
    return f"{size / 2 ** 20:.0f} MiB"
