"""Print every watchdog setting with its value, its default and its meaning."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from gunicorn.config import Config

from watchdog_worker import settings
from watchdog_worker.cli import CommandError
from watchdog_worker.ownthread import words
from watchdog_worker.render.plain import plain

_DEFAULT_FILE = "gunicorn.conf.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help="gunicorn config file: PATH, file:PATH or python:MODULE (default: "
             f"./{_DEFAULT_FILE} if there is one)")


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises CommandError on a file that gunicorn would not start with."""
    given = _gunicorn_arguments()
    namespace, place = _namespace(arguments.config or given.config)
    timeout = _timeout(namespace) if given.timeout is None else float(given.timeout)
    values, problems = settings.read(namespace, place, os.environ)
    problems += settings.clashes(values, timeout)
    if problems:
        raise CommandError("; ".join(problems))
    for warning in settings.stray_environment(os.environ):
        print(f"watchdog-worker settings: {warning}", file=sys.stderr)
    print(f"# {place or 'no config file: environment and defaults'}")
    for declared in settings.SETTINGS:
        name = settings.PREFIX + declared.name
        print(f"{name} = {_shown(values.get(name, declared.default))}{_origin(name, namespace)}")
        planned = "Accepted, without effect yet. " if declared.planned else ""
        meaning = f"{planned}{declared.prose} Default: {_shown(declared.default)}."
        print(textwrap.indent(textwrap.fill(meaning, 92), "    # "))
    return 0


def _origin(name: str, namespace: Mapping[str, Any]) -> str:
    if name in namespace:
        return "    # set in the config file"
    if name.upper() in os.environ:
        return f"    # set by {name.upper()}"
    return ""


def _shown(value: Any) -> str:
    if callable(value):
        return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', '?')}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(item)}" for key, item in value.items()) + "}"
    return plain(repr(value))


def _gunicorn_arguments() -> argparse.Namespace:
    """What GUNICORN_CMD_ARGS says, as gunicorn reads it."""
    cfg = Config()
    try:
        return cfg.parser().parse_args(cfg.get_cmd_args_from_env())
    except (SystemExit, ValueError):  # argparse has said why
        raise CommandError("gunicorn would not start with this GUNICORN_CMD_ARGS") from None


def _namespace(location: str | None) -> tuple[Mapping[str, Any], str]:
    """What the config file defines, as gunicorn would see it, and its name."""
    try:
        sys.path.insert(0, os.getcwd())  # gunicorn's `chdir` default does the same
    except OSError:
        raise CommandError("the working directory has been removed") from None
    if location is None:
        if not os.path.exists(_DEFAULT_FILE):
            return {}, ""
        location = _DEFAULT_FILE
    if location.startswith("python:"):
        return _module(location.removeprefix("python:")), location
    path = location.removeprefix("file:")
    return _executed(path), os.path.basename(path)


def _module(name: str) -> Mapping[str, Any]:
    try:
        return vars(importlib.import_module(name))
    except (Exception, SystemExit) as error:
        raise CommandError(f"cannot import {name}: {_words(error)}") from None


def _executed(path: str) -> Mapping[str, Any]:
    module = ModuleType("__config__")
    module.__file__ = os.path.abspath(path)
    sys.modules["__config__"] = module
    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise CommandError(f"cannot read {path}: {_words(error)}") from None
    return vars(module)


def _timeout(namespace: Mapping[str, Any]) -> float:
    cfg = Config()
    try:
        if "timeout" in namespace:
            cfg.set("timeout", namespace["timeout"])
    except Exception as error:
        raise CommandError(f"timeout: {_words(error)}") from None
    return float(cfg.timeout)


def _words(error: BaseException) -> str:
    return plain(words(error))
