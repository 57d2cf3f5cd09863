"""Threads and exceptions of our own, and errors in words. Known to every room, knows none."""

from __future__ import annotations

import threading


class OwnThread(threading.Thread):
    """A daemon thread of the watchdog; pictures of the process leave it out."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)


class Leave(SystemExit):
    """Raised by a signal handler of ours, to leave a boot: no failure of what it comes out of."""


def words(error: BaseException) -> str:
    """An error in words, whatever its own `__str__` does (it may be the application's)."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
