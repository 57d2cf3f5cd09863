"""Every kind of block is dumped before the arbiter kills, on every loop and parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import stall_case


@pytest.mark.parametrize("pair", stall_case.PAIRS)
@pytest.mark.parametrize("stall", [
    pytest.param(stall, marks=[pytest.mark.smoke] if stall in ("sleep", "cpu") else [])
    for stall in stall_case.LINES])
def test_a_block_is_dumped_before_the_kill(tmp_path: Path, stall: str, pair: str) -> None:
    """The line, the function, the other thread, the bystander and the deadline are all told."""
    outcome = stall_case.run(tmp_path, stall, pair, timeout=3)
    assert outcome.line_right
    assert outcome.threads_right
    assert outcome.bystander_right
    assert outcome.lead_s > 0
    assert abs(outcome.deadline_off_s) < 0.3


def test_the_profile_of_a_stall_shows_where_it_stood(tmp_path: Path) -> None:
    """The samples between the stall and the dump all lie in the function that computes."""
    report = stall_case.run(tmp_path, "cpu", "UvloopHttptools", timeout=3).report
    assert report["profile"]["samples"] > 5
    assert {stack["frames"][-1]["function"] for stack in report["profile"]["stacks"]} == {
        "block_cpu"}
