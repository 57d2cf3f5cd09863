"""A process of its own for every post-mortem, so that the arbiter never waits for anything.

What a dead worker left behind is not to be trusted, a log may be full, a disk may hang, a hook may
sleep for ever: all of that meets a child of the arbiter's, without its privileges and with little
time. The arbiter forks and goes on; it reaps the child as it reaps its workers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

from gunicorn import util

from watchdog_worker import outlets
from watchdog_worker.model import Report
from watchdog_worker.ownthread import words

_MOST_S = 15
"""After so many seconds the child is ended by a timer of the kernel's."""
_AT_ONCE_MOST = 16
_SETTLE_S = 10.0
_EXIT_S = 3.0
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1,
            signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)
"""A signal to the whole process group must not cost a report: the child ends soon anyway."""

Make = Callable[[], Iterable[Report]]


class Reporters:
    """The children that are at work. Arbiter, main thread."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        """`let_go`: called in every child, gives up what is the arbiter's alone."""
        self._let_go = let_go
        self._pids: list[int] = []

    def report(self, worker: Any, make: Make) -> None:
        """Have a child make reports and deliver them. Raises nothing: where no child can be had,
        that somebody has died is all that the log gets."""
        self._pids = [each for each in self._pids if _lives(each)]
        if len(self._pids) >= _AT_ONCE_MOST:
            worker.log.error("watchdog: the end of worker %s is not told: %s others are being told "
                             "of, and something holds that up", worker.pid, len(self._pids))
            return
        try:
            pid = os.fork()
        except OSError as error:
            worker.log.error("watchdog: cannot fork to report the end of worker %s: %s",
                             worker.pid, error)
            return
        if pid == 0:
            _child(worker, make, self._let_go)
        self._pids.append(pid)

    def wait(self, seconds: float = _EXIT_S) -> None:
        """Before the arbiter ends: give them a moment. They go on without it, but a container
        ends with its first process."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            self._pids = [each for each in self._pids if _lives(each)]
            if not self._pids:
                return
            time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Whether this child is at work; one that has ended is left to whoever reaps."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _child(worker: Any, make: Make, let_go: Callable[[], None]) -> None:
    """Never returns. Status 0 whatever happens: gunicorn reads a meaning into others."""
    try:
        let_go()
        _prepare(worker)
        _deliver(worker, make)
    except BaseException as error:
        try:
            worker.log.error("watchdog: the end of worker %s could not be reported: %s",
                             worker.pid, words(error))
        except BaseException:
            pass
    finally:
        os._exit(0)


def _prepare(worker: Any) -> None:
    signal.set_wakeup_fd(-1)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_MOST_S)
    util._setproctitle(  # type: ignore[attr-defined]
        f"post-mortem of worker {worker.pid}")
    for listener in worker.sockets:  # the port is not ours to keep
        with suppress(OSError, AttributeError):  # gunicorn has closed it
            os.close(listener.fileno())
    cfg = worker.cfg
    util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)


def _deliver(worker: Any, make: Make) -> None:
    sinks = outlets.sinks_of(worker, outlets.unkept, outlets.hook_of(worker))
    sinks.start()
    for told in make():
        sinks.emit(told)
    sinks.settle(_SETTLE_S)
