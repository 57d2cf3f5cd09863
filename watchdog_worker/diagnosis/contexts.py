"""What a ContextVar that is not each request's own means, and what to do. Pure."""

from __future__ import annotations

from watchdog_worker.model import ContextLeak, Diagnosis


def explain(leak: ContextLeak) -> Diagnosis:
    """Why it has been told, and the fix."""
    if leak.origin == "request":
        return Diagnosis(
            summary=(
                "its value was not there when serving began: the request came in the context of "
                "another one, as a rule the last on its connection; the worker gave it a clean "
                "one"),
            remedy=(
                "none, as long as watchdog_context_policy is not 'inherit'; to be safe on any "
                "server, set the variable at the start of every request, in a middleware"))
    path = leak.variable.partition(" ")[0]
    path = path if ":" in path else "your.module:variable"
    return Diagnosis(
        summary=(
            "the object was there when serving began, as the variable's value or its default: "
            "what one request writes into it, all others read, whatever context they run in"),
        remedy=(
            "give every request an object of its own: watchdog_contextvars = "
            f"{{{path!r}: {_factory(leak.type)}}}; if it is shared on purpose, use a "
            "plain variable, or a factory that returns it"))


def _factory(kind: str) -> str:
    """As it can stand in a config file, which has not imported the application."""
    module, _, name = kind.rpartition(".")
    return f"{f'{module}:{name}'!r}" if module else name
