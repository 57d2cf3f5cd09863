"""gunicorn's error log as a sink, also while its handlers' locks are held by the blocked thread.

Runs in a lane's thread, which may wait: for a handler's lock it waits a while and then writes
to the handler's file descriptor without it; for a full pipe it waits until there is room. What
is begun is brought to its end, so that a report arrives once and in one piece.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

_LOCK_S = 0.3
_HELD_S = 2.0
_CHUNK = 4096
"""A pipe that polls as writable takes so much without blocking (PIPE_BUF)."""


class Entry(NamedTuple):
    """One log record to be."""

    level: int
    message: str
    extra: dict[str, Any]

    @classmethod
    def notice(cls, words: str, level: int | None = None) -> Entry:
        """A line about ourselves, on one line whatever it holds."""
        return cls(level or logging.WARNING, " ".join(words.split()), {})


class LogSink:
    """Writes entries to a logger's handlers, without the locks that `Logger.handle` takes."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, entry: Entry) -> None:
        """Deliver to every handler of the logger, as its level and filters allow."""
        logger = self._logger
        # Not isEnabledFor(): it can take the logging module's own lock.
        if logger.disabled or logger.manager.disable >= entry.level:
            return
        if entry.level < logger.getEffectiveLevel():
            return
        record = _passed(logger, self._record(entry))
        if record is None:
            return
        for handler in _handlers(logger):
            if record.levelno >= handler.level:
                _deliver(handler, record)

    def _record(self, entry: Entry) -> logging.LogRecord:
        name, level = self._logger.name, entry.level
        try:
            return self._logger.makeRecord(
                name, level, __file__, 0, entry.message, (), None, "watchdog", entry.extra)
        except Exception:  # the application's own record factory
            record = logging.LogRecord(name, level, __file__, 0, entry.message, (), None)
            record.__dict__.update(entry.extra)
            return record


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from list(current.handlers)
        current = current.parent if current.propagate else None


def _passed(
    filterer: logging.Filterer, record: logging.LogRecord
) -> logging.LogRecord | None:
    """The record after the filters (3.12 and later may replace it), None where they refuse."""
    try:
        verdict: object = filterer.filter(record)
    except Exception:  # a filter that fails must not cost the report
        return record
    if isinstance(verdict, logging.LogRecord):
        return verdict
    return record if verdict else None


def _deliver(handler: logging.Handler, record: logging.LogRecord) -> None:
    passed = _passed(handler, record)
    if passed is None:
        return
    rest: bytes | None = None
    while True:
        locked = _acquire(handler)
        try:
            fd = _descriptor(handler)
            if fd is None and locked:
                handler.handle(record)
                return
            if rest is None:
                rest = _formatted(handler, passed)
            # A handler that is neither ours to write through nor free: standard error is.
            rest = _write(2 if fd is None else fd, rest, _HELD_S)
            if not rest:
                return
        finally:
            if locked:
                handler.release()


def _acquire(handler: logging.Handler) -> bool:
    lock = handler.lock
    return lock is None or lock.acquire(timeout=_LOCK_S)


def _descriptor(handler: logging.Handler) -> int | None:
    """The descriptor behind a handler whose `emit` is the standard library's own."""
    if type(handler) not in (logging.StreamHandler, logging.FileHandler):
        return None
    try:
        return int(handler.stream.fileno())  # type: ignore[attr-defined]
    except Exception:  # no stream yet, closed, or an object in memory
        return None


def _formatted(handler: logging.Handler, record: logging.LogRecord) -> bytes:
    try:
        text = handler.format(record)
    except Exception:
        text = record.getMessage()
    encoding = getattr(getattr(handler, "stream", None), "encoding", None) or "utf-8"
    return (text + "\n").encode(encoding, "backslashreplace")


def _write(fd: int, data: bytes, seconds: float) -> bytes:
    """What is left of `data` after writing for at most so long; nothing left if it cannot be."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = monotonic() + seconds
    while data and (left := deadline - monotonic()) > 0:
        events = poll.poll(left * 1000)
        if not events:
            break
        if not events[0][1] & select.POLLOUT:  # the reader is gone
            return b""
        try:
            data = data[os.write(fd, data[:_CHUNK]):]
        except BlockingIOError:
            continue
        except OSError:
            return b""
    return data
