"""A worker's birth: no signal is lost between the fork and the worker's own set-up.

Until gunicorn's worker has set up signals of its own, it has the arbiter's, which put what comes
into a queue that nobody reads in the worker: told to go in that moment, it would stay. So the
signals that end a worker are kept back during the fork, and end it on the spot after it.
"""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Birth:
    """What is done around the fork of a worker, and of nothing else that the arbiter forks.

    The hooks run in the thread that forks: the arbiter's main thread, and the worker's.
    """

    def __init__(self) -> None:
        self._expected = False
        self._mask: set[signal.Signals] | set[int] | None = None
        self.at = monotonic()
        """When this process was forked (monotonic); without a fork, when this was made."""

    def expect(self) -> None:
        """The next worker that is forked is one of ours. Arbiter."""
        self._expected = True

    def before_fork(self) -> None:
        """Keep the signals back, if it is a worker that is about to be forked."""
        if self._expected and _forked_by() is Arbiter.spawn_worker.__code__:
            self._expected = False
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def in_parent(self) -> None:
        """Let them through again."""
        mask, self._mask = self._mask, None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child(self) -> None:
        """Let them through, to end a process that has not begun anything yet."""
        self.at = monotonic()
        self._expected = False
        if self._mask is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, _go)  # their default would be a traceback, or a core file
        self.in_parent()


def arbiter() -> Any:
    """Who has forked this worker, or is about to: in the frame that is calling us further up."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not Arbiter.spawn_worker.__code__:
        frame = frame.f_back
    return frame.f_locals.get("self") if frame is not None else None


def _forked_by() -> object:
    """Whose code is calling `os.fork`: that is where a hook is called from."""
    return sys._getframe(2).f_code


def _go(number: int, frame: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


birth = Birth()
"""Of this process."""

os.register_at_fork(
    before=birth.before_fork, after_in_parent=birth.in_parent, after_in_child=birth.in_child)
