"""Stacks of threads, deep ones and foreign ones."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

from watchdog_worker.capture import stacks
from watchdog_worker.ownthread import OwnThread


def recurse(depth: int, then: Any) -> Any:
    return recurse(depth - 1, then) if depth else then()


def test_a_deep_stack_is_cut_in_the_middle() -> None:
    """Both ends stay, and the cut says how much is missing and where."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        stack = recurse(10_000, lambda: stacks.walk(sys._getframe(), 60))
    finally:
        sys.setrecursionlimit(limit)
    assert stack.total > 10_000
    assert len(stack.frames) == 60
    cut = [at for at, frame in enumerate(stack.frames) if frame.omitted]
    assert cut == [19]
    assert stack.frames[19].omitted == stack.total - 60
    assert stack.frames[-1].code.co_name == "<lambda>"


def test_a_stack_that_fits_is_whole() -> None:
    """Outermost first."""
    stack = recurse(3, lambda: stacks.walk(sys._getframe(), 1000))
    assert stack.total == len(stack.frames)
    assert not any(frame.omitted for frame in stack.frames)
    assert [frame.code.co_name for frame in stack.frames[-5:]] == ["recurse"] * 4 + ["<lambda>"]


class Ours(OwnThread):
    def __init__(self, stop: threading.Event) -> None:
        super().__init__("watchdog-ours")
        self.stop = stop

    def run(self) -> None:
        self.stop.wait()


class Strange(threading.Thread):
    """A thread class that answers nothing properly."""

    @property
    def name(self) -> str:
        raise RuntimeError

    @name.setter
    def name(self, value: str) -> None:
        pass

    @property
    def native_id(self) -> int:
        raise RuntimeError


def test_all_threads_the_loop_first_and_ours_left_out() -> None:
    """Foreign thread classes are read like others."""
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait, name=f"worker-{at}") for at in range(5)]
    others += [Ours(stop), threading.Thread(target=stop.wait, name="watchdog-of-theirs"),
               Strange(target=stop.wait)]
    for thread in others:
        thread.start()
    try:
        me = threading.get_ident()
        found, total = stacks.all_threads(me, 4711, 3, 60, with_locals=False)
        everybody, _ = stacks.all_threads(me, 4711, 100, 60, with_locals=False)
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert len(found) == 3
    assert found[0].loop and found[0].id == me and found[0].native_id == 4711
    assert total == len(everybody)
    names = [thread.name for thread in everybody]
    assert "worker-4" in names and "watchdog-of-theirs" in names
    assert "watchdog-ours" not in names
    assert others[-1].ident in [thread.id for thread in everybody]


def test_a_thread_that_is_gone_has_no_sample() -> None:
    """Its id answers nothing."""
    assert stacks.stack_of(1, 60) is None


async def walked() -> stacks.RawStack:
    return stacks.walk(sys._getframe(), 60, with_locals=True)


def test_locals_are_taken_of_application_frames_only() -> None:
    """The library's variables are nobody's business."""
    def mine() -> stacks.RawStack:
        answer = 42  # noqa: F841
        return asyncio.run(walked())

    stack = mine()
    frame = next(frame for frame in stack.frames if frame.code.co_name == "mine")
    assert frame.locals is not None and frame.locals["answer"] == "42"
    library = next(frame for frame in stack.frames if frame.code.co_name == "run_until_complete")
    assert library.locals is None


def test_a_library_that_recurses_does_not_hide_the_application(tmp_path: Path) -> None:
    """Its innermost frame stays, between two cuts."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    source = "def dive(depth, look):\n    return look() if not depth else dive(depth - 1, look)\n"
    library: dict[str, Any] = {}
    exec(compile(source, str(folder / "deep.py"), "exec"), library)

    def own(depth: int) -> stacks.RawStack:
        if depth:
            return own(depth - 1)
        found: stacks.RawStack = library["dive"](100, lambda: None or stacks.walk(
            sys._getframe(1), 30))
        return found

    stack = own(100)
    shown = [(frame.code.co_name, frame.omitted) for frame in stack.frames]
    assert len(shown) == 31 and stack.total > 200
    kept = next(at for at, (name, _) in enumerate(shown) if name == "own" and at > 8)
    assert shown[kept][1] and shown[kept - 1][1]
    left_out = sum(omitted or 0 for _, omitted in shown)
    assert left_out + len(shown) == stack.total
    assert {name for name, _ in shown[kept + 1:]} == {"dive"}
