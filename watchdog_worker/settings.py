"""The `watchdog_*` settings: declared once in `SETTINGS`, adopted into gunicorn's config.

gunicorn takes its list of known settings before the config file runs, and a worker class is
loaded after that: names that a worker class brings would be ignored in silence on the first
start, and on HUP an invalid one would end the master. So gunicorn never knows these names
while it reads the file. `adopt` reads them afterwards from the config file's namespace, then
from the environment, and inserts gunicorn `Setting` instances: from there on
`cfg.watchdog_stall_threshold` works like any other setting.

Adopted in the arbiter, read everywhere. Precedence: config file, environment,
default.
"""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from gunicorn import config as gunicorn_config

from watchdog_worker import kinds
from watchdog_worker.kinds import Declared, InvalidValue

PREFIX = "watchdog_"
ON_REPORT = kinds.Hook("worker", "report")
ON_REQUEST = kinds.Hook("scope")
FACTORY = kinds.Hook()

SETTINGS: tuple[Declared, ...] = (
    Declared(
        "enabled", kinds.FLAG, True,
        "False: a plain UvicornWorker, nothing of ours runs."),
    Declared(
        "heartbeat_interval", kinds.Seconds(least=0.05), 0.5,
        "How often the loop beats and notifies the arbiter; more often where it must be: twice in "
        "`watchdog_stall_threshold` and `watchdog_slow_request_threshold`, four times in "
        "`timeout`."),
    Declared(
        "stall_threshold", kinds.Seconds(least=0.05, zero_is_off=True), 1.0,
        "A loop that is silent for longer gives a `stall` report; 0 switches it off."),
    Declared(
        "stall_rate_limit", kinds.Count(least=0), 10,
        "At most this many `stall` reports a minute and worker, and as many `slow_request` ones; "
        "and as many `post_mortem` ones of workers that die as they boot. What is withheld is "
        "counted in the next one."),
    Declared(
        "pre_kill_margin", kinds.Seconds(least=0.05, optional=True), None,
        "Seconds before the arbiter's deadline at which the `pre_kill` dump is taken; None: a "
        "sixth of `timeout`, at least 0.5 (or a quarter of a shorter timeout), at most 5."),
    Declared(
        "sample_interval", kinds.Seconds(least=0.001), 0.05,
        "How often the loop thread's stack is sampled during a stall."),
    Declared(
        "slow_request_threshold", kinds.Seconds(least=0.05, zero_is_off=True), 0.0,
        "A request in flight for longer on a healthy loop gives a `slow_request` report with the "
        "await chain of its task; 0 switches it off."),
    Declared(
        "startup_threshold", kinds.Seconds(least=0.05, optional=True), None,
        "A boot (import, lifespan) longer than this gives `slow_startup`, repeated at doubling "
        "intervals; None: `timeout`."),
    Declared(
        "startup_timeout", kinds.Seconds(least=0.0), 0.0,
        "A boot longer than this is dumped and ended, and the arbiter starts another worker; 0 "
        "switches it off."),
    Declared(
        "log_format", kinds.Choice("text", "json"), "text",
        "`text`: a headline and a readable block in one log record; `json`: the message is the "
        "report as one line of JSON and nothing else."),
    Declared(
        "dump_dir", kinds.Folder(), None,
        "Every report is also written here as a JSON file, mode 0600, whole or not at all. The "
        "folder is made when it is missing."),
    Declared(
        "dump_keep", kinds.Count(least=1), 50,
        "The newest files kept in that folder, for all workers together."),
    Declared("max_tasks", kinds.Count(least=1), 200, "Groups of tasks that one report lists."),
    Declared("max_threads", kinds.Count(least=1), 100, "Threads that one report lists."),
    Declared("max_frames", kinds.Count(least=4), 60, "Frames that one stack lists."),
    Declared(
        "max_requests", kinds.Count(least=1), 100,
        "Requests that one report lists; at most ten of them are WebSockets."),
    Declared(
        "request_headers", kinds.HeaderNames(), ("x-request-id", "traceparent"),
        "Request headers copied into reports; no other header ever is."),
    Declared(
        "capture_query", kinds.FLAG, False, "Keep the query string of request paths."),
    Declared(
        "capture_locals", kinds.FLAG, False,
        "Add the local variables of application frames, through a repr that cannot fail, is cut, "
        "and masks names that look secret."),
    Declared(
        "context_policy", kinds.Choice("startup", "empty", "inherit"), "startup",
        "What a request's ContextVars start from: `startup` (what the process had when it began "
        "serving, never another request's), `empty`, or `inherit` (uvicorn's own behaviour)."),
    Declared(
        "contextvars", kinds.Factories(FACTORY), {},
        "`{\"pkg.mod:var\": factory or None}`: set afresh for every request from the factory, or "
        "left unset."),
    Declared(
        "on_request_start", ON_REQUEST, None,
        "Called with the scope, in the request's own context, before the application is."),
    Declared(
        "on_request_end", ON_REQUEST, None,
        "The same when the application has returned, however it has."),
    Declared(
        "on_report", ON_REPORT, None,
        "Called as `(worker, report)` with every report, a dict of schema 1, outside the loop "
        "thread; its errors and its slowness hurt nothing. For a `post_mortem`, in a short-lived "
        "child of gunicorn's master."),
    Declared(
        "dump_signal", kinds.SignalName(), "SIGUSR2",
        "A worker that gets it reports its stacks (`on_demand`), also while the loop is blocked; "
        "while native code holds the GIL, as soon as it lets go. None: no signal."),
    Declared(
        "core_dumps", kinds.FLAG, False,
        "False: an aborted worker runs `worker_abort` and exits without a core file; True: it "
        "runs `worker_abort` and dies of SIGABRT."),
    Declared(
        "run_dir", kinds.Folder(), None,
        "Folder of the flight recorders, made when it is missing; None: `worker_tmp_dir`, else "
        "`/dev/shm`, else the temporary folder."),
    Declared(
        "rescue", kinds.Choice("off", "fail", "recycle"), "off",
        "`fail`: before the kill, break the blocking request with an exception; `recycle`: the "
        "same, then drain and leave so that the arbiter starts a fresh worker.", planned=True),
)
"""Every setting, without the `watchdog_` prefix, in the order in which it is documented."""


class SettingsError(Exception):
    """One line that names every setting that is wrong, and where it was set."""


def _setting_class(declared: Declared) -> type[gunicorn_config.Setting]:
    """A gunicorn `Setting` for it, unknown to gunicorn (see the module's docstring)."""
    metaclass: Any = type(gunicorn_config.Setting)
    cls: type[gunicorn_config.Setting] = metaclass(
        declared.name.title().replace("_", ""),
        (gunicorn_config.Setting,),
        {
            "name": PREFIX + declared.name,
            "section": "Watchdog",
            "validator": declared.kind.check,
            "default": declared.default,
            "desc": declared.prose,
        },
    )
    gunicorn_config.KNOWN_SETTINGS.remove(cls)  # type: ignore[arg-type]
    return cls


_CLASSES = {PREFIX + declared.name: _setting_class(declared) for declared in SETTINGS}
_DEFAULTS = {PREFIX + declared.name: declared.default for declared in SETTINGS}


def adopted(cfg: Any) -> bool:
    """Whether this config has the settings already."""
    return f"{PREFIX}enabled" in cfg.settings


def adopt(cfg: Any) -> tuple[dict[str, Any], list[str]]:
    """Read, check and insert all settings; what was found and warnings, a line each.

    Raises SettingsError, and leaves `cfg` untouched, if any of them is wrong.
    """
    namespace, place = config_namespace(cfg)
    values, problems = read(namespace, place, os.environ)
    if not problems:
        problems = clashes(values, float(cfg.timeout))
    if problems:
        raise SettingsError("; ".join(problems))
    insert(cfg, values)
    return values, stray_environment(os.environ)


def insert(cfg: Any, values: Mapping[str, Any]) -> None:
    """Put gunicorn settings with these checked values into `cfg`."""
    for name, cls in _CLASSES.items():
        setting = cls()
        if name in values:
            setting.set(values[name])
        cfg.settings[name] = setting


def config_namespace(cfg: Any) -> tuple[Mapping[str, Any], str]:
    """What the config file defined, and its name; empty where there is no file.

    gunicorn keeps the namespace of a file as the module `__config__`, that of `python:mod`
    under its own name. It never takes `__config__` away again: on HUP it would outlive a
    default config file that has been deleted since.
    """
    location = cfg.settings["config"].get() or ""
    name = location.removeprefix("python:") if location.startswith("python:") else "__config__"
    module = sys.modules.get(name)
    if module is None:
        return {}, ""
    if name != "__config__":
        return vars(module), location
    file = getattr(module, "__file__", None) or ""
    return (vars(module), os.path.basename(file)) if os.path.exists(file) else ({}, "")


def read(
    namespace: Mapping[str, Any], place: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The checked values that were set, by full name, and what is wrong with the others."""
    values: dict[str, Any] = {}
    problems = [f"{name} in {place} is not a setting{did_you_mean(name)}"
                for name in namespace if _looks_like_ours(name, namespace[name])]
    for declared in SETTINGS:
        name = PREFIX + declared.name
        variable = name.upper()
        try:
            if name in namespace:
                where = f"in {place}"
                values[name] = declared.kind.check(namespace[name])
            elif variable in environ:
                where = f"from the environment variable {variable}"
                values[name] = declared.kind.check(declared.kind.parse(environ[variable]))
        except InvalidValue as error:
            problems.append(f"{name} {where}: {error}")
    return values, problems


def did_you_mean(name: str) -> str:
    """A suggestion for a misspelled name, or nothing."""
    hint = _near(name, cutoff=0.6)
    return f"; did you mean {PREFIX}{hint}?" if hint else ""


def _looks_like_ours(name: str, value: object) -> bool:
    """An unknown name with our prefix; a module is none (`import watchdog_worker`)."""
    return name.startswith(PREFIX) and name not in _CLASSES and not isinstance(value, ModuleType)


def stray_environment(environ: Mapping[str, str]) -> list[str]:
    """Warnings for variables that look like misspelled settings.

    Not an error: the prefix is not ours alone there (systemd sets WATCHDOG_USEC and
    WATCHDOG_PID), so only a near miss is worth a line.
    """
    return [
        f"the environment variable {variable} is not a setting; did you mean "
        f"{PREFIX.upper()}{hint.upper()}?"
        for variable in environ
        if variable.startswith(PREFIX.upper()) and variable.lower() not in _CLASSES
        and (hint := _near(variable, cutoff=0.75))
    ]


def _near(name: str, cutoff: float) -> str:
    # Without the prefix, which all have in common and which would make all alike.
    bare = name.lower().removeprefix(PREFIX)
    names = [declared.name for declared in SETTINGS]
    return next(iter(difflib.get_close_matches(bare, names, n=1, cutoff=cutoff)), "")


def clashes(values: Mapping[str, Any], timeout: float) -> list[str]:
    """What is wrong between settings that are each right; `timeout` is gunicorn's."""
    problems = []
    effective = {**_DEFAULTS, **values}
    interval = effective["watchdog_heartbeat_interval"]
    if timeout and interval > timeout / 2:
        problems.append(
            f"watchdog_heartbeat_interval = {interval:g} is more than half of timeout = "
            f"{timeout:g}: the arbiter has to hear more often")
    margin = effective["watchdog_pre_kill_margin"]
    beat = _beat_interval(interval, effective["watchdog_stall_threshold"], timeout)
    if margin and timeout and margin > timeout - 2 * beat:
        problems.append(
            f"watchdog_pre_kill_margin = {margin:g} leaves less than two heartbeats of timeout = "
            f"{timeout:g}: a healthy worker would be dumped")
    return problems


def beat_interval(cfg: Any) -> float:
    """Seconds between two beats: the setting, or less where a threshold or timeout needs it.

    A silence is measured between beats, so that a threshold below two intervals would take a
    healthy loop for a silent one; and a request is slow only on a loop that has shown life.
    """
    slow = cfg.watchdog_slow_request_threshold
    return min(slow / 2 or math.inf, _beat_interval(
        cfg.watchdog_heartbeat_interval, cfg.watchdog_stall_threshold, float(cfg.timeout)))


def _beat_interval(interval: float, threshold: float, timeout: float) -> float:
    return min(interval, threshold / 2 or interval, timeout / 4 or interval)


def startup_threshold(cfg: Any) -> float:
    """Seconds after which a boot is told of; 0: never."""
    threshold = cfg.watchdog_startup_threshold
    return float(cfg.timeout) if threshold is None else float(threshold)


def pre_kill_margin(cfg: Any) -> float:
    """Seconds before the deadline at which the dump is taken.

    Two heartbeats fit before it, whatever the setting is: HUP can change `timeout` under a
    margin that was right before.
    """
    timeout = float(cfg.timeout)
    if cfg.watchdog_pre_kill_margin is not None:
        return min(float(cfg.watchdog_pre_kill_margin), timeout - 2 * beat_interval(cfg))
    return min(max(timeout / 6, min(0.5, timeout / 4)), 5.0)
