"""Threads of our own, and what they say of errors. Known to every room, knows none."""

from __future__ import annotations

import threading


class OwnThread(threading.Thread):
    """A daemon thread of the watchdog; pictures of the process leave it out."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)


def words(error: BaseException) -> str:
    """An error in words, whatever its own `__str__` does (it may be the application's)."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
