"""gunicorn's error log as a sink, also while its handlers' locks are held by the blocked thread.

Every handler has a lane: a hung one keeps the report from no other. A lane's thread may wait:
for a handler's lock it waits a while and then writes to the handler's file descriptor without
it; for a full pipe it waits until there is room. A report is delivered once. It is in one piece
unless another thread stands in the same full pipe, with the lock that we did not get.
"""

from __future__ import annotations

import codecs
import fcntl
import logging
import os
import select
import stat
import struct
import termios
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from watchdog_worker.render.plain import plain
from watchdog_worker.sinks.lane import Lane

_LOCK_S = 0.3
_HELD_S = 2.0
_CHUNK = 4096
"""A pipe that polls as writable takes so much without blocking (PIPE_BUF)."""
_PIPE_SIZE = getattr(fcntl, "F_GETPIPE_SZ", None)
_STANDARD_ERROR = 2


class Entry(NamedTuple):
    """One log record to be."""

    level: int
    message: str
    extra: dict[str, Any]
    process: int | None = None
    """Whom the line is from; None: this process."""

    @classmethod
    def notice(cls, text: str, level: int | None = None) -> Entry:
        """A line about ourselves, on one line whatever it holds."""
        return cls(level or logging.WARNING, plain(" ".join(text.split())), {})


class _Delivery(NamedTuple):
    """A record on its way to one handler, and what is to be done when it has arrived."""

    record: logging.LogRecord
    arrived: Callable[[], None]


def _nothing() -> None:
    """Nobody waits for it to arrive."""


class LogSink:
    """Writes entries to a logger's handlers, without the locks that `Logger.handle` takes."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._by_handler: dict[logging.Handler, Lane[_Delivery]] = {}

    def start(self) -> None:
        """Start a lane for every handler there is. Raises RuntimeError if none can be had."""
        for handler in _handlers(self._logger):
            self._lane(handler)

    @property
    def lanes(self) -> list[Lane[_Delivery]]:
        """The lanes of all handlers so far."""
        return list(self._by_handler.values())

    @property
    def settled(self) -> bool:
        """Whether everything has arrived."""
        return all(lane.settled for lane in self.lanes)

    def settle(self, seconds: float) -> None:
        """Wait at most so long, in all, for what is under way."""
        deadline = monotonic() + seconds
        for lane in self.lanes:
            lane.settle(max(0.0, deadline - monotonic()))

    def submit(self, entry: Entry, arrived: Callable[[], None] = _nothing) -> None:
        """Send it to every handler, as levels and the logger's filters allow; never blocks.

        `arrived` is called by each handler's lane that has delivered it, and at once where nobody
        is to have it; it may not raise.
        """
        logger = self._logger
        # Not isEnabledFor(): it can take the logging module's own lock. And `disabled` does not
        # count: an application's dictConfig sets it for all loggers that it does not name.
        if logger.manager.disable >= entry.level or entry.level < logger.getEffectiveLevel():
            arrived()
            return
        record = _passed(logger, self._record(entry))
        handlers = [] if record is None else [
            handler for handler in _handlers(logger) if record.levelno >= handler.level]
        if record is None or not handlers:
            arrived()
            return
        for handler in handlers:
            try:
                self._lane(handler).submit(_Delivery(record, arrived))
            except RuntimeError:  # a handler that is new, and no thread to be had for it
                _say(entry.message)
                arrived()

    def _lane(self, handler: logging.Handler) -> Lane[_Delivery]:
        lane = self._by_handler.get(handler)
        if lane is None:  # at the start, or the application has added a handler since
            lane = Lane("watchdog-log", partial(_deliver, handler), _say)
            lane.start()
            self._by_handler[handler] = lane
        return lane

    def _record(self, entry: Entry) -> logging.LogRecord:
        record = self._made(entry)
        if entry.process is not None:
            record.process = entry.process
        return record

    def _made(self, entry: Entry) -> logging.LogRecord:
        name, level = self._logger.name, entry.level
        try:
            return self._logger.makeRecord(
                name, level, __file__, 0, entry.message, (), None, "watchdog", entry.extra)
        except Exception:  # the application's own record factory
            record = logging.LogRecord(name, level, __file__, 0, entry.message, (), None)
            record.__dict__.update(entry.extra)
            return record


def _say(text: str) -> None:
    """What cannot go through the log goes to standard error."""
    _write(_STANDARD_ERROR, (text + "\n").encode("utf-8", "backslashreplace"), _HELD_S)


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


def _deliver(handler: logging.Handler, delivery: _Delivery) -> None:
    """To this handler, or past it. Raises what a foreign handler raises."""
    passed = _passed(handler, delivery.record)
    if passed is not None:
        _write_out(handler, passed)
    delivery.arrived()


def _write_out(handler: logging.Handler, passed: logging.LogRecord) -> None:
    rest: bytes | None = None
    while rest is None or rest:
        fd = None
        locked = handler.lock is None or handler.lock.acquire(timeout=_LOCK_S)
        try:
            fd = _own_descriptor(handler)
            if fd is None and locked:
                handler.emit(passed)
                return
            if rest is None:
                rest = _formatted(handler, passed)
            # A handler that can be neither taken nor passed by: standard error is left.
            rest = _write(_STANDARD_ERROR if fd is None else fd, rest, _HELD_S)
        finally:
            if fd is not None:
                os.close(fd)
            if locked:
                handler.release()


def _own_descriptor(handler: logging.Handler) -> int | None:
    """A copy of the descriptor behind a handler whose `emit` is the standard library's own.

    A copy, because a log that is reopened meanwhile gives its number to whoever comes next.
    """
    if type(handler) not in (logging.StreamHandler, logging.FileHandler):
        return None
    stream = handler.stream  # type: ignore[attr-defined]
    try:
        if codecs.lookup(stream.encoding).name.startswith(("utf-16", "utf-32", "utf-8-sig")):
            return None  # each record would begin with a byte order mark
        return os.dup(stream.fileno())
    except Exception:  # no stream yet, closed, or an object in memory
        return None


def _formatted(handler: logging.Handler, record: logging.LogRecord) -> bytes:
    try:
        text = handler.format(record)
    except Exception:
        text = record.getMessage()
    text += getattr(handler, "terminator", "\n")
    encoding = getattr(getattr(handler, "stream", None), "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace")


def _write(fd: int, data: bytes, seconds: float) -> bytes:
    """What is left of `data` after writing for at most so long.

    Where the descriptor takes nothing any more (a full disk, a reader that is gone), standard
    error gets it; where that is the one, it is lost.
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = monotonic() + seconds
    while data and (left := deadline - monotonic()) > 0:
        try:
            events = poll.poll(left * 1000)
            if not events:
                break
            data = data[os.write(fd, data[:_at_once(fd, len(data))]):]
        except BlockingIOError:
            continue
        except OSError:
            return b"" if fd == _STANDARD_ERROR else _write(_STANDARD_ERROR, data, seconds)
    return data


def _at_once(fd: int, size: int) -> int:
    """How much can be written without blocking; all of it if possible.

    Several workers share a log: what goes in one write is not torn by another's record.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return size
    if stat.S_ISFIFO(mode) and _PIPE_SIZE is not None:
        (waiting,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
        if not waiting and size <= fcntl.fcntl(fd, _PIPE_SIZE):
            return size
    return _CHUNK
