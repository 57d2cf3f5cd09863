"""All cases, by the part of a worker's life that they are about."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.lifecycle.case import Case

NAMES = ("boot", "drain", "abort", "signals", "reload", "forks", "pause", "load")
ALONE = ("pause", "load")
"""What measures time, or takes all there is, has the machine to itself."""


def _cases(name: str) -> tuple[Case, ...]:
    cases: tuple[Case, ...] = importlib.import_module(f"tests.lifecycle.{name}").CASES
    return cases


GROUPS: dict[str, tuple[Case, ...]] = {
    name: _cases(name) for name in NAMES if Path(__file__).with_name(f"{name}.py").exists()}
