"""Which variables are told, by which name, and which are nobody's business."""

from __future__ import annotations

import decimal
import enum
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, MutableMapping
from contextvars import Context, ContextVar
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from watchdog_worker.capture import contextvars
from watchdog_worker.vitals.context import Contexts, Crossed, Plan
from watchdog_worker.vitals.inflight import Entry, InFlight

REQUEST = Entry(1, 0.0, {"type": "http"}, None)


class State:
    """An object of the application's own."""


class Slotted:
    __slots__ = ("user",)


class Empty:
    __slots__ = ()


@dataclass(frozen=True)
class Frozen:
    user: str = ""


@dataclass
class Data:
    user: str = ""


class Pair(NamedTuple):
    user: list[str]


class Colour(enum.Enum):
    RED = 1


class Strange(type):
    """A metaclass that answers nothing."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Unaskable(metaclass=Strange):
    """An object of a class that cannot be asked."""


Homeless: Any = eval("type('Homeless', (), {})", {"type": type})
"""A class that is of no module."""


class Answering:
    """What has methods and no data is a service, and no box."""

    def __call__(self) -> int:
        return 1


class Asked(MutableMapping[str, int]):
    """Whoever asks whether something is a subclass of a mutable mapping asks this class too."""

    asked = 0

    @classmethod
    def __subclasshook__(cls, kind: type) -> Any:
        cls.asked += 1
        return NotImplemented

    def __getitem__(self, key: str) -> int:
        return 1

    def __setitem__(self, key: str, value: int) -> None:
        pass

    def __delitem__(self, key: str) -> None:
        pass

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture
def shop() -> Iterator[ModuleType]:
    """A module of the application that makes variables."""
    module = ModuleType("shop_of_a_test")
    module.__file__ = __file__
    module.ContextVar = ContextVar  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def shared(
    shop: ModuleType, values: dict[str, object], plan: Plan = Plan()
) -> dict[str, str]:
    """What is told of these values, set before serving; by name, the type."""
    context = Context()
    for name, value in values.items():
        setattr(shop, name, ContextVar(name))
        context.run(getattr(shop, name).set, value)
    contexts = context.run(Contexts, plan, InFlight(), print)
    return {leak.variable.rpartition(":")[2]: leak.type for leak in contextvars.shared(contexts)}


def test_what_requests_can_write_to_is_told(shop: ModuleType) -> None:
    """Containers of any make, and objects of the application's own classes."""
    values: dict[str, object] = {
        "a": {}, "b": [], "c": set(), "d": deque(), "e": defaultdict(list), "f": bytearray(),
        "g": SimpleNamespace(), "h": State(), "i": Slotted(), "j": Data(), "k": Unaskable(),
        "l": Asked(),
    }
    asked = Asked.asked
    told = shared(shop, values)
    assert set(told) == set(values) and Asked.asked == asked
    assert (told["a"], told["d"]) == ("dict", "collections.deque")
    assert told["h"] == f"{__name__}.State"


def test_what_nobody_can_write_to_is_not(shop: ModuleType) -> None:
    """Nor what a library has made to be shared."""
    values: tuple[object, ...] = (
        None, "x", 1, (), frozenset(), Frozen(), Pair([]), Colour.RED, State, len, Empty(),
        ValueError(), decimal.Decimal(1), sys, lambda: 1, InFlight(), Homeless(), Answering())
    assert shared(shop, {f"v{at}": value for at, value in enumerate(values)}) == {}


def test_a_frozen_model_is_not_told_and_another_is(shop: ModuleType) -> None:
    """pydantic's, by what its classes say of themselves."""
    from pydantic import BaseModel

    class Open(BaseModel):
        user: str = ""

    class Closed(BaseModel, frozen=True):
        user: str = ""

    assert set(shared(shop, {"open": Open(), "closed": Closed()})) == {"open"}


def test_a_default_is_told_where_the_application_has_it(shop: ModuleType) -> None:
    """In a module or a class of it; not where a value hides it, nor where there is a factory."""
    class Keeper:
        inner: ContextVar[list[int]] = ContextVar("inner", default=[])

    Keeper.__module__ = shop.__name__
    shop.Keeper, shop.Homeless = Keeper, Homeless  # type: ignore[attr-defined]
    for name in ("plain", "hidden", "renewed"):
        setattr(shop, name, ContextVar[Any](name, default={}))
    context = Context()
    context.run(shop.hidden.set, None)
    plan = Plan(factories={shop.renewed: dict})
    contexts = context.run(Contexts, plan, InFlight(), print)
    told = {leak.variable for leak in contextvars.shared(contexts)}
    assert {name for name in told if name.startswith(shop.__name__)} == {
        f"{shop.__name__}:plain", f"{shop.__name__}:Keeper.inner"}


def test_under_the_empty_policy_values_of_the_start_are_nobodys(shop: ModuleType) -> None:
    """No request sees them."""
    assert shared(shop, {"a": {}}, Plan("empty")) == {}


def told(variable: ContextVar[Any], kind: type) -> list[tuple[str, str, str]]:
    found = contextvars.crossed([Crossed(variable, kind, REQUEST)])
    return [(leak.variable, leak.type, leak.origin) for leak, _ in found]


def test_a_variable_is_named_by_where_it_is_made(shop: ModuleType) -> None:
    """Not by who imports it, and its own name is always there."""
    importer = ModuleType("a_shop_that_imports")
    importer.__file__ = __file__
    variable = ContextVar[int]("user")
    importer.user = shop.user = variable  # type: ignore[attr-defined]
    sys.modules[importer.__name__] = importer
    assert told(variable, int) == [("shop_of_a_test:user", "int", "request")]
    del sys.modules[importer.__name__]
    shop.other = ContextVar[int]("another name")  # type: ignore[attr-defined]
    assert told(shop.other, int)[0][0] == "shop_of_a_test:other (another name)"
    assert told(ContextVar[int]("nowhere"), Unaskable)[0][:2] == (
        "nowhere", f"{__name__}.Unaskable")
    assert told(ContextVar[int]("nowhere"), Homeless)[0][:2] == ("nowhere", "Homeless")


def test_instrumentation_is_left_alone() -> None:
    """What decimal, OpenTelemetry and their like keep in a context is theirs."""
    owner = ModuleType("sentry_sdk.scope")
    owner.current = ContextVar[int]("current_scope")  # type: ignore[attr-defined]
    sys.modules[owner.__name__] = owner
    importer = ModuleType("a_shop_that_imports")
    importer.__file__ = __file__
    importer.scope = owner.current  # type: ignore[attr-defined]
    sys.modules[importer.__name__] = importer
    assert told(owner.current, int) == []
    del sys.modules[importer.__name__]
    del sys.modules[owner.__name__]
    assert told(ContextVar("decimal_context"), decimal.Context) == []
    theirs = type("Context", (dict,), {"__module__": "opentelemetry.context.context"})
    assert told(ContextVar("current_context"), theirs) == []
    assert told(ContextVar("current_context"), dict) != []


def test_a_lazy_module_is_not_woken(shop: ModuleType) -> None:
    """Nor is one of which something else has been made."""
    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("woken")

    sys.modules["a_lazy_module"] = Lazy("a_lazy_module")
    sys.modules["no_module"] = Unaskable()  # type: ignore[assignment]
    try:
        assert set(shared(shop, {"a": {}})) == {"a"}
    finally:
        del sys.modules["a_lazy_module"], sys.modules["no_module"]
