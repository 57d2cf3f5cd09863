"""The kinds of values that a setting can have: how each is checked and read from text.

A kind's `check` takes a value as a config file holds it and gives the value to keep; `parse`
takes the text of an environment variable and gives something to check. Both raise
InvalidValue, whose text completes the sentence "watchdog_x: …".
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from watchdog_worker.ownthread import Leave, words

_NONE = {"", "none", "null"}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_MOST = 1_000_000
_ERRORS_MOST = 100
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# gunicorn and uvicorn act on these, the kernel or faulthandler on the others, so a dump on one
# of them would take its meaning away.
_TAKEN = {"SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGTTIN", "SIGTTOU", "SIGWINCH",
          "SIGCHLD", "SIGABRT", "SIGIO", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE",
          "SIGXFSZ"}
_FATAL = {"SIGKILL", "SIGSTOP", "SIGCONT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP",
          "SIGSYS", "SIGTSTP"}


class InvalidValue(ValueError):
    """A value that a setting does not take; the text says what it does take."""


class Kind(ABC):
    """What values a setting takes."""

    takes: str
    """What is expected, in words, for messages and documentation."""

    @abstractmethod
    def check(self, value: Any) -> Any:
        """The value to keep. Raises InvalidValue."""

    def parse(self, text: str) -> Any:
        """The value that an environment variable means. Raises InvalidValue."""
        return text

    def refuse(self, value: object) -> InvalidValue:
        """The error for a value of the wrong type or range."""
        return InvalidValue(f"expected {self.takes}, not {_shown(value)}")


class Declared(NamedTuple):
    """One setting, as `settings.SETTINGS` lists it."""

    name: str
    kind: Kind
    default: Any
    prose: str
    planned: bool = False
    """Accepted, but what it switches does not exist yet."""


class Flag(Kind):
    takes = "True or False"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.refuse(value)
        return value

    def parse(self, text: str) -> Any:
        word = text.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else text


FLAG = Flag()


class Seconds(Kind):
    def __init__(self, least: float, zero_is_off: bool = False, optional: bool = False) -> None:
        self.least, self.zero_is_off, self.optional = least, zero_is_off, optional
        self.takes = f"a number of seconds of at least {least:g}"
        self.takes += " or 0" if zero_is_off else " or None" if optional else ""

    def check(self, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(value)
        try:
            seconds = float(value)
        except OverflowError:
            raise self.refuse("a number beyond all bounds") from None
        if not math.isfinite(seconds) or (
                seconds < self.least and not (self.zero_is_off and seconds == 0)):
            raise self.refuse(value)
        return seconds

    def parse(self, text: str) -> Any:
        if self.optional and text.strip().lower() in _NONE:
            return None
        try:
            return float(text)
        except ValueError:
            return text


class Count(Kind):
    def __init__(self, least: int) -> None:
        self.least = least
        self.takes = f"a whole number from {least} to {_MOST}"

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(value)
        if not self.least <= value <= _MOST:
            raise self.refuse(value)
        return int(value)

    def parse(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            return text


class Choice(Kind):
    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.takes = " or ".join(repr(choice) for choice in choices)

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise self.refuse(value)
        return value

    def parse(self, text: str) -> Any:
        return text.strip().lower()


class Folder(Kind):
    takes = "the path of a folder or None"

    def check(self, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.refuse(value)
        return value

    def parse(self, text: str) -> Any:
        return None if text.strip().lower() in _NONE else text


class HeaderNames(Kind):
    takes = "a list of header names"

    def check(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise self.refuse(value)
        for name in value:
            if not isinstance(name, str) or not _TOKEN.fullmatch(name):
                raise self.refuse(value)
        return tuple(name.lower() for name in value)

    def parse(self, text: str) -> Any:
        return [name.strip() for name in text.split(",") if name.strip()]


class SignalName(Kind):
    takes = "the name of a signal that gunicorn leaves free, such as 'SIGUSR2', or None"

    def check(self, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refuse(value)
        name = value.upper() if value.upper().startswith("SIG") else "SIG" + value.upper()
        try:
            name = signal.Signals[name].name  # SIGIOT is SIGABRT
        except KeyError:
            raise self.refuse(value) from None
        if name in _TAKEN or name in _FATAL:
            raise self.refuse(value)
        return name

    def parse(self, text: str) -> Any:
        return None if text.strip().lower() in _NONE else text.strip()


class Hook(Kind):
    """A callable, or where the worker is to import it from: `"pkg.mod:name"`.

    A path is only looked at here: imported in the arbiter, the application's modules would stay
    there, and HUP would start workers with the old code.
    """

    def __init__(self, *parameters: str) -> None:
        self.parameters = parameters
        self.takes = f"a callable ({', '.join(parameters)}), not async, or 'pkg.mod:name' or None"

    def resolve(self, value: Callable[..., object] | str | None) -> (
            Callable[..., object] | None):
        """The callable, imported now if need be; in the worker. Raises InvalidValue."""
        return self.check_callable(imported(value)) if isinstance(value, str) else value

    def check(self, value: Any) -> Callable[..., object] | str | None:
        if value is None or isinstance(value, str) and _PATH.fullmatch(value):
            return value
        return self.check_callable(value)

    def check_callable(self, value: Any) -> Callable[..., object]:
        """The value itself, if it can be called as it will be. Raises InvalidValue."""
        hook: Callable[..., object] = value
        if not callable(hook) or any(map(_is_lazy, (hook, getattr(type(hook), "__call__", None)))):
            raise self.refuse(value)
        try:
            inspect.signature(hook).bind(*self.parameters)
        except ValueError:  # a builtin without a signature: nothing to hold it to
            pass
        except Exception:
            raise self.refuse(value) from None
        return hook

    def parse(self, text: str) -> Any:
        return None if text.strip().lower() in _NONE else text.strip()


class Factories(Kind):
    """`{"pkg.mod:var": factory}`; in the environment `pkg.mod:var=pkg.mod:factory,pkg.mod:var`."""

    takes = "a dict of 'pkg.mod:var' to a callable () or None"

    def __init__(self, factory: Hook) -> None:
        self.factory = factory

    def check(self, value: Any) -> dict[str, Callable[..., object] | str | None]:
        if not isinstance(value, dict):
            raise self.refuse(value)
        checked: dict[str, Callable[..., object] | str | None] = {}
        for path, make in value.items():
            if not isinstance(path, str) or not _PATH.fullmatch(path):
                raise self.refuse(value)
            try:
                checked[path] = self.factory.check(make)
            except InvalidValue as error:
                raise InvalidValue(f"for {path!r} {error}") from None
        return checked

    def parse(self, text: str) -> Any:
        pairs = (item.partition("=") for item in text.split(",") if item.strip())
        return {path.strip(): make.strip() or None for path, _, make in pairs}


def imported(path: str) -> Any:
    """What `"pkg.mod:name"` stands for. Raises InvalidValue, and Leave where a signal has come."""
    module, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an import runs foreign code, which may call sys.exit
        leave = _leave_behind(error)
        if leave is not None:
            raise leave
        reason = " ".join(words(error).split())
        raise InvalidValue(f"cannot import {path!r}: {reason}") from None
    return found


def _leave_behind(error: BaseException | None) -> Leave | None:
    """What was raised to leave, also where it has become another error on its way."""
    for _ in range(_ERRORS_MOST):
        if error is None or isinstance(error, Leave):
            return error
        error = error.__context__
    return None


def _is_lazy(function: object) -> bool:
    """Calling it does nothing yet."""
    return any(kind(function) for kind in (
        inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction))


def _shown(value: object) -> str:
    """A value in an error message: one line, short, whatever its repr does."""
    try:
        text = repr(value)
    except BaseException:  # it is foreign, and may call sys.exit
        text = f"an object of type {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."
