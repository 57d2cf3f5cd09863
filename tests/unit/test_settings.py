"""What each setting takes, and what it says to the rest."""

from __future__ import annotations

import os
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS, Config

from watchdog_worker import kinds, settings
from watchdog_worker.kinds import InvalidValue
from watchdog_worker.ownthread import Leave


class Asleep:
    async def __call__(self, worker: Any, report: Any) -> None:
        """Nobody awaits it."""


def yields(worker: Any, report: Any) -> Any:
    yield


async def asleep(worker: Any, report: Any) -> None:
    """A hook that nobody would await."""


GOOD: dict[str, list[tuple[Any, Any]]] = {
    "enabled": [(False, False)],
    "heartbeat_interval": [(1, 1.0), (0.05, 0.05)],
    "stall_threshold": [(0, 0.0), (2, 2.0)],
    "pre_kill_margin": [(None, None), (3, 3.0)],
    "stall_rate_limit": [(0, 0)],
    "log_format": [("json", "json")],
    "dump_dir": [(None, None), ("/x", "/x")],
    "request_headers": [(["X-Id"], ("x-id",)), ((), ())],
    "dump_signal": [("usr2", "SIGUSR2"), ("SIGUSR2", "SIGUSR2"), (None, None)],
    "contextvars": [({"a.b:c": None, "d:e": dict}, {"a.b:c": None, "d:e": dict})],
    "on_report": [("os.path:join", "os.path:join"), (print, print)],
}
BAD: dict[str, list[Any]] = {
    "enabled": [1, "True", None],
    "heartbeat_interval": [0, -1, True, "1", None, math.nan, math.inf, 10 ** 400],
    "stall_threshold": [0.01, -1, None, math.inf],
    "stall_rate_limit": [-1, 1.5, True],
    "pre_kill_margin": [0, "1"],
    "log_format": ["xml", None, 3],
    "dump_dir": [1, "", "a\0b"],
    "max_frames": [0, 3, 2.0, 10 ** 20],
    "request_headers": ["x-id", ["x id"], [1], None],
    "dump_signal": ["SIGUSR1", "SIGIOT", "SIGCLD", "SIGPOLL", "SIGKILL", "SIGTERM", "SIGNONE", 12],
    "contextvars": [None, {"a": None}, {"a:b": 3}, {1: None}, {"a:b": lambda x: x}],
    "on_report": [3, lambda: None, "os.path", asleep, Asleep(), yields],
    "context_policy": ["keep"],
}


def read(**values: Any) -> tuple[dict[str, Any], list[str]]:
    named = {f"watchdog_{name}": value for name, value in values.items()}
    return settings.read(named, "conf.py", {})


@pytest.mark.parametrize("name, value, kept", [
    (name, value, kept) for name, cases in GOOD.items() for value, kept in cases])
def test_a_good_value_is_kept(name: str, value: Any, kept: Any) -> None:
    """In the form in which the code wants it."""
    values, problems = read(**{name: value})
    assert problems == []
    assert values[f"watchdog_{name}"] == kept


@pytest.mark.parametrize("name, value", [
    (name, value) for name, cases in BAD.items() for value in cases])
def test_a_bad_value_is_named_with_its_place(name: str, value: Any) -> None:
    """On one line that says what is expected."""
    values, problems = read(**{name: value})
    assert values == {}
    assert len(problems) == 1
    assert problems[0].startswith(f"watchdog_{name} in conf.py: ")
    assert "\n" not in problems[0]


def test_a_path_is_followed_in_the_worker() -> None:
    """Not in the arbiter, where the application's modules would outlive a reload."""
    hook = settings.ON_REPORT
    assert hook.resolve("os.path:join") is os.path.join
    assert hook.resolve(print) is print
    assert hook.resolve(None) is None
    for path, complaint in (
            ("nowhere.at:all", "cannot import 'nowhere.at:all': ModuleNotFoundError"),
            ("os.path:missing", "cannot import 'os.path:missing': AttributeError"),
            ("os:sep", "expected a callable (worker, report)"),
            ("os:getcwd", "expected a callable (worker, report)")):
        with pytest.raises(InvalidValue, match=re.escape(complaint)):
            hook.resolve(path)


LEAVES = "from watchdog_worker.ownthread import Leave\n"


@pytest.mark.parametrize("name, text, left", [
    ("exits", "raise SystemExit(5)", False),
    ("leaves", LEAVES + "raise Leave(0)", True),
    ("wraps", LEAVES + "try: raise Leave(0)\nexcept BaseException: raise ValueError", True),
])
def test_an_import_that_ends_is_an_error_unless_we_have_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, left: bool
) -> None:
    """A module may call sys.exit; a signal may come, and become another error on its way out."""
    (tmp_path / f"ends_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Leave if left else InvalidValue) as raised:
        kinds.imported(f"ends_{name}:hook")
    assert left or str(raised.value) == "cannot import 'ends_exits:hook': SystemExit: 5"


@pytest.mark.parametrize("name, hint", [
    ("watchdog_stall_treshold", "; did you mean watchdog_stall_threshold?"),
    ("watchdog_STALL_THRESHOLD", "; did you mean watchdog_stall_threshold?"),
    ("watchdog_foo", "")])
def test_a_misspelled_name_gets_a_hint(name: str, hint: str) -> None:
    """Where there is one worth giving."""
    assert settings.did_you_mean(name) == hint


def test_a_value_that_cannot_be_shown_is_refused_like_others() -> None:
    """Its repr is foreign code."""
    class Mean:
        def __repr__(self) -> str:
            raise SystemExit(5)

    _, problems = read(max_tasks=Mean())
    assert "not an object of type Mean" in problems[0]


@pytest.mark.parametrize("variable, text, kept", [
    ("ENABLED", "no", False), ("ENABLED", "ON", True), ("STALL_THRESHOLD", "2", 2.0),
    ("PRE_KILL_MARGIN", "none", None), ("MAX_TASKS", "7", 7), ("DUMP_DIR", "", None),
    ("DUMP_SIGNAL", "none", None), ("REQUEST_HEADERS", "a, B ,", ("a", "b")),
    ("LOG_FORMAT", "JSON", "json"), ("CONTEXTVARS", "a.b:c=builtins:dict, d:e",
                                     {"a.b:c": "builtins:dict", "d:e": None}),
    ("ON_REPORT", "os.path:join", "os.path:join"), ("ON_REPORT", "none", None),
])
def test_the_environment_is_text(variable: str, text: str, kept: Any) -> None:
    """Every kind can be written there."""
    values, problems = settings.read({}, "", {f"WATCHDOG_{variable}": text})
    assert problems == []
    assert values == {f"watchdog_{variable.lower()}": kept}


@pytest.mark.parametrize("variable, text", [
    ("ENABLED", "maybe"), ("STALL_THRESHOLD", "soon"), ("MAX_TASKS", "2.5"),
    ("CONTEXTVARS", "a.b"), ("DUMP_SIGNAL", "KILL"),
])
def test_bad_text_in_the_environment_is_named(variable: str, text: str) -> None:
    """With the variable's own name."""
    _, problems = settings.read({}, "", {f"WATCHDOG_{variable}": text})
    assert f"from the environment variable WATCHDOG_{variable}: expected" in problems[0]


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody has to start five times."""
    _, problems = read(max_tasks=0, log_format="x", treshold=1)
    assert len(problems) == 3


def test_gunicorn_does_not_know_the_settings_while_it_reads_its_file() -> None:
    """On HUP an invalid one would end the master."""
    assert not [known for known in KNOWN_SETTINGS if str(known.name).startswith("watchdog_")]


def test_adopted_settings_work_like_gunicorns_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """cfg.watchdog_x, cfg.set with its validation, and they print."""
    monkeypatch.setenv("WATCHDOG_MAX_TASKS", "9")
    cfg = Config()
    settings.adopt(cfg)
    assert cfg.watchdog_max_tasks == 9
    assert cfg.watchdog_pre_kill_margin is None
    with pytest.raises(ValueError):
        cfg.set("watchdog_max_tasks", "x")
    cfg.set("watchdog_max_tasks", 3)
    assert cfg.watchdog_max_tasks == 3
    assert "watchdog_max_tasks" in str(cfg)


def test_a_config_that_is_wrong_stays_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing."""
    monkeypatch.setenv("WATCHDOG_MAX_TASKS", "none")
    cfg = Config()
    with pytest.raises(settings.SettingsError):
        settings.adopt(cfg)
    assert not settings.adopted(cfg)


@pytest.mark.parametrize("timeout, margin", [
    (30, 5.0), (60, 5.0), (6, 1.0), (12, 2.0), (3, 0.5), (2, 0.5), (1, 0.25)])
def test_the_margin_before_the_kill(timeout: int, margin: float) -> None:
    """A sixth, at least 0.5 or a quarter of a shorter timeout, at most 5."""
    cfg = SimpleNamespace(watchdog_pre_kill_margin=None, timeout=timeout)
    assert settings.pre_kill_margin(cfg) == pytest.approx(margin)


def test_a_margin_that_no_longer_fits_is_cut() -> None:
    """HUP can lower the timeout under it; two heartbeats fit before it always."""
    cfg = SimpleNamespace(watchdog_pre_kill_margin=10.0, timeout=5,
                          watchdog_heartbeat_interval=0.5, watchdog_stall_threshold=1.0,
                          watchdog_slow_request_threshold=0.0)
    assert settings.pre_kill_margin(cfg) == pytest.approx(4.0)
    assert settings.clashes({"watchdog_pre_kill_margin": 4.0}, 5.0) == []
    assert settings.clashes({"watchdog_pre_kill_margin": 4.5}, 5.0) != []


@pytest.mark.parametrize("interval, threshold, timeout, beat", [
    (0.5, 1.0, 30, 0.5), (0.5, 0.2, 30, 0.1), (0.5, 0.0, 30, 0.5), (0.5, 1.0, 1, 0.25),
    (0.5, 1.0, 0, 0.5)])
def test_the_beat_is_fast_enough_for_the_threshold(
    interval: float, threshold: float, timeout: int, beat: float
) -> None:
    """Two beats in a threshold, four in a timeout."""
    cfg = SimpleNamespace(watchdog_heartbeat_interval=interval,
                          watchdog_stall_threshold=threshold, timeout=timeout,
                          watchdog_slow_request_threshold=0.0)
    assert settings.beat_interval(cfg) == pytest.approx(beat)


def test_the_readme_lists_every_setting() -> None:
    """With its default, and marked where it does not act yet."""
    rows = {}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for line in readme.splitlines():
        match = re.match(r"\| `(watchdog_\w+)` \| `([^`]*)` \| (.*) \|$", line)
        if match:
            rows[match[1]] = (match[2], match[3])
    assert list(rows) == [f"watchdog_{declared.name}" for declared in settings.SETTINGS]
    for declared in settings.SETTINGS:
        default, prose = rows[f"watchdog_{declared.name}"]
        assert default == repr(declared.default)
        planned = "*(not yet)* " if declared.planned else ""
        assert prose == planned + declared.prose
