"""What CPython keeps of tuples that were freed, by their size."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable

import pytest


def kept_after(
    work: Callable[[int], object], times: int, capfd: pytest.CaptureFixture[str]
) -> dict[int, int]:
    """How many of each size are kept when this has been done so often."""
    gc.collect()  # it gives up what was kept so far
    for at in range(times):
        work(at)
    capfd.readouterr()
    sys._debugmallocstats()
    lines = re.findall(r"(\d+) free (\d+)-sized PyTupleObject", capfd.readouterr().err)
    if not lines:
        pytest.skip("this interpreter does not tell")
    return {int(size): int(number) for number, size in lines}
