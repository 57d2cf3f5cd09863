"""Shorter turns during a stall, and only then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from watchdog_worker.hurry import Hurry


@pytest.fixture(autouse=True)
def interval() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_the_interval_is_lowered_and_put_back(interval: float) -> None:
    """Twice is as good as once."""
    hurry = Hurry()
    hurry.begin()
    hurry.begin()
    assert sys.getswitchinterval() < interval
    hurry.end()
    hurry.end()
    assert sys.getswitchinterval() == interval


def test_what_the_application_sets_meanwhile_stays() -> None:
    """It is its process."""
    hurry = Hurry()
    hurry.begin()
    sys.setswitchinterval(0.25)
    hurry.end()
    assert sys.getswitchinterval() == 0.25


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_interval_back(interval: float) -> None:
    """It has no monitor that would do it later."""
    hurry = Hurry()
    hurry.begin()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sys.getswitchinterval() == interval else 1)
    hurry.end()
    assert os.waitpid(pid, 0)[1] == 0
