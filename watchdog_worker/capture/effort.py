"""What the process does while the loop is silent: who computes, who waits for whom.

Built in the loop's thread; all else runs in the monitor thread. `reading` comes before every
picture and gives up the GIL nowhere: whoever kept it must stand where he stood.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable

from watchdog_worker.capture.procfs import read
from watchdog_worker.lateness import Reading
from watchdog_worker.model import Effort
from watchdog_worker.signs import Episode
from watchdog_worker.vitals.garbage import Garbage

_RUSAGE_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)


class Gauge:
    """Reads what counts up in this process, and tells what a silence has added to it."""

    def __init__(self) -> None:
        self._loop_cpu = _cpu_clock(threading.get_ident())
        self._schedstat = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._queued_before: float | None = None
        self._garbage = Garbage()

    def start(self) -> None:
        """Begin to count the garbage collector's time."""
        self._garbage.start()

    def reading(self) -> Reading:
        """What the counts are now."""
        return Reading(
            self._loop_cpu(),
            time.process_time(),
            None if _RUSAGE_THREAD is None else resource.getrusage(_RUSAGE_THREAD).ru_nvcsw,
            sys.getswitchinterval(),
            self._garbage.collected_s,
        )

    def healthy(self) -> None:
        """The loop shows life: what will be told of a silence counts from here."""
        self._queued_before = self._queued()

    def effort(self, episode: Episode, now: Reading, at: float) -> Effort:
        """What this silence has added to the counts, up to a reading at some moment (monotonic)."""
        before, queued = episode.reading, self._queued()
        seconds = at - episode.watched_since
        if queued is not None and self._queued_before is not None:
            # It counts from a look that may have been a little earlier.
            queued = round(min(queued - self._queued_before, seconds), 3)
        else:
            queued = None
        return Effort(
            seconds=round(seconds, 3),
            cpu_s=round(now.cpu_s - before.cpu_s, 3),
            process_cpu_s=round(now.process_cpu_s - before.process_cpu_s, 3),
            gil_wait_s=round(episode.gil_wait_s, 3),
            paused_s=round(episode.paused_s, 3),
            collected_s=round(now.collected_s - before.collected_s, 3),
            queued_s=queued,
        )

    def _queued(self) -> float | None:
        """For how long the loop's thread has been ready and had no processor (proc(5))."""
        fields = read(self._schedstat).split()
        return int(fields[1]) / 1e9 if len(fields) > 1 and fields[1].isdigit() else None


def _cpu_clock(thread_id: int) -> Callable[[], float]:
    """CPU time of a thread for any other to read; of the process where it is hidden."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time
    clock = time.pthread_getcpuclockid(thread_id)
    return lambda: time.clock_gettime(clock)
