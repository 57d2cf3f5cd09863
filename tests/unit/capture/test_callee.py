"""What a frame calls, by its bytecode."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from watchdog_worker.capture.callee import callee


class Probe:
    """Whatever is done with it, it notes what its caller is said to do."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def note(self) -> Probe:
        frame = sys._getframe(2)
        chain = callee(frame.f_code, frame.f_lasti)
        self.seen.append(".".join(chain) if chain else None)
        return self

    def __getattr__(self, name: str) -> Probe:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Probe:
        return self.note()

    def __getitem__(self, key: Any) -> Probe:
        return self

    def __enter__(self) -> Probe:
        return self.note()

    def __exit__(self, *ending: object) -> None:
        pass

    def __iter__(self) -> Probe:
        return self

    def __next__(self) -> Any:
        self.note()
        raise StopIteration


def seen(body: str, probe: Probe) -> list[str | None]:
    """What is said while this code runs, in a function with the probe as `p` and `q`."""
    indented = "\n".join("    " + line for line in body.splitlines())
    space: dict[str, Any] = {"p": probe}
    exec(f"def run(q):\n{indented}", space)
    space["run"](probe)
    return probe.seen


@pytest.mark.parametrize("body, expected", [
    ("p.sleep(30)", ["p.sleep"]),
    ("q.execute('x', (1, 2), a=3)", ["q.execute"]),
    ("p(*[1], **{'a': 2})", ["p"]),
    ("q.conn.cursor().execute(p)", ["q.conn.cursor", "q.conn.cursor.().execute"]),
    ("p['x'].get()", ["p.[].get"]),
    ("p[q.a]['y'].b.get(1)", ["p.[].[].b.get"]),
    ("with q.lock: pass", ["q.lock.__enter__"]),
    ("with p.open(1) as f: f.read()", ["p.open", "p.open.().__enter__", "f.read"]),
    ("for line in q.rows: pass", ["q.rows.__next__"]),
    ("p.a(q.b(1), q.c(2))", ["q.b", "q.c", "p.a"]),
    ("p.a(\n    q.b(1),\n    q.c)", ["q.b", "p.a"]),
    ("(p\n .query(1)\n .all())", ["p.query", "p.query.().all"]),
    ("return p.x(lambda: 1, key=q.b())", ["q.b", "p.x"]),
    ("x = [q.y(z) for z in (1,)]", ["q.y"]),
    ("def inner():\n    return q.acquire(True)\ninner()", ["q.acquire"]),
    ("try:\n    p.a()\nfinally:\n    p.b()", ["p.a", "p.b"]),
    ("p.a() if p.b() else p.c()", ["p.b", "p.a"]),
    ("p.a(1 if q else 2)", ["p.a"]),
    ("p.a(q.b() or 2, 3)", ["q.b", "p.a"]),
    ("p.a(1, 2 if q else (3 if p else 4), x=5)", ["p.a"]),
])
def test_the_names_of_what_is_called(body: str, expected: list[str]) -> None:
    """Attribute by attribute, calls and subscripts between them included."""
    assert seen(body, Probe()) == expected


@pytest.mark.parametrize("body", ["(p or q)(1)", "(lambda: p)()(2)"])
def test_what_has_no_name_is_not_named(body: str) -> None:
    """Nothing is made up."""
    assert seen(body, Probe())[-1] is None


def test_no_call_is_no_callee() -> None:
    """A frame at its beginning, or past its end."""
    code = seen.__code__
    assert callee(code, -1) is None
    assert callee(code, 10 ** 6) is None
    assert callee(code, 0) is None
