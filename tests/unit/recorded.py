"""Values of the model from their plain form, and the reports in tests/recorded."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from watchdog_worker import report
from watchdog_worker.diagnosis import diagnose
from watchdog_worker.model import Report, Snapshot, Stall
from watchdog_worker.render import text as text_render

FOLDER = Path(__file__).parents[1] / "recorded"
GOLDEN = Path(__file__).parents[1] / "golden" / "causes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def snapshot(plain: dict[str, Any]) -> Snapshot:
    """The picture in a report's plain form."""
    value = _value(Snapshot, plain)
    assert isinstance(value, Snapshot)
    return value


def told(plain: dict[str, Any]) -> Report:
    """The report, diagnosed anew."""
    picture, stall = snapshot(plain), _value(Stall, plain["stall"])
    diagnosis = diagnose(picture)
    again = report.assemble(
        plain["event"], report.Identity(plain["pid"], plain["worker_age"], plain["app"]), picture,
        stall, diagnosis)
    return again._replace(time=plain["time"])


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, plain: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if hasattr(kind, "_fields"):
        hints = _hints(kind)
        return kind(**{name: _value(hints[name], value) for name, value in plain.items()
                       if name in kind._fields})
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], each) for each in plain)
    return plain


def text(name: str) -> str:
    """The page that a user would read, without what follows the diagnosis."""
    lines = text_render.text(told(load(name))).splitlines()
    end = next((at for at, line in enumerate(lines) if "in flight:" in line), len(lines))
    return "\n".join(lines[:end]).rstrip() + "\n"


def renew() -> None:
    """Write the golden files anew: python -m tests.unit.recorded."""
    GOLDEN.mkdir(exist_ok=True)
    for name in NAMES:
        (GOLDEN / f"{name}.txt").write_text(text(name))


if __name__ == "__main__":
    renew()
