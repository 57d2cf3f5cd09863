"""A repr that runs no foreign code, has an end, and keeps secrets."""

from __future__ import annotations

import sys
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

from watchdog_worker.capture.saferepr import MASK, safe_locals, safe_repr


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("foreign")


class Hostile(metaclass=Meta):
    def __repr__(self) -> str:
        raise AssertionError("called")

    __str__ = __repr__

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("called")


class MyStr(str):
    def __repr__(self) -> str:
        raise AssertionError("called")


class MyList(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("called")


@pytest.mark.parametrize("value, shown", [
    (None, "None"), (True, "True"), (1.5, "1.5"), (42, "42"), ("a'b", '"a\'b"'), (b"x", "b'x'"),
    ([1, [2, [3, [4]]]], "[1, [2, [3, [...]]]]"), ((1,), "(1)"), ({"a": 1}, "{'a': 1}"),
    (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, ... 20 in all]"),
    pytest.param(10 ** 5000, f"<int of {(10 ** 5000).bit_length()} bits>", id="huge"),
])
def test_builtin_values_are_shown(value: Any, shown: str) -> None:
    """And cut."""
    assert safe_repr(value) == shown


MAKE: dict[str, Callable[[], Any]] = {
    "Hostile": Hostile, "MyStr": lambda: MyStr("x"), "MyList": lambda: MyList([1]),
    "UserDict": lambda: UserDict(a=1),
}


@pytest.mark.parametrize("name", MAKE)
def test_everything_else_is_its_type(name: str) -> None:
    """Subclasses of builtin types too: their methods are foreign."""
    shown = safe_repr(MAKE[name]())
    assert shown.startswith("<") and shown.endswith(f"{name} object>")


def test_a_huge_value_costs_nothing() -> None:
    """It is cut before it is rendered."""
    assert len(safe_repr("x" * 100_000_000)) <= 200
    assert len(safe_repr({"k": ["y" * 1000] * 1000})) <= 200


def test_a_value_that_contains_itself_has_an_end() -> None:
    """By depth."""
    endless: list[Any] = []
    endless.append(endless)
    assert safe_repr(endless) == "[[[[...]]]]"


def test_secrets_are_masked_by_their_names() -> None:
    """As variables and as keys of what variables hold."""
    password = api_key = Authorization = "hunter2"  # noqa: F841
    headers = {"authorization": "hunter2", b"cookie": "hunter2", "accept": "all"}  # noqa: F841
    shown = safe_locals(sys._getframe())
    assert "hunter2" not in repr(shown)
    assert shown["password"] == shown["api_key"] == shown["Authorization"] == MASK
    assert "'accept': 'all'" in shown["headers"]


def test_a_namespace_of_foreign_make_is_left_alone() -> None:
    """exec() takes any mapping for its locals."""
    class Trap(dict[str, Any]):
        def items(self) -> Any:
            raise AssertionError("called")

    seen: list[Any] = []
    exec("seen.append(look(frame()))", {"seen": seen, "look": safe_locals, "frame": sys._getframe},
         Trap())
    assert seen == [{}]
