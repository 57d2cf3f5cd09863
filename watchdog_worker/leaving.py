"""How a worker comes to its end, whoever wants it to.

gunicorn's signals, its reloader, its own death, a boot that hangs: each asks the worker to leave.
The loop leaves by itself, after a drain; a boot is left by an exception from a signal handler.
Where neither can be, the process ends on the spot: `ending`.

Signal handlers run in the main thread, between two bytecodes of whatever it is at; `tend` in the
monitor thread, with every look.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from watchdog_worker import overdue
from watchdog_worker.ending import Ending
from watchdog_worker.overdue import UNHEARD_S, WayOut
from watchdog_worker.ownthread import Leave
from watchdog_worker.vitals.heartbeat import STARTUP, Heartbeat
from watchdog_worker.vitals.recorder import Recorder

_OWN_TURN_S = 0.3
"""What the main thread gets to do before the monitor does it."""
_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)


class Server(Protocol):
    """What serves until it is to leave."""

    def abandon(self) -> None:
        """Give up starting. Main thread."""

    def hasten(self) -> None:
        """Wait for no request any more. Main thread."""


class Leaving:
    """One worker's way out. Built in the main thread, after the fork."""

    def __init__(
        self, worker: Any, arbiter: Any, heartbeat: Heartbeat, recorder: Recorder,
        settle: Callable[[float], None], notice: Callable[[str, int], None],
    ) -> None:
        """`settle` waits so many seconds for reports under way; `notice` says a line."""
        self._worker, self._heartbeat, self._notice = worker, heartbeat, notice
        self._ending = Ending(worker, arbiter, heartbeat, recorder, settle, notice)
        self._main = threading.get_ident()
        self.server: Server | None = None
        self.asked_at: float | None = None
        """When it was first asked to leave (monotonic)."""
        self._quick_at: float | None = None
        self._orphaned = False
        self._by_itself = False
        """Nobody has asked it to leave but itself: it recycles."""
        self._drained_at: float | None = None
        self._left_over_since: float | None = None
        self._gone = False
        """An exception is on its way that ends it."""
        self._abandoned = False
        """It is giving up to start."""
        self._status: int | None = None
        """The exit status of an end that is forced."""
        self._forced_at = 0.0
        self._loop_ended = False
        self._abort_seen_at: float | None = None
        _all.add(self)

    @property
    def drain_s(self) -> float:
        """How long a drain may take that begins now; the rest of `graceful_timeout` is for what
        comes after it: lifespan shutdown, and what the application does then."""
        now = monotonic()
        asked = now if self.asked_at is None else self.asked_at
        return max(0.0, asked + self._graceful_s - overdue.margin(self._graceful_s) - now)

    @property
    def quick(self) -> bool:
        """It is to wait for no request."""
        return self._quick_at is not None

    def install(self) -> None:
        """Take over the signals that end a worker. Main thread."""
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._on_quit)
        signal.signal(signal.SIGABRT, self._on_abort)

    def has_drained(self) -> None:
        """The server has ended; from now on the end comes from here, and in time. Main thread."""
        self._drained_at = monotonic()

    def loop_has_ended(self) -> None:
        """gunicorn's `worker_exit` comes next, then what the interpreter does at its end. Main
        thread."""
        self._loop_ended = True

    @property
    def drained(self) -> bool:
        """Whether the server has ended. Any thread."""
        return self._drained_at is not None

    def deafen(self) -> None:
        """At the interpreter's end, where Python takes its handlers away: a signal that comes once
        more (gunicorn repeats them) is no way to die for a process that has left."""
        for number in (*_OURS, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    def ask(self, quick: bool = False, by_itself: bool = False) -> None:
        """To leave, after a drain or (`quick`) without waiting for requests. Any thread."""
        self._by_itself = by_itself and not quick
        now = monotonic()
        if self.asked_at is None:
            self.asked_at = now
        if quick and self._quick_at is None:
            self._quick_at = now
        self._worker.alive = False  # what gunicorn's own workers look at, and our server

    def terminate(self) -> None:
        """SIGTERM: leave after a drain. Main thread."""
        self.ask()
        if self._is_before_loop:
            self._go(0)

    @property
    def _is_before_loop(self) -> bool:
        """The loop does not run yet; a subclass that serves in a way of its own notifies."""
        return self._heartbeat.loop is None and not self._worker.notifications

    def quit(self) -> None:
        """SIGINT, SIGQUIT: leave without waiting for requests; or an end that the monitor forces.
        Main thread. May raise SystemExit."""
        first = not self.quick and self._status is None
        if self._status is None:
            self.ask(quick=True)
        if first:
            self._ending.call("worker_int", self._worker)
        starting = self._heartbeat.phase is STARTUP
        if self._is_before_loop:
            self._go(self.status)
        elif self._loop_ended and self._status is None:
            return  # it is on its way
        elif self.server is None or self._is_blocked or (
                self._status is not None and (not starting or self._abandoned)):
            self._ending.end(self.status)
        elif starting:
            # Not by an exception: it would end up in whatever the lifespan is at.
            self._abandoned = True
            self._ending.mark(self.status)
            self.server.abandon()
        else:
            self.server.hasten()

    @property
    def ending(self) -> bool:
        """The process is being ended, or SIGABRT has come to end it. Monitor thread."""
        return self._ending.begun or self._abort_seen_at is not None

    @property
    def status(self) -> int:
        """What it is to exit with."""
        return self._status or 0

    @property
    def _is_blocked(self) -> bool:
        """The loop is, as far as can be told."""
        last_sign = self._heartbeat.last_sign
        return last_sign is None or (
            monotonic() - last_sign > self._heartbeat.interval + UNHEARD_S)

    def _go(self, status: int) -> None:
        """Leave a boot; gunicorn runs `worker_exit` on the way."""
        if self._gone or self._ending.gunicorn_has_ended:
            return  # it is on its way
        self._gone = True
        self._ending.mark(status)
        raise Leave(status)

    def _on_term(self, number: int, frame: object) -> None:
        self.terminate()

    def _on_quit(self, number: int, frame: object) -> None:
        self.quit()

    def _on_abort(self, number: int, frame: object) -> None:
        self._ending.end(1, aborted=True)

    def force(self, status: int) -> None:
        """Have the process end soon, whatever it is at. Monitor thread."""
        if self._status is None:
            self._status, self._forced_at = status, monotonic()
            self.ask()
            signal.pthread_kill(self._main, signal.SIGQUIT)

    def overdue(self, now: float, deadline: float | None) -> int | None:
        """The exit status, if it is time to force an end. Monitor thread."""
        self._look_around()
        if self._status is not None:
            return None
        self._note_left_over(now)
        return overdue.status(WayOut(
            now, self._graceful_s, self.asked_at, self._quick_at, self._by_itself, self._orphaned,
            starting=self._heartbeat.phase is STARTUP,
            blocked=self._is_blocked,
            requests=self._heartbeat.has_requests,
            left_over_since=self._left_over_since,
            loop_ended=self._loop_ended,
            deadline=deadline,
        ))

    def _note_left_over(self, now: float) -> None:
        """Whether only threads and tasks of the application go on: after the server while the loop
        still cleans up, and once the interpreter waits for threads. Not in gunicorn's hook."""
        if not self._loop_ended:
            self._left_over_since = self._drained_at
        elif not _waits_for_threads(self._main):
            self._left_over_since = None
        elif self._left_over_since is None:
            self._left_over_since = now

    def tend(self, now: float, aborted: bool) -> None:
        """See to it that what is to end does. Monitor thread.

        `aborted`: SIGABRT has come, and was seen in C; the main thread may be unable to see to it.
        """
        if aborted and self._abort_seen_at is None:
            self._abort_seen_at = now
        self._ending.cut_off(now)
        if self._ending.begun:
            return
        if self._abort_seen_at is not None and self._is_blocked and (
                now - self._abort_seen_at > _OWN_TURN_S):
            self._ending.elsewhere(1, aborted=True)
        elif self._status is not None and now - self._forced_at > UNHEARD_S:
            self._ending.elsewhere(self._status)

    def is_false_alarm(self) -> bool:
        """The loop has gone on since SIGABRT was seen in C, and our handler, which comes first, was
        not called: a child has written it that C code has forked. Monitor thread."""
        seen, last_sign = self._abort_seen_at, self._heartbeat.last_sign
        if seen is None or last_sign is None or last_sign <= seen or self._ending.begun:
            return False
        self._abort_seen_at = None
        return True

    def _look_around(self) -> None:
        """Whether there is a reason to leave that no signal tells of."""
        if not self._orphaned and os.getppid() != self._worker.ppid:
            self._orphaned = True
            self._notice("watchdog: gunicorn's master has died, the worker leaves",
                         logging.WARNING)
            self.ask()
        if self.asked_at is None and not self._worker.alive:  # gunicorn's reloader has said so
            self.ask(quick=True)

    @property
    def _graceful_s(self) -> float:
        return float(self._worker.cfg.graceful_timeout)

    def in_child(self) -> None:
        """After a fork, in the child: a signal ends it as it would end any process. With our
        handlers and uvicorn's it would only ask a server that it does not run."""
        for number in _OURS:
            owner = getattr(signal.getsignal(number), "__self__", None)
            if owner is not None and owner in (self, self.server):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT
                              else signal.SIG_DFL)
        # What comes to the child would wake the loop of its parent.
        signal.set_wakeup_fd(-1)


def _waits_for_threads(main: int) -> bool:
    """Whether the interpreter, at its end, is about to wait for threads that are no daemons."""
    frame = sys._current_frames().get(main)
    while frame is not None:
        if frame.f_code is threading._shutdown.__code__:  # type: ignore[attr-defined]
            return True
        frame = frame.f_back
    return False


_all: weakref.WeakSet[Leaving] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(after_in_child=_in_child)
