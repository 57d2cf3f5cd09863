"""Attributes read past everything that the application could have put in their way.

No `__getattr__`, property, metaclass, `__eq__` or `__hash__` is called, and nothing is kept:
`inspect.getattr_static` since CPython 3.12 keeps classes in a cache, and asks their metaclass for a
hash. Any thread.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

MISSING = object()

_MRO = type.__dict__["__mro__"]
_CLASS_DICT = type.__dict__["__dict__"]
_MODULE_DICT = vars(ModuleType)["__dict__"]


def is_a(value: Any, kind: type) -> bool:
    """Whether it is an instance by its real type, whatever its `__class__` says."""
    return any(each is kind for each in _MRO.__get__(type(value)))


def attribute(value: Any, name: str) -> Any:
    """The attribute as it is stored, a slot's value, or `MISSING`."""
    if is_a(value, ModuleType):
        return dict.get(_MODULE_DICT.__get__(value), name, MISSING)
    if not is_a(value, type):
        own = _instance_dict(value)
        found = MISSING if own is None else dict.get(own, name, MISSING)
        if found is not MISSING:
            return found
        found = in_class(type(value), name)
        return _slot(found, value) if type(found) is MemberDescriptorType else found
    return in_class(value, name)


def in_class(kind: type, name: str) -> Any:
    """What the class, or the first of its bases that has it, defines under this name."""
    for each in _MRO.__get__(kind):
        found = _CLASS_DICT.__get__(each).get(name, MISSING)
        if found is not MISSING:
            return found
    return MISSING


def _instance_dict(value: Any) -> dict[str, Any] | None:
    descriptor = in_class(type(value), "__dict__")
    kind = type(descriptor)
    if kind is not GetSetDescriptorType and kind is not MemberDescriptorType:  # a property
        return None
    own = descriptor.__get__(value)
    return own if type(own) is dict else None


def _slot(descriptor: MemberDescriptorType, value: Any) -> Any:
    try:
        return descriptor.__get__(value)
    except AttributeError:
        return MISSING


def text(value: Any, name: str) -> str:
    """An attribute that is a plain string; empty where it is not."""
    found = attribute(value, name)
    return found if type(found) is str else ""


def function_name(value: Any) -> str:
    """`module.Class.function`; a builtin's without its module."""
    module, name = value.__module__, value.__qualname__
    name = name if type(name) is str else "?"
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name
