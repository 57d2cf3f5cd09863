"""Full names of what is called, from live frames, without a word to the application."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from time import sleep as nap
from types import FrameType, ModuleType
from typing import Any

import pytest

from watchdog_worker.capture import naming, stacks


class Holder:
    """What a lookup may come upon."""

    kind = "plain"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clock = time
        self.items = [self]

    def method(self) -> str | None:
        return told(2)

    @staticmethod
    def alone() -> str | None:
        return told(2)


class Hostile:
    """Nothing of it may be called."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")


class Lazy(ModuleType):
    """A module that does something when it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


def told(depth: int) -> str | None:
    """What the caller's caller is said to call."""
    called = naming.called_by(sys._getframe(depth))
    return called and called.name


def of(frame: FrameType) -> str | None:
    called = naming.called_by(frame)
    return called and called.name


def names() -> tuple[str | None, ...]:
    """Of the same method, reached in many ways; not in a test: an assert looks at `locals()`."""
    holder = Holder()
    alias = holder.method
    return holder.method(), alias(), Holder.alone(), holder.items[0].method()


def test_functions_and_methods_by_who_defines_them() -> None:
    """However they are reached."""
    holder = f"{__name__}.Holder"
    assert names() == (
        f"{holder}.method", f"{holder}.method", f"{holder}.alone", f"{holder}.items[].method")


def looked_at() -> str | None:
    """Its own `locals()` is the application's affair."""
    holder = Holder()
    assert locals()
    return holder.method()


def test_a_function_that_uses_its_locals_is_left_alone() -> None:
    """Before CPython 3.13 to read them is to change what it sees."""
    assert (looked_at() is None) is (sys.version_info < (3, 13))


def blocked(block: Any) -> str | None:
    """What a thread is said to call that stands in this function."""
    thread = threading.Thread(target=block, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is not None and frame.f_code is block.__code__:
            name = of(frame)
            if name is not None:
                return name
        time.sleep(0.01)
    return None


def test_c_functions_and_methods_that_leave_no_frame() -> None:
    """Imported under another name, reached through attributes, on instances of C types."""
    lock, holder = threading.Lock(), Holder()
    lock.acquire()
    holder.lock.acquire()

    def aliased() -> None:
        nap(1)

    def by_module() -> None:
        holder.clock.sleep(1)

    def locked() -> None:
        lock.acquire(timeout=1)

    def entered() -> None:
        if lock.acquire(False):
            return
        with holder.lock:
            pass

    assert blocked(aliased) == "time.sleep"
    assert blocked(by_module) == "time.sleep"
    assert blocked(locked) == "threading.Lock.acquire"
    assert blocked(entered) == "threading.Lock.__enter__"
    holder.lock.release()


@pytest.mark.parametrize("make", [Hostile, lambda: Lazy("lazy")], ids=["object", "module"])
def test_foreign_objects_are_not_asked_anything(make: Callable[[], Any]) -> None:
    """Neither an object that answers for itself nor a module that loads on demand."""
    hostile = make()

    def frame() -> FrameType:
        thing = hostile  # noqa: F841
        return sys._getframe()

    live = frame()
    assert naming.value_of(live, ("thing",)) is hostile
    found = naming.value_of(live, ("thing", "missing", "more"))
    assert found is naming.value_of(live, ("nowhere",))  # the mark for nothing


def test_a_name_that_leads_nowhere_is_not_told() -> None:
    """Nothing is made up of what stands in the source."""
    frame = sys._getframe()
    assert naming._resolved(frame, ("nowhere", "sleep")) is None
    assert naming._resolved(frame, ("time", "nowhere")) is None
    made = naming._resolved(frame, ("open", "()", "read"))
    assert made is not None and made.name.endswith("open().read") and made.receiver is None


def test_the_stack_gets_the_names_of_its_telling_frames() -> None:
    """The innermost one and the application's innermost; here both are this one."""
    frame = sys._getframe()
    named = naming.with_calls(stacks.walk(frame, 60), frame)
    assert named.frames[-1].calls is not None
    assert all(each.calls is None for each in named.frames[:-1])


def test_looking_keeps_nothing_alive_and_changes_nothing() -> None:
    """Neither the variables nor a dict of them that the application has."""
    def run() -> dict[str, Any]:
        value = [1]
        mine = locals()
        naming.value_of(sys._getframe(), ("value",))
        assert value == [1] and mine["value"] is value
        return mine

    assert run()["value"] == [1]
