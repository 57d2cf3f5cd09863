"""A Report from its plain form, which may come from a worker that is not to be trusted. Pure.

The values' own annotations say what is taken: a part of another shape is left out as if it did
not apply, a text is cut, and what is needed and not there makes the whole no report.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from watchdog_worker.model import SCHEMA, LoopLag, Process, Profile, Report, Snapshot
from watchdog_worker.report import LEVELS

_TEXT_MOST = 5_000
_ITEMS_MOST = 2_000
_VALUES_MOST = 100_000
_NUMBER_MOST = 2 ** 63
_NOTHING = object()

_WORD = re.compile(r"[ -~]{0,100}")
_WORDS = {
    **dict.fromkeys(("severity", "phase", "cause", "fingerprint", "state", "syscall", "reason",
                     "signal"), _WORD),
    # These two become part of a file's name.
    "event": re.compile("|".join(map(re.escape, LEVELS))),
    "time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"),
}
"""Texts that are always ours, so that `render` and `sinks` take them for harmless."""

_SOUND: dict[type, Callable[[Any], bool]] = {
    LoopLag: lambda lag: len(lag.counts) == len(lag.le) + 1,
    Process: lambda process: (process.cpu_user_s is None) == (process.cpu_system_s is None),
    Profile: lambda profile: profile.samples > 0,
}
"""What `render` relies on, beyond the types."""


class NotAReport(ValueError):
    """It is no report of a schema that is known here; the text says why."""


def revived(plain: object) -> Report:
    """The report that `Report.to_dict` made this of. Raises NotAReport, and nothing else."""
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise NotAReport(f"no report of schema {SCHEMA}")
    budget = _Budget()
    snapshot = budget.value(Snapshot, plain)
    report = budget.value(Report, {**plain, "snapshot": {}})
    if report is _NOTHING or snapshot is _NOTHING:
        raise NotAReport("it lacks what every report has")
    return typing.cast(Report, report)._replace(snapshot=typing.cast(Snapshot, snapshot))


class _Budget:
    """Takes values of the types that are asked for, so many in all."""

    def __init__(self) -> None:
        self._left = _VALUES_MOST

    def value(self, wanted: Any, plain: object) -> Any:
        """`plain` as a value of this type, _NOTHING if it is none."""
        self._left -= 1
        if self._left < 0:
            return _NOTHING
        origin = typing.get_origin(wanted)
        if origin in (types.UnionType, typing.Union):
            arguments = [each for each in typing.get_args(wanted) if each is not type(None)]
            return None if plain is None else self.value(arguments[0], plain)
        if origin is tuple:
            return self._items(typing.get_args(wanted)[0], plain)
        if origin is dict:
            return self._pairs(typing.get_args(wanted)[1], plain)
        if hasattr(wanted, "_fields"):
            return self._named(wanted, plain)
        return _scalar(wanted, plain)

    def _items(self, wanted: Any, plain: object) -> Any:
        if not isinstance(plain, list):
            return _NOTHING
        found = (self.value(wanted, each) for each in plain[:_ITEMS_MOST])
        return tuple(each for each in found if each is not _NOTHING)

    def _pairs(self, wanted: Any, plain: object) -> Any:
        if not isinstance(plain, dict):
            return _NOTHING
        found = {}
        for name, each in list(plain.items())[:_ITEMS_MOST]:
            value = self.value(wanted, each)
            # The names of figures are ours, those of headers and variables are not.
            if value is not _NOTHING and (wanted is str or _WORD.fullmatch(str(name))):
                found[str(name)[:_TEXT_MOST]] = value
        return found

    def _named(self, wanted: Any, plain: object) -> Any:
        if not isinstance(plain, dict):
            return _NOTHING
        found, defaults = {}, wanted._field_defaults
        for name, kind in _hints(wanted).items():
            value = self.value(kind, plain[name]) if name in plain else _NOTHING
            if name in _WORDS and isinstance(value, str) and not _WORDS[name].fullmatch(value):
                value = _NOTHING
            if value is _NOTHING:
                value = defaults[name] if name in defaults else _empty(kind)
            if value is _NOTHING:
                return _NOTHING
            found[name] = value
        made, sound = wanted(**found), _SOUND.get(wanted)
        return made if sound is None or sound(made) else _NOTHING


def _empty(wanted: Any) -> Any:
    """What a plain form leaves out, as it does not apply: None, (), {}; else _NOTHING."""
    if type(None) in typing.get_args(wanted):
        return None
    origin = typing.get_origin(wanted)
    return origin() if origin in (tuple, dict) else _NOTHING


def _scalar(wanted: Any, plain: object) -> Any:
    if wanted is str:
        return plain[:_TEXT_MOST] if isinstance(plain, str) else _NOTHING
    if wanted is bool:
        return plain if isinstance(plain, bool) else _NOTHING
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        return _NOTHING
    if not abs(plain) < _NUMBER_MOST:  # NaN is not, either
        return _NOTHING
    return float(plain) if wanted is float else int(plain)


@lru_cache(maxsize=64)
def _hints(wanted: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(wanted)
