"""Attributes past everything that stands in their way."""

from __future__ import annotations

import types
import weakref
from typing import Any

from watchdog_worker.capture import static


class Meta(type):
    """A metaclass that may not be asked anything."""

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(cls) -> int:
        raise AssertionError("hashed")

    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


class Thing(metaclass=Meta):
    """Nor may its instances."""

    kind = "class"

    def __init__(self) -> None:
        object.__setattr__(self, "own", "instance")

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


class Slotted:
    __slots__ = ("here", "nowhere")

    def __init__(self) -> None:
        self.here = 1


class Answering(types.ModuleType):
    """A module that answers for its own `__dict__`."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise AssertionError("asked for __dict__")


def test_instances_classes_slots_and_modules() -> None:
    """As they are stored."""
    thing = Thing()
    assert static.attribute(thing, "own") == "instance"
    assert static.attribute(thing, "kind") == "class"
    assert static.attribute(thing, "missing") is static.MISSING
    assert static.attribute(Slotted(), "here") == 1
    assert static.attribute(Slotted(), "nowhere") is static.MISSING
    assert static.attribute(types, "ModuleType") is types.ModuleType
    assert static.attribute(Answering("answering"), "__name__") == "answering"
    assert static.is_a(Answering("answering"), types.ModuleType)


def test_a_dict_that_is_a_property_is_not_asked_for() -> None:
    """The class still is."""
    class Hidden:
        kind = 1

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise AssertionError("asked for __dict__")

    assert static.attribute(Hidden(), "kind") == 1
    assert static.attribute(Hidden(), "other") is static.MISSING


def test_nothing_is_kept() -> None:
    """Neither the object nor its class."""
    def look() -> weakref.ref[type]:
        kind = type("Passing", (), {"value": 1})
        assert static.attribute(kind(), "value") == 1
        return weakref.ref(kind)

    found = look()
    import gc
    gc.collect()
    assert found() is None


def test_only_plain_strings_are_names() -> None:
    """Another kind of string could do anything when it is printed."""
    class Name(str):
        def __format__(self, spec: str) -> str:
            raise AssertionError("formatted")

    holder = types.SimpleNamespace(plain="a", other=Name("b"), number=1)
    assert [static.text(holder, name) for name in ("plain", "other", "number", "missing")] == [
        "a", "", "", ""]
