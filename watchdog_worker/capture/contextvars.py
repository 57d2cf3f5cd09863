"""Which ContextVars cross from one request to another, or are shared by all of them.

Runs in the monitor thread. Names and types of foreign objects are read without calling any of
their code; their values are never shown.
"""

from __future__ import annotations

import contextvars
import sys
from array import array
from collections import UserDict, UserList, deque
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from contextvars import Context, ContextVar
from enum import Enum
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from watchdog_worker.capture import appcode
from watchdog_worker.capture.saferepr import module_name, type_name
from watchdog_worker.model import ContextLeak
from watchdog_worker.vitals.context import EMPTY, Contexts, Crossed

_INSTRUMENTATION = {
    "anyio", "asyncio", "ddtrace", "decimal", "elasticapm", "newrelic", "opentelemetry",
    "sentry_sdk", "sniffio",
}
"""What these keep in a context is theirs, on purpose; by the top package of the variable."""

_HELD_BY_OBJECTS = {
    ("current_context", "opentelemetry"), ("decimal_context", "decimal"),
    ("decimal_context", "_pydecimal"),
}
"""The same for variables that no module has as an attribute: name, top package of the value."""

_VALUES = {type, tuple, str, bytes, int, float, frozenset, Enum, BaseException}
_CONTAINERS = {
    dict, list, set, bytearray, deque, array, SimpleNamespace,
    MutableMapping, MutableSequence, MutableSet, UserDict, UserList,
}
"""By descent alone: asked whether it is a subclass, an abstract class runs foreign code."""

Places = dict[ContextVar[Any], list[str]]
"""`module:attribute` of every variable that a module has, the best first."""


def crossed(found: list[Crossed]) -> Iterator[tuple[ContextLeak, Crossed]]:
    """Those of the variables that are not instrumentation's own, as they are to be told."""
    places = _places()
    for each in found:
        if not _is_instrumentation(each.variable, each.type, places):
            yield ContextLeak(
                _name(each.variable, places), type_name(each.type), "request"), each


def shared(contexts: Contexts) -> Iterator[ContextLeak]:
    """The variables whose value, or default, is one mutable object for all requests."""
    places = _places()
    for variable, value in _startup_values(contexts, places):
        kind = type(value)
        if (variable not in contexts.renewed and _is_mutable(value)
                and not _is_instrumentation(variable, kind, places)):
            yield ContextLeak(_name(variable, places), type_name(kind), "startup")


def _startup_values(
    contexts: Contexts, places: Places
) -> Iterator[tuple[ContextVar[Any], Any]]:
    """What a request sees that sets nothing: what was set at import, else the default.

    Defaults are looked for in the application's own modules only.
    """
    if contexts.policy != EMPTY:
        yield from contexts.baseline.items()
    without_values = Context()
    for variable, names in places.items():
        if contexts.policy != EMPTY and variable in contexts.baseline:
            continue
        if _is_application(sys.modules.get(names[0].partition(":")[0])):
            try:
                yield variable, without_values.run(variable.get)
            except LookupError:  # it has none
                pass


def _places() -> Places:
    """Where several have a variable, the application's goes first, and one that could make it."""
    modules = [(name, module) for name, module in list(sys.modules.items())
               if issubclass(type(module), ModuleType)]
    modules.sort(key=lambda item: (not _is_application(item[1]), not _makes_variables(item[1])))
    places: Places = {}
    for name, module in modules:
        deep = _is_application(module) or name.partition(".")[0] in _INSTRUMENTATION
        for attribute, variable in _variables(_namespace(module), name if deep else None):
            places.setdefault(variable, []).append(f"{name}:{attribute}")
    return places


def _variables(
    namespace: dict[str, Any], module: str | None
) -> Iterator[tuple[str, ContextVar[Any]]]:
    """The variables in a namespace, and in the classes that `module` has made in it."""
    for name, value in list(namespace.items()):
        if type(value) is ContextVar:
            yield str(name), value
        elif module is not None and issubclass(type(value), type) and module_name(value) == module:
            for attribute, inner in list(_namespace_of(value).items()):
                if type(inner) is ContextVar:
                    yield f"{name}.{attribute}", inner


def _makes_variables(module: ModuleType) -> bool:
    namespace = _namespace(module)
    return (namespace.get("ContextVar") is ContextVar
            or namespace.get("contextvars") is contextvars)


def _namespace(module: ModuleType) -> dict[str, Any]:
    # A module may be lazy and import half the world when it is asked for an attribute.
    namespace: dict[str, Any] = ModuleType.__getattribute__(module, "__dict__")
    return namespace


def _is_application(module: ModuleType | None) -> bool:
    if module is None or not issubclass(type(module), ModuleType):
        return False
    file = _namespace(module).get("__file__")
    return type(file) is str and appcode.is_application(file)


def _is_mutable(value: Any) -> bool:
    """A container, or an object of the application's own class that holds data.

    A library's object (an engine, a client, a pool) is as a rule there to be shared.
    """
    kind = type(value)
    if not _CONTAINERS.isdisjoint(_descent(kind)):
        return True
    if not _is_application(sys.modules.get(module_name(kind))):
        return False
    if not _VALUES.isdisjoint(_descent(kind)):
        return False
    return _holds_data(value) and not _is_frozen(kind)


def _holds_data(value: Any) -> bool:
    """It has attributes, or nothing but room for them: no methods that could be its purpose."""
    kind = type(value)
    if type.__dict__["__dictoffset__"].__get__(kind) == 0:
        return bool(_inherited(kind, "__slots__"))
    try:
        has_some = bool(object.__getattribute__(value, "__dict__"))
    except Exception:
        return False
    return has_some or not any(
        type(each) is FunctionType for each in _namespace_of(kind).values())


def _is_frozen(kind: type) -> bool:
    """Its instances refuse to be written to: frozen dataclass, attrs class, pydantic model."""
    config = _inherited(kind, "model_config")
    if type(config) is dict:
        return config.get("frozen") is True
    return _inherited(kind, "__setattr__") is not object.__dict__["__setattr__"]


def _inherited(kind: type, attribute: str) -> Any:
    """A class attribute, read past any metaclass; None where there is none."""
    for base in _descent(kind):
        namespace = _namespace_of(base)
        if attribute in namespace:
            return namespace[attribute]
    return None


def _descent(kind: type) -> tuple[type, ...]:
    classes: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return classes


def _namespace_of(kind: type) -> Mapping[str, Any]:
    namespace: Mapping[str, Any] = type.__dict__["__dict__"].__get__(kind)
    return namespace


def _is_instrumentation(
    variable: ContextVar[Any], kind: type, places: Places
) -> bool:
    if any(place.partition(":")[0].partition(".")[0] in _INSTRUMENTATION
           for place in places.get(variable, ())):
        return True
    return (variable.name, module_name(kind).partition(".")[0]) in _HELD_BY_OBJECTS


def _name(variable: ContextVar[Any], places: Places) -> str:
    """Where it is, and always its own name."""
    if variable not in places:
        return variable.name
    place = places[variable][0]
    return place if variable.name in place else f"{place} ({variable.name})"
