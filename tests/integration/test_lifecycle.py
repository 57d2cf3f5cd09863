"""Cases of a worker's whole life, once, with our worker class: boots, aborts and forks, and the
first of every other group, as the rest takes too long for every run.

`make lifecycle` runs all of them on more versions of gunicorn, and shows uvicorn's beside it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle.case import Case, Ground
from tests.lifecycle.groups import ALONE, GROUPS

_WHOLE = ("boot", "abort", "forks")
CASES = [
    pytest.param(case, id=f"{group}: {case.name}",
                 marks=[pytest.mark.smoke] if at == 0 and group not in ALONE else [])
    for group, cases in GROUPS.items() for at, case in enumerate(cases)
    if group not in ALONE and (at == 0 or group in _WHOLE)]


@pytest.mark.parametrize("case", CASES)
def test_a_case_comes_out_right(tmp_path: Path, case: Case) -> None:
    """As a user has a right to expect."""
    came = case.run(Ground(tmp_path))
    assert came.right, came.words
