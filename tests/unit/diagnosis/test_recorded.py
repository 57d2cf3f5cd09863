"""Real stalls that were recorded, diagnosed again; the text held to golden files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.causes.cases import CASES
from tests.causes.record import KEPT
from tests.unit import recorded
from watchdog_worker.diagnosis import diagnose, rules

BY_NAME = {case.name: case for case in CASES}


def test_every_cause_is_recorded() -> None:
    """The contract's list is the table's, and each has a page to be read."""
    assert set(recorded.NAMES) == set(KEPT)
    assert {BY_NAME[name].cause for name in recorded.NAMES} == {
        "sleep", "http_client", "database", "file_io", "subprocess", "dns", "socket_io", "lock",
        "future_wait", "cpu_bound", "gil_held", "import", "logging", "suspended", "unknown"}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_the_page_reads_as_agreed(name: str) -> None:
    """A change of it is a change of tests/golden/causes (python -m tests.unit.recorded)."""
    assert recorded.text(name) == (recorded.GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", recorded.NAMES)
def test_the_cause_the_line_and_the_fix(name: str) -> None:
    """As the matrix has it; with evidence, and a sentence on what to do."""
    case, plain = BY_NAME[name], recorded.load(name)
    told = diagnose(recorded.snapshot(plain))
    assert told is not None and told.cause == case.cause
    assert told.summary and told.remedy and told.fingerprint
    assert any(each.startswith("monitor: ") for each in told.evidence)
    if told.culprit is not None:
        assert told.culprit.function == case.blamed
        assert any(each.startswith(("stack: ", "but: ")) for each in told.evidence)
        assert re.match(r"[\x20-\x7e]+$", " ".join(told.evidence))


def _moved(plain: Any) -> Any:
    """The same fault after lines were added above it, on another host and in another release."""
    text = json.dumps(plain)
    text = re.sub(r'"line": (\d+)', lambda found: f'"line": {int(found[1]) + 17}', text)
    text = text.replace("/srv/shop", "/home/me/other").replace("/usr/lib/python3", "/opt/py")
    text = re.sub(r"127\.0\.0\.1:\d+", "10.9.8.7:1", text)
    return {**json.loads(text), "pid": 9}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_a_fingerprint_survives_everything_but_the_fault(name: str) -> None:
    """Lines, paths, peers, workers."""
    plain = recorded.load(name)
    before, after = (diagnose(recorded.snapshot(each)) for each in (plain, _moved(plain)))
    assert before is not None and after is not None
    assert before.fingerprint == after.fingerprint


def test_different_faults_have_different_fingerprints() -> None:
    """All of them."""
    found = [diagnose(recorded.snapshot(recorded.load(name))) for name in recorded.NAMES]
    assert len({each.fingerprint for each in found if each}) == len(recorded.NAMES)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_a_picture_with_parts_missing_is_still_diagnosed(name: str) -> None:
    """Without the kernel (macOS), samples, sources, names: less is said, and nothing wrong."""
    case, picture = BY_NAME[name], recorded.snapshot(recorded.load(name))
    bare = picture._replace(
        profile=None, effort=None, requests=(), tasks=None,
        threads=tuple(each._replace(wait=None, state=None, cpu_s=None, waits_for=None)
                      for each in picture.threads))
    nameless = picture._replace(threads=tuple(
        each._replace(frames=tuple(frame._replace(calls=None, code=None, qualname=None)
                                   for frame in each.frames))
        for each in picture.threads))
    for less in (bare, nameless, picture._replace(effort=None), picture._replace(profile=None)):
        told = diagnose(less)
        assert told is not None
        # Native code that keeps the GIL computes: without the monitor's count that is all we know.
        less_exact = rules.CPU_BOUND if case.cause == rules.GIL_HELD else rules.UNKNOWN
        assert told.cause in (case.cause, rules.UNKNOWN, less_exact), told.evidence
