"""The log as a sink: handlers of all sorts, free and held."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchdog_worker.sinks.log import Entry, LogSink

DUMP = Entry(logging.CRITICAL, "watchdog 100 % blocked\n  line two", {"watchdog": {"event": "x"}})


def write(logger: logging.Logger, entry: Entry) -> None:
    sink = LogSink(logger)
    sink.start()
    sink.submit(entry)
    assert all(lane.settle(10) for lane in sink.lanes)
    assert sink.settled


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.Logger("test.sink")
    yield made
    for handler in made.handlers:
        handler.close()


def test_a_file_gets_the_record_as_logging_would_write_it(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """With the handler's own format."""
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    logger.info("before")
    write(logger, DUMP)
    logger.info("after")
    assert (tmp_path / "log").read_text() == (
        "[INFO] before\n[CRITICAL] watchdog 100 % blocked\n  line two\n[INFO] after\n")


def test_a_held_lock_is_waited_for_and_then_passed_by(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """Once, to the same file, and to a foreign handler's place on standard error."""
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        handler.acquire()
        held.set()
        release.wait()
        handler.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        write(logger, DUMP)
        assert (tmp_path / "log").read_text() == DUMP.message + "\n"
    finally:
        release.set()
        thread.join()
    assert (tmp_path / "log").read_text() == DUMP.message + "\n"


def test_a_full_pipe_is_waited_for(logger: logging.Logger) -> None:
    """What was begun is brought to its end when somebody reads, in one piece."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    filled = 0
    with pytest.raises(BlockingIOError):
        while True:
            filled += os.write(write, b"#" * 65536)
    os.set_blocking(write, True)
    logger.addHandler(logging.StreamHandler(open(write, "w")))
    long = Entry(logging.ERROR, "x" * 200_000, {})
    sink = LogSink(logger)
    sink.submit(long)
    assert not sink.lanes[0].settle(0.5)
    got = b""
    while len(got) < filled + 200_001:
        got += os.read(read, 65536)
    assert sink.lanes[0].settle(10)
    assert got == b"#" * filled + b"x" * 200_000 + b"\n"
    logger.handlers[0].stream.close()  # type: ignore[attr-defined]
    os.close(read)


def test_a_reader_that_is_gone_is_given_up(logger: logging.Logger) -> None:
    """Nobody will ever read it."""
    read, write_end = os.pipe()
    os.close(read)
    with open(write_end, "w") as stream:
        logger.addHandler(logging.StreamHandler(stream))
        write(logger, DUMP)


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_foreign_handlers_get_the_record(logger: logging.Logger) -> None:
    """With the report as a value; levels and filters hold."""
    heard, deaf, picky = Collector(), Collector(), Collector()
    deaf.setLevel(logging.CRITICAL + 1)
    picky.addFilter(lambda record: "nothing" in record.getMessage())
    for handler in (heard, deaf, picky):
        logger.addHandler(handler)
    write(logger, DUMP)
    assert [vars(record)["watchdog"] for record in heard.records] == [{"event": "x"}]
    assert heard.records[0].getMessage() == DUMP.message
    assert deaf.records == picky.records == []


def test_parents_get_it_as_far_as_it_propagates() -> None:
    """The logger's own rule."""
    parent, child, heard = logging.Logger("p"), logging.Logger("p.c"), Collector()
    child.parent = parent
    parent.addHandler(heard)
    write(child, DUMP)
    child.propagate = False
    write(child, DUMP)
    assert len(heard.records) == 1


def test_levels_and_switches_of_the_logger_hold(logger: logging.Logger) -> None:
    """As if it had been logged."""
    heard = Collector()
    logger.addHandler(heard)
    logger.setLevel(logging.CRITICAL + 1)
    write(logger, DUMP)
    assert heard.records == []
    logger.setLevel(logging.INFO)
    logger.disabled = True  # an application's dictConfig does that to loggers it does not name
    write(logger, DUMP)
    assert len(heard.records) == 1


def test_broken_formatters_filters_and_factories_cost_no_report(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """The text goes out as it is."""
    def broken(*arguments: Any, **named: Any) -> Any:
        raise ValueError("broken")

    handler = logging.FileHandler(tmp_path / "log")
    handler.format = broken  # type: ignore[method-assign]
    handler.addFilter(broken)
    logger.addHandler(handler)
    logger.makeRecord = broken  # type: ignore[method-assign]
    write(logger, DUMP)
    assert (tmp_path / "log").read_text() == DUMP.message + "\n"


def test_a_narrow_encoding_does_not_lose_the_report(logger: logging.Logger, tmp_path: Path) -> None:
    """What it cannot write is escaped."""
    handler = logging.FileHandler(tmp_path / "log", encoding="ascii")
    logger.addHandler(handler)
    write(logger, Entry(logging.ERROR, "Grüße", {}))
    assert (tmp_path / "log").read_bytes() == b"Gr\\xfc\\xdfe\n"


def test_a_filter_is_asked_once_and_may_replace_the_record(logger: logging.Logger) -> None:
    """A filter against repetitions lets the first one through."""
    seen: list[str] = []

    def once(record: logging.LogRecord) -> bool:
        seen.append(record.getMessage())
        return seen.count(record.getMessage()) == 1

    heard = Collector()
    heard.addFilter(once)
    logger.addHandler(heard)
    write(logger, DUMP)
    assert len(heard.records) == 1


class Failing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("no")


class Hanging(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.free.wait()


def test_a_handler_that_fails_or_hangs_keeps_the_report_from_no_other(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """What failed is said on standard error."""
    heard = Collector()
    hanging = Hanging()
    for handler in (Failing(), hanging, heard):
        logger.addHandler(handler)
    sink = LogSink(logger)
    sink.submit(DUMP)
    assert sink.lanes[0].settle(10)
    assert not sink.lanes[1].settle(0.1)
    assert sink.lanes[2].settle(10)
    assert len(heard.records) == 1
    assert "watchdog: watchdog-log failed: ValueError: no" in capfd.readouterr().err
    hanging.free.set()
    assert sink.lanes[1].settle(10)


def test_a_full_disk_sends_the_report_to_standard_error(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not lost in silence."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this platform has no /dev/full")
    logger.addHandler(logging.FileHandler("/dev/full"))
    write(logger, DUMP)
    assert "watchdog 100 % blocked" in capfd.readouterr().err


def test_a_stream_in_memory_is_no_descriptor(logger: logging.Logger) -> None:
    """It is written through its handler."""
    stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    write(logger, DUMP)
    assert stream.getvalue() == DUMP.message + "\n"
