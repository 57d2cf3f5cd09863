"""Some of the matrix of causes, with the reports of real workers; `make causes` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.causes import matrix
from tests.causes.cases import CASES, Case
from tests.stall_case import PAIRS

NAMES = (
    "local.time_sleep", "local.library_sleep", "local.busy_sleep", "local.fifo_read",
    "local.subprocess_output", "local.subprocess_read", "local.lock_with", "local.lock_twice",
    "local.queue_get", "local.future_of_thread", "local.slow_import", "local.logging_pipe",
    "local.foreign_sleep", "processor.python_loop", "processor.pattern", "processor.another_thread",
    "processor.nothing",
)


SMOKE = ("local.lock_with", "local.subprocess_read", "processor.pattern")


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.name, marks=[pytest.mark.smoke] if case.name in SMOKE else [])
    for case in CASES if case.name in NAMES])
def test_the_cause_the_line_and_what_it_waits_for(case: Case, tmp_path: Path) -> None:
    """As a user would read it, on one of the four pairs of loop and parser."""
    pair = PAIRS[CASES.index(case) % len(PAIRS)]
    outcome = matrix.run(case, tmp_path, pair, {})
    assert outcome.right, [report["diagnosis"] for report in outcome.reports]


def test_the_names_are_those_of_the_matrix() -> None:
    """None has been renamed."""
    assert set(NAMES) <= {case.name for case in CASES}
