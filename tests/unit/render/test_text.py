"""The readable block, held to a golden file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit import reports
from watchdog_worker import report
from watchdog_worker.model import Connection, Frame, Snapshot, Stage, Stall, ThreadStack
from watchdog_worker.render import text

GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_dump_reads_as_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line; a change of the text is a change of tests/golden/pre_kill.txt."""
    monkeypatch.setattr("os.getcwd", lambda: "/srv")
    assert text.text(reports.pre_kill()) + "\n" == (GOLDEN / "pre_kill.txt").read_text()


def test_every_line_but_the_headline_is_indented() -> None:
    """So nothing in a report can pass for a record of the log."""
    first, *rest = text.lines(reports.pre_kill())
    assert first.startswith("watchdog loop blocked 5.0 s by requests.post at ")
    assert all(line == "" or line.startswith("  ") for line in rest)
    assert not any("\n" in line or "\x1b" in line for line in rest)


WAITS = Frame("/lib/threading.py", 327, "wait")


def drained(**more: object) -> str:
    """The block of a drain that takes long."""
    snapshot = Snapshot(threads=(
        ThreadStack(1, "MainThread", True, ()),
        ThreadStack(2, "pool_0", False, (WAITS,), holds_exit=True),
        ThreadStack(3, "pool_1", False, (WAITS,), holds_exit=True),
        ThreadStack(4, "monitor", False, (WAITS,)),
        ThreadStack(5, "writer", False, (WAITS._replace(line=1),), holds_exit=True)))
    stage = Stage("shutdown", 15.0, 30.0)._replace(**more)  # type: ignore[arg-type]
    return text.text(report.assemble(
        report.SLOW_SHUTDOWN, report.Identity(1, 1, "shop:app"), snapshot,
        Stall(14.9, "shutdown", 30.0, silent=False), stage=stage))


def test_a_thread_that_holds_the_exit_is_marked() -> None:
    """And stands beside no other that does not."""
    shown = drained()
    assert "\n  2 threads at one place (pool_0, pool_1), hold the exit:\n" in shown
    assert "\n  thread monitor:\n" in shown
    assert "\n  thread writer, holds the exit:\n" in shown


def test_a_drain_does_not_call_its_loop_silent() -> None:
    """It has ended, or goes on; where a silent one is told of, it is in good English."""
    assert "silent" not in drained()
    dump = reports.pre_kill()
    stall = dump.stall
    assert stall is not None and stall.silent
    for phase, words in ("startup", "during startup"), ("serving", "while serving"):
        shown = text.text(dump._replace(stall=stall._replace(phase=phase)))
        assert f"loop silent for 5.00 s {words}, timeout 6 s" in shown


def test_connections_are_named_without_what_a_client_could_forge() -> None:
    """A few, and the number of the others."""
    clients = (Connection("10.0.0.9:1", "GET", "/a\n[CRITICAL] b\x1b[31m", unread=True),
               Connection("10.0.0.9:2\x1b", websocket=True, path="/ws"), Connection())
    lines = drained(connections=7, clients=clients).split("\n")
    assert lines[2].endswith("7 connections open")
    assert [line.strip() for line in lines[3:7]] == [
        "10.0.0.9:1 (GET /a%0A%5BCRITICAL%5D%20b%1B%5B31m, takes nothing)",
        "10.0.0.9:2\\x1b (WebSocket /ws)", "a client", "and 4 more"]
