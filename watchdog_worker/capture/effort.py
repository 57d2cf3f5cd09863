"""What the process does while the loop is silent: who computes, who waits for whom.

Built in the loop's thread; all else runs in the monitor thread.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable

from watchdog_worker.capture.procfs import read
from watchdog_worker.lateness import Reading, used_most
from watchdog_worker.model import Effort
from watchdog_worker.signs import Episode
from watchdog_worker.vitals.garbage import Garbage

_RUSAGE_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)
_MAX_THREADS = 200
_THREAD_CLOCK = 0b110
"""The lowest bits of the clock of a thread's CPU time (Linux, CPUCLOCK_SCHED of one thread)."""


class Gauge:
    """Reads what counts up in this process, and tells what a silence has added to it."""

    def __init__(self) -> None:
        self._loop_cpu = _cpu_clock(threading.get_ident())
        self._loop_native_id = threading.get_native_id()
        self._schedstat = f"/proc/self/task/{self._loop_native_id}/schedstat"
        self._garbage = Garbage()

    def start(self) -> None:
        """Begin to count the garbage collector's time."""
        self._garbage.start()

    def reading(self) -> Reading:
        """What the counts are now. Reads a file, and so gives up the GIL."""
        return Reading(
            self._loop_cpu(),
            time.process_time(),
            None if _RUSAGE_THREAD is None else resource.getrusage(_RUSAGE_THREAD).ru_nvcsw,
            sys.getswitchinterval(),
            self._garbage.collected_s,
            self._queued(),
            _threads_cpu(self._loop_native_id),
        )

    def effort(self, episode: Episode, now: Reading, at: float, over: bool) -> Effort:
        """What this silence has added to the counts, up to a reading at some moment (monotonic)."""
        before = episode.reading
        process = now.process_cpu_s - before.process_cpu_s
        return Effort(
            seconds=round(at - episode.watched_since, 3),
            silent_s=round(at - episode.since - episode.paused_in_all_s, 3),
            cpu_s=_added(before.cpu_s, now.cpu_s),
            process_cpu_s=round(process, 3),
            gil_wait_s=round(episode.gil_wait_s, 3),
            paused_s=round(episode.paused_s, 3),
            collected_s=round(now.collected_s - before.collected_s, 3),
            queued_s=_added(before.queued_s, now.queued_s),
            late_s=round(episode.late_s, 3),
            over=over,
            busiest=_busiest(before.threads or {}, now.threads or {}, process),
        )

    def _queued(self) -> float | None:
        fields = read(self._schedstat).split()  # proc(5)
        return int(fields[1]) / 1e9 if len(fields) > 1 and fields[1].isdigit() else None


def _added(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else round(now - before, 3)


def _busiest(before: dict[int, float], now: dict[int, float], process: float) -> int | None:
    """The other thread that used most of what the process did meanwhile, if one did."""
    return next((native_id for native_id, cpu_s in now.items()
                 if used_most(cpu_s - before.get(native_id, 0.0), process)), None)


def _threads_cpu(loop_native_id: int) -> dict[int, float] | None:
    """By the kernel's clocks, which are asked for without giving up the GIL."""
    if not sys.platform.startswith("linux"):
        return None
    found = {}
    for thread in list(threading._active.values())[:_MAX_THREADS]:  # type: ignore[attr-defined]
        native_id = getattr(thread, "_native_id", None)
        if type(native_id) is int and native_id != loop_native_id:
            try:
                found[native_id] = time.clock_gettime(~native_id << 3 | _THREAD_CLOCK)
            except OSError:  # it has ended
                pass
    return found


def _cpu_clock(thread_id: int) -> Callable[[], float | None]:
    """CPU time of a thread for any other to read."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return lambda: None
    clock = time.pthread_getcpuclockid(thread_id)
    return lambda: time.clock_gettime(clock)
