"""The end of a worker's process, here and now: gunicorn's server hooks, the logs, and out.

Where the loop cannot bring it about, or where nobody may wait for it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from watchdog_worker.ownthread import OwnThread, words
from watchdog_worker.vitals.recorder import Recorder
from watchdog_worker.vitals.heartbeat import Heartbeat

_END_S = 3.0
"""Hooks and logs that take longer are cut off."""
_SETTLE_S = 0.3


class Ending:
    """Of one worker. Built in the main thread, after the fork."""

    def __init__(
        self, worker: Any, arbiter: Any, heartbeat: Heartbeat, recorder: Recorder,
        settle: Callable[[float], None], notice: Callable[[str, int], None],
    ) -> None:
        """`settle` waits so many seconds for reports under way; `notice` says a line."""
        self._worker, self._arbiter, self._heartbeat = worker, arbiter, heartbeat
        self._recorder, self._settle, self._notice = recorder, settle, notice
        self._once = threading.Lock()
        self._status = 0
        self._since: float | None = None

    @property
    def begun(self) -> bool:
        """The process is being ended. Any thread."""
        return self._since is not None

    def mark(self, status: int, aborted: bool = False) -> None:
        """For those who come after us: this end is no accident. Any thread."""
        if aborted:
            self._recorder.end("aborted")
        elif status:
            self._recorder.end("dismissed")
        else:
            self._heartbeat.leave()

    def end(self, status: int, aborted: bool = False) -> None:
        """End the process. Once, by whatever thread comes first; for a second one it is done."""
        if not self._once.acquire(blocking=False):
            return
        self._status, self._since = status, monotonic()
        self.mark(status, aborted)
        if aborted:
            self.call("worker_abort", self._worker)
        self._settle(_SETTLE_S)
        if not self.gunicorn_has_ended:
            self._notice(f"Worker exiting (pid: {os.getpid()})", logging.INFO)
            self.call("worker_exit", self._arbiter, self._worker)
        self._settle(_SETTLE_S)
        _flush()
        if aborted and self._worker.cfg.watchdog_core_dumps:
            os.abort()
        self._exit()

    def elsewhere(self, status: int, aborted: bool = False) -> None:
        """The same in a thread of its own, as hooks may hang. Monitor thread."""
        _Elsewhere(lambda: self.end(status, aborted)).start()

    def cut_off(self, now: float) -> None:
        """End it without what has taken too long. Monitor thread, with every look."""
        if self._since is not None and now - self._since > _END_S:
            self._exit()

    def _exit(self) -> None:
        self._recorder.clear_away()
        os._exit(self._status)

    @property
    def gunicorn_has_ended(self) -> bool:
        """It closes the heartbeat file right before it calls `worker_exit` itself."""
        try:
            self._worker.tmp.fileno()
        except ValueError:
            return True
        return False

    def call(self, hook: str, *arguments: object) -> None:
        """One of gunicorn's server hooks; whatever it raises, we go on."""
        try:
            getattr(self._worker.cfg, hook)(*arguments)
        except BaseException as error:
            self._notice(f"watchdog: {hook} failed: {words(error)}", logging.ERROR)


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
