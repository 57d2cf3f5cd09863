"""The last resort: stacks that faulthandler writes in C, when no Python thread can speak.

It writes to the worker's recorder: on a signal that ends the process, and from a timer in a
thread of its own if the monitor could not run before the arbiter's deadline. The timer is a dead
man's switch, which the monitor keeps pushing ahead of itself. Owned here and nowhere else: there
is one such timer in a process.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import threading
import weakref

from watchdog_worker.vitals import layout

_THREADS_MOST = 90
"""faulthandler writes a hundred threads at most, the newest first: the loop's would be cut off."""
_STANDARD_ERROR = 2
_FATAL_TITLE = b"Fatal Python error: "
"""In one write: whole lines hold it whole."""
_ABORTED = _FATAL_TITLE + b"Aborted"
_FORGOTTEN_MOST = 32 * 2 ** 20
"""Place in the file, and memory where it cannot be given back; the timer rests from then on."""
_FATAL = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)


class RawStacks:
    """Has faulthandler write to this descriptor, behind the recorder's own parts."""

    def __init__(self, fd: int, margin: float) -> None:
        """`margin`: how long before the arbiter's deadline the monitor speaks. In the second half
        of it, it is too late for that, and the timer writes."""
        self._fd, self._before_deadline = fd, margin / 2
        self._own = False
        self._all_threads = True
        self._due: float | None = None
        self._spoken_for: float | None = None
        self._began = layout.RAW_AT
        self._looked_to = self._doubted_to = self._began
        # Held across a fork too: a child of a process whose timer is armed would wait for the
        # timer's thread when it exits, which it has not got, for ever. Reentrant, as a signal
        # handler may fork in the middle of a fork.
        self._arming = threading.RLock()
        _all.add(self)

    @property
    def due(self) -> float | None:
        """When the timer will write (monotonic), None while it is not armed."""
        return self._due

    @property
    def began(self) -> int:
        """Where in the file what is not forgotten begins."""
        return self._began

    def take(self, preloaded: bool) -> None:
        """Take over the fatal signals, where nobody else has them. Main thread, before the
        application is imported, unless that was before the fork (`preloaded`).

        Some libraries live on SIGSEGV (WebAssembly, the JVM): faulthandler on top of their handler
        would turn what they catch into a death, and its `disable()` would take their handler away.
        """
        os.lseek(self._fd, layout.RAW_AT, os.SEEK_SET)
        if not faulthandler.is_enabled():
            if not _caught_in_c():
                faulthandler.enable(file=self._fd, all_threads=self._all_threads)
                self._own = True
            return
        if not preloaded:
            # It is the environment's; gunicorn has reset SIGABRT since, and enabling what is
            # enabled leaves it at that.
            aborted = signal.getsignal(signal.SIGABRT)
            faulthandler.disable()
            if callable(aborted):  # it has put back what was before that
                signal.signal(signal.SIGABRT, aborted)
        faulthandler.enable(file=self._fd, all_threads=self._all_threads)
        self._own = True

    def retake(self) -> None:
        """The application may have had it write elsewhere; its handlers stay as they are, and so
        does its being off. Main thread."""
        if self._own and faulthandler.is_enabled():
            faulthandler.enable(file=self._fd, all_threads=self._all_threads)

    def tend(self, now: float, deadline: float | None) -> None:
        """Push the timer ahead once half of its time has gone: a thread is made every time.
        Monitor thread, with every look."""
        self._choose_threads(deadline)
        if deadline is None:
            self._disarm()
        elif deadline != self._spoken_for:
            wanted = deadline - self._before_deadline
            if wanted <= now or self._began > layout.RAW_AT + _FORGOTTEN_MOST:
                return  # too late; what it has written is all that will be known
            if self._due is None or self._due - now < (wanted - now) / 2:
                self._disarm()  # it may be writing right now; this waits for it
                self._forget_timer()
                self._arm(now, wanted)

    def rest(self, deadline: float | None) -> None:
        """The monitor itself is about to speak before this deadline. Monitor thread.

        Stacks that are read in C while Python goes on can be torn.
        """
        self._spoken_for = deadline
        self._disarm()
        self._choose_threads(deadline)

    @property
    def aborted(self) -> bool:
        """Whether SIGABRT has come. Monitor thread."""
        return _ABORTED in self._written()

    def forget(self) -> None:
        """What `aborted` has seen is of no account; what came after that is. Monitor thread."""
        self._begin_at(self._looked_to)

    def _written(self) -> bytes:
        """What is not forgotten."""
        try:
            size = os.fstat(self._fd).st_size - self._began
            text = os.pread(self._fd, size, self._began) if size > 0 else b""
        except OSError:
            text = b""
        self._looked_to = self._began + len(text)
        return text

    def _forget_timer(self) -> None:
        """Whatever has kept the monitor from running is over, and what was written of it.

        Not the stacks of a signal that ends us right now: a text that may be theirs goes when it
        was there the last time as well, and we live (something that we have forked in C has died).
        """
        text = self._written()
        if _FATAL_TITLE in text or not text.endswith(b"\n"):
            until, self._doubted_to = self._doubted_to, self._looked_to
        else:
            until = self._looked_to
        self._begin_at(until)

    def _begin_at(self, until: int) -> None:
        """Readers begin here. The file is not cut: in C, somebody may be writing to its end."""
        before, self._began = self._began, max(self._began, until)
        first, last = (at - at % mmap.ALLOCATIONGRANULARITY for at in (before, self._began))
        if last > first and hasattr(mmap, "MADV_REMOVE"):
            try:
                with mmap.mmap(self._fd, last - first, offset=first) as forgotten:
                    forgotten.madvise(mmap.MADV_REMOVE)  # gives back the memory, moves nothing
            except OSError:  # not on this file system
                pass

    def _arm(self, now: float, due: float) -> None:
        with self._arming:
            if due > now:
                faulthandler.dump_traceback_later(due - now, file=self._fd)
                self._due = due

    def _disarm(self) -> None:
        with self._arming:
            if self._due is not None:
                self._due = None
                faulthandler.cancel_dump_traceback_later()

    def _choose_threads(self, deadline: float | None) -> None:
        """Which are written on a fatal signal: all, or the one alone that gets it, which is the
        loop's as a rule.

        That one where there are too many; and where the monitor has spoken before the arbiter's
        deadline, which shows that Python runs: to read the stack of a thread that runs ends in
        SIGSEGV, in three of ten cases that were tried (CPython 3.11), and then no `worker_abort` is
        called. While native code keeps the GIL, none of them runs.
        """
        spoken = deadline is not None and deadline == self._spoken_for
        few = len(threading._active) <= _THREADS_MOST  # type: ignore[attr-defined]
        wanted = few and not spoken
        if wanted is not self._all_threads and self._own:
            self._all_threads = wanted
            faulthandler.enable(file=self._fd, all_threads=wanted)

    def before_fork(self) -> None:
        """In the thread that forks. The monitor arms it again at its next look."""
        self._arming.acquire()
        if self._due is not None:
            self._due = None
            faulthandler.cancel_dump_traceback_later()

    def in_parent(self) -> None:
        """After the fork, in the parent."""
        self._arming.release()

    def in_child(self) -> None:
        """After the fork, in the child: what ends it is not its parent's story.

        The handlers stay, as others may stand on them; what they write goes where it would go
        without us, or nearly.
        """
        self._arming = threading.RLock()
        if self._own and faulthandler.is_enabled():
            self._own = False
            faulthandler.enable(file=_STANDARD_ERROR)


def _caught_in_c() -> bool:
    """Whether somebody has a handler in C for a signal that faulthandler wants; one in Python is
    called after it. Where the system does not tell, somebody may."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            caught = next(line for line in file if line.startswith("SigCgt:"))
        mask = int(caught.split()[1], 16)
    except (OSError, StopIteration, ValueError):
        return True
    return any(mask >> (number - 1) & 1 and not callable(signal.getsignal(number))
               for number in _FATAL)


_all: weakref.WeakSet[RawStacks] = weakref.WeakSet()


def _before_fork() -> None:
    for each in list(_all):
        each.before_fork()


def _in_parent() -> None:
    for each in list(_all):
        each.in_parent()


def _in_child() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
