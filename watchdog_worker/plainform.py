"""Values as dicts, lists and scalars: what `json.dumps` takes. Pure, knows no value by name."""

from __future__ import annotations

from typing import Any


def to_plain(value: Any) -> Any:
    """A model value as dicts, lists and scalars, without the keys that do not apply."""
    if hasattr(value, "_fields"):
        fields = zip(value._fields, value, strict=True)
        return {name: to_plain(item) for name, item in fields if not _absent(item)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def _absent(value: Any) -> bool:
    return value is None or value == () or value == {}
