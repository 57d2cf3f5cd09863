"""What the settings say about every request's context, imported and checked in the worker."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from watchdog_worker import kinds, settings
from watchdog_worker.vitals.context import Factory, Hook, Plan


def read(cfg: Any) -> tuple[Plan, list[str]]:
    """The plan, and what is wrong with the settings, a line each; what is right is in the plan.

    Imports what they name, so call it in the worker, when the application has been loaded.
    """
    problems: list[str] = []
    factories: dict[ContextVar[Any], Factory | None] = {}
    for path, make in cfg.watchdog_contextvars.items():
        try:
            variable = _variable(path)
            if variable in factories:
                raise kinds.InvalidValue(f"{path!r} is a variable that another path names too")
            factories[variable] = settings.FACTORY.resolve(make)
        except kinds.InvalidValue as error:
            problems.append(f"watchdog_contextvars: {error}")
    hooks: list[Hook | None] = []
    for name in ("watchdog_on_request_start", "watchdog_on_request_end"):
        try:
            hooks.append(settings.ON_REQUEST.resolve(getattr(cfg, name)))
        except kinds.InvalidValue as error:
            hooks.append(None)
            problems.append(f"{name}: {error}")
    return Plan(cfg.watchdog_context_policy, factories, *hooks), problems


def _variable(path: str) -> ContextVar[Any]:
    found = kinds.imported(path)
    if not isinstance(found, ContextVar):
        raise kinds.InvalidValue(f"{path!r} is no ContextVar but of type {type(found).__name__}")
    return found
