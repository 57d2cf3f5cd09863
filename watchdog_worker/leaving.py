"""How a worker comes to its end, whoever wants it to.

gunicorn's signals, its reloader, its own death, a boot that hangs: each asks the worker to leave.
The loop leaves by itself, after a drain; a boot is left by an exception from a signal handler.
Where neither can be, the process ends here, with the server hooks run: `end`.

Signal handlers run in the main thread, between two bytecodes of whatever it is at; `tend` in the
monitor thread, with every look.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from watchdog_worker.ownthread import Leave, OwnThread, words
from watchdog_worker.vitals.heartbeat import STARTUP, Heartbeat
from watchdog_worker.vitals.recorder import Recorder

_MARGIN_S = 1.0
"""So much of `graceful_timeout`, and no more than a quarter, is for what comes after the drain."""
_UNHEARD_S = 1.0
"""A loop that has shown no sign of life for so long will not leave by itself soon."""
_LEFT_OVER_S = 2.0
"""What threads and tasks of the application get that go on when the server has ended."""
_OWN_TURN_S = 0.3
"""What the main thread gets to do before the monitor does it."""
_END_S = 3.0
"""Hooks and logs that take longer are cut off."""
_SETTLE_S = 0.3
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
        self._worker, self._arbiter, self._heartbeat = worker, arbiter, heartbeat
        self._recorder, self._settle, self._notice = recorder, settle, notice
        self._main = threading.get_ident()
        self.server: Server | None = None
        self.asked_at: float | None = None
        """When it was first asked to leave (monotonic)."""
        self.quick = False
        """It is to wait for nothing."""
        self._quick_at = 0.0
        self._orphaned = False
        self._by_itself = False
        """Nobody has asked it to leave but itself: it recycles."""
        self._drained_at = math.inf
        self._gone = False
        """An exception is on its way that ends it."""
        self._abandoned = False
        """It is giving up to start."""
        self._status: int | None = None
        """The exit status of an end that is forced."""
        self._forced_at = 0.0
        self._ending = threading.Lock()
        self._ending_since: float | None = None
        self._abort_seen_at: float | None = None
        _all.add(self)

    @property
    def drain_s(self) -> float:
        """How long a drain may take that begins now; the rest of `graceful_timeout` is for what
        comes after it: lifespan shutdown, and what the application does then."""
        now = monotonic()
        asked = now if self.asked_at is None else self.asked_at
        return max(0.0, asked + self._graceful_s - self._margin_s - now)

    def install(self) -> None:
        """Take over the signals that end a worker. Main thread."""
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._on_quit)
        signal.signal(signal.SIGABRT, self._on_abort)

    def has_drained(self) -> None:
        """The server has ended. What the application has left running gets a moment: uvicorn's own
        worker dies of the signal here. One that recycles itself waits for it."""
        if not self._by_itself:
            self._drained_at = monotonic()

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
        if quick and not self.quick:
            self.quick, self._quick_at = True, now
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
            self._call("worker_int", self._worker)
        starting = self._heartbeat.phase is STARTUP
        if self._is_before_loop:
            self._go(self.status)
        elif self.server is None or self._is_blocked or (
                self._status is not None and (not starting or self._abandoned)):
            self.end(self.status)
        elif starting:
            # Not by an exception: it would end up in whatever the lifespan is at.
            self._abandoned = True
            self._mark(self.status)
            self.server.abandon()
        else:
            self.server.hasten()

    @property
    def ending(self) -> bool:
        """The process is being ended, or SIGABRT has come to end it. Monitor thread."""
        return self._ending_since is not None or self._abort_seen_at is not None

    @property
    def status(self) -> int:
        """What it is to exit with."""
        return self._status or 0

    @property
    def _is_blocked(self) -> bool:
        """The loop is, as far as can be told."""
        last_sign = self._heartbeat.last_sign
        return last_sign is None or (
            monotonic() - last_sign > self._heartbeat.interval + _UNHEARD_S)

    def _go(self, status: int) -> None:
        """Leave a boot; gunicorn runs `worker_exit` on the way."""
        if self._gone or self._gunicorn_has_ended_it:
            return  # it is on its way
        self._gone = True
        self._mark(status)
        raise Leave(status)

    def _mark(self, status: int, aborted: bool = False) -> None:
        """For those who come after us: this end is no accident."""
        if aborted:
            self._recorder.end("aborted")
        elif status:
            self._recorder.end("dismissed")
        else:
            self._heartbeat.leave()

    def _on_term(self, number: int, frame: object) -> None:
        self.terminate()

    def _on_quit(self, number: int, frame: object) -> None:
        self.quit()

    def _on_abort(self, number: int, frame: object) -> None:
        self.end(1, aborted=True)

    def force(self, status: int) -> None:
        """Have the process end soon, whatever it is at. Monitor thread."""
        if self._status is None:
            self._status, self._forced_at = status, monotonic()
            self.ask()
            signal.pthread_kill(self._main, signal.SIGQUIT)

    def tend(self, now: float, deadline: float | None, loop_ended: bool, aborted: bool) -> None:
        """See to it that what is to end does. Monitor thread.

        `aborted`: SIGABRT has come, and was seen in C; the main thread may be unable to see to it.
        """
        self._look_around()
        status = self._overdue(now, deadline, loop_ended)
        if status is not None:
            self.force(status)
        if aborted and self._abort_seen_at is None:
            self._abort_seen_at = now
        if self._ending_since is not None:
            if now - self._ending_since > _END_S:
                self._exit()
        elif self._abort_seen_at is not None and self._is_blocked and (
                now - self._abort_seen_at > _OWN_TURN_S):
            _Elsewhere(lambda: self.end(1, aborted=True)).start()
        elif self._status is not None and now - self._forced_at > _UNHEARD_S:
            status = self._status
            _Elsewhere(lambda: self.end(status)).start()

    def is_false_alarm(self) -> bool:
        """The loop has gone on since SIGABRT was seen in C, and our handler, which comes first, was
        not called: a child has written it that C code has forked. Monitor thread."""
        seen, last_sign = self._abort_seen_at, self._heartbeat.last_sign
        if seen is None or last_sign is None or last_sign <= seen or (
                self._ending_since is not None):
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

    def _overdue(self, now: float, deadline: float | None, loop_ended: bool) -> int | None:
        """The exit status, if it is time to force an end."""
        asked = self.asked_at
        if asked is None or self._status is not None:
            return None
        if self._heartbeat.phase is STARTUP:
            wanted = self._orphaned or now > asked + self._graceful_s - self._margin_s
            return 0 if wanted or (self.quick and now > self._quick_at + _UNHEARD_S) else None
        if now > self._drained_at + _LEFT_OVER_S:
            return 0
        if self.quick and now > self._quick_at + _UNHEARD_S and (loop_ended or self._is_blocked):
            return 0
        if self._orphaned and now > max(asked + self._graceful_s, deadline or 0.0):
            return 1
        return None

    @property
    def _graceful_s(self) -> float:
        return float(self._worker.cfg.graceful_timeout)

    @property
    def _margin_s(self) -> float:
        return min(_MARGIN_S, self._graceful_s / 4)

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

    def end(self, status: int, aborted: bool = False) -> None:
        """End the process here and now, with gunicorn's hooks run and its logs written. Once, from
        whatever thread comes first; a second one waits in vain."""
        if not self._ending.acquire(blocking=False):
            return
        self._status, self._ending_since = status, monotonic()
        self._mark(status, aborted)
        if aborted:
            self._call("worker_abort", self._worker)
        self._settle(_SETTLE_S)
        if not self._gunicorn_has_ended_it:
            self._notice(f"Worker exiting (pid: {os.getpid()})", logging.INFO)
            self._call("worker_exit", self._arbiter, self._worker)
        self._settle(_SETTLE_S)
        _flush()
        if aborted and self._worker.cfg.watchdog_core_dumps:
            os.abort()
        self._exit()

    @property
    def _gunicorn_has_ended_it(self) -> bool:
        """It closes the heartbeat file right before it calls `worker_exit`."""
        try:
            self._worker.tmp.fileno()
        except ValueError:
            return True
        return False

    def _call(self, hook: str, *arguments: object) -> None:
        """One of gunicorn's server hooks; whatever it raises, we go on."""
        try:
            getattr(self._worker.cfg, hook)(*arguments)
        except BaseException as error:
            self._notice(f"watchdog: {hook} failed: {words(error)}", logging.ERROR)

    def _exit(self) -> None:
        self._recorder.clear_away()
        os._exit(self.status)


class _Elsewhere(OwnThread):
    """Does one thing that may hang, so that the monitor does not."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__("watchdog-ending")
        self._work = work

    def run(self) -> None:
        """The thread's body."""
        self._work()


def _flush() -> None:
    """What was written goes out; `os._exit` flushes nothing."""
    for flush in (logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        try:
            flush()
        except Exception:  # it is closed, or never was
            pass


_all: weakref.WeakSet[Leaving] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(after_in_child=_in_child)
