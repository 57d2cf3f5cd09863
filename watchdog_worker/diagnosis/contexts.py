"""What a ContextVar that is not each request's own means, and what to do. Pure."""

from __future__ import annotations

from watchdog_worker.model import ContextLeak, Diagnosis


def explain(leak: ContextLeak) -> Diagnosis:
    """Why it has been told, and the fix."""
    if leak.origin == "request":
        return Diagnosis(
            summary=(
                "it came on a connection whose last request had set the variable, and the server "
                "starts it in that one's context; the worker gave it a clean one"),
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
            f"{{{path!r}: {leak.type.rpartition('.')[2]}}}; if it is shared on purpose, use a "
            "plain variable, or a factory that returns it"))
