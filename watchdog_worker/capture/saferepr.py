"""Local variables as text, without ever calling code that is not the interpreter's own.

A foreign `__repr__` can raise, hang, return 100 MB, take a lock or change the program. So only
exact builtin types are shown by value, cut before they are rendered; everything else is shown
by its type's name. Names and keys that look secret are masked.
"""

from __future__ import annotations

import re
from itertools import islice
from types import FrameType
from typing import Any

MASK = "<masked>"
_MAX_VARIABLES = 30
_MAX_ITEMS = 8
_MAX_CHARS = 200
_MAX_DEPTH = 3
_MAX_INT_BITS = 256

_SECRET = re.compile(
    r"pass|pwd|secret|token|auth|cookie|session|cred|private|signature|csrf|jwt|bearer|"
    r"api_?key|access_?key|\bkey\b|_key\b|\bpin\b|\bssn\b|\bcvv\b|card|iban|dsn",
    re.IGNORECASE)


def safe_locals(frame: FrameType) -> dict[str, str]:
    """The frame's local variables; empty where they cannot be read safely."""
    try:
        variables = frame.f_locals
        if type(variables).__module__ != "builtins":  # exec() takes any mapping
            return {}
        shown = {}
        for name, value in islice(list(variables.items()), _MAX_VARIABLES):
            shown[str(name)] = MASK if _SECRET.search(str(name)) else safe_repr(value)
        return shown
    except Exception:
        return {}


def safe_repr(value: Any, depth: int = 0) -> str:
    """At most a few hundred characters that stand for `value`."""
    try:
        text = _render(value, depth)
    except Exception:
        return "<unreadable>"
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 3] + "..."


def _render(value: Any, depth: int) -> str:
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is complex:
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits <= _MAX_INT_BITS else f"<int of {bits} bits>"
    if kind is str or kind is bytes or kind is bytearray:
        text = repr(value[:_MAX_CHARS])
        return text if len(value) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}... ({len(value)} long)"
    # By identity throughout: `==` and `in` would ask a foreign metaclass.
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return _render_items(value, depth)
    if kind is dict:
        return _render_dict(value, depth)
    return f"<{type_name(kind)} object>"


def _render_items(value: Any, depth: int) -> str:
    kind = type(value)
    brackets = "[]" if kind is list else "()" if kind is tuple else "{}"
    if depth >= _MAX_DEPTH:
        return f"{brackets[0]}...{brackets[1]}"
    items = [safe_repr(item, depth + 1) for item in islice(value, _MAX_ITEMS)]
    if len(value) > _MAX_ITEMS:
        items.append(f"... {len(value)} in all")
    return brackets[0] + ", ".join(items) + brackets[1]


def _render_dict(value: dict[Any, Any], depth: int) -> str:
    if depth >= _MAX_DEPTH:
        return "{...}"
    items = []
    for key, item in islice(value.items(), _MAX_ITEMS):
        name = key if type(key) is str else key.decode("latin-1") if type(key) is bytes else ""
        secret = _SECRET.search(name)
        items.append(
            f"{safe_repr(key, depth + 1)}: {MASK if secret else safe_repr(item, depth + 1)}")
    if len(value) > _MAX_ITEMS:
        items.append(f"... {len(value)} in all")
    return "{" + ", ".join(items) + "}"


def type_name(kind: type) -> str:
    """A type's qualified name, read past any metaclass that would answer in its stead."""
    name = type.__dict__["__qualname__"].__get__(kind)
    name = name if type(name) is str else "?"
    module = module_name(kind)
    return f"{module}.{name}" if module not in ("", "builtins") else name


def module_name(kind: type) -> str:
    """The module that a class says it is of, read as above; empty where it does not say."""
    try:
        module = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        return ""
    return module if type(module) is str else ""
