"""The readable block, held to a golden file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit import reports
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
