"""The rooms of the house, and who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "watchdog_worker"

# room: what it may import of ours. A room may always import from within itself.
MAY_KNOW: dict[str, set[str]] = {
    "plainform": set(),
    "phases": set(),
    "model": {"plainform"},
    "ownthread": set(),
    "doorbell": set(),
    "hurry": set(),
    "deadline": set(),
    "decision": {"lateness", "signs", "stages"},
    "stages": {"lateness", "signs"},
    "evidence": {"model", "vitals", "capture", "deadline", "lateness", "signs"},
    "lifewatch": {"phases", "model", "report", "vitals", "capture", "diagnosis", "signs",
                  "evidence"},
    "lateness": set(),
    "signs": {"lateness"},
    "kinds": {"ownthread"},
    "budget": {"ownthread"},
    "monitor": {"decision", "signs", "ownthread"},
    "settings": {"kinds"},
    "plan": {"kinds", "settings", "vitals"},
    "vitals": {"model"},
    "capture": {"model", "vitals", "budget", "ownthread", "lateness", "signs"},
    "diagnosis": {"model", "phases"},
    "render": {"model", "phases"},
    "report": {"model", "render"},
    "sinks": {"model", "render", "ownthread"},
    "requestwatch": {"model", "report", "vitals", "capture", "diagnosis", "ownthread"},
    "outlets": {"kinds", "settings", "model", "report", "render", "sinks", "vitals"},
    "rawstacks": {"vitals"},
    "logbook": {"model", "vitals", "capture", "signs", "rawstacks"},
    "postmortem": {"model", "vitals", "diagnosis", "capture", "settings", "report", "revive",
                   "rundir", "outlets", "ownthread"},
    "watch": {"model", "requestwatch", "signs", "settings", "report", "vitals", "capture",
              "diagnosis", "outlets", "logbook", "monitor", "leaving", "lifewatch", "evidence",
              "deadline", "hurry", "doorbell", "ownthread"},
    "birth": set(),
    "overdue": set(),
    "ending": {"ownthread", "vitals"},
    "leaving": {"ending", "overdue", "ownthread", "vitals"},
    "server": {"phases", "vitals", "watch"},
    "worker": {"settings", "plan", "watch", "vitals", "postmortem", "ownthread", "birth",
               "server"},
    "rundir": {"vitals"},
    "revive": {"model", "report"},
    "census": {"model", "plainform", "revive", "rundir", "vitals"},
    "cli": {"settings", "render", "ownthread", "census", "rundir"},
    "__init__": {"worker"},
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import that this test cannot read"
            parts = (node.module or "").split(".")
            if parts[0] == "watchdog_worker":
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert not alias.name.startswith("watchdog_worker."), "import from it instead"
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(
    path.relative_to(PACKAGE)))
def test_no_arrow_runs_backwards(path: Path) -> None:
    """Data goes from the vitals to the sinks and never back."""
    room = room_of(path)
    assert imported_rooms(path) - {room} <= MAY_KNOW[room]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(
    path.relative_to(PACKAGE)))
def test_rooms_stay_small(path: Path) -> None:
    """At most 350 lines a file and 45 a function."""
    text = path.read_text()
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 45, node.name
