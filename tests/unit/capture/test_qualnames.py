"""The names of functions with their classes, on every release."""

from __future__ import annotations

import linecache
from pathlib import Path

from watchdog_worker.capture import qualnames


class Outer:
    """As views are written."""

    class Inner:
        @staticmethod
        def get() -> object:
            def nested() -> None: ...
            return nested

    async def get(self) -> None: ...


def test_methods_have_their_classes_and_functions_nothing() -> None:
    """The same from the code object as from the source."""
    nested = Outer.Inner.get().__code__  # type: ignore[attr-defined]
    expected = {
        Outer.Inner.get.__code__: "Outer.Inner.get",
        Outer.get.__code__: "Outer.get",
        nested: "Outer.Inner.get.<locals>.nested",
        test_methods_have_their_classes_and_functions_nothing.__code__: None,
    }
    known = qualnames._in_file(__file__)
    for code, name in expected.items():
        assert qualnames.qualname(code) == name
        assert known.get((code.co_firstlineno, code.co_name)) == (name or code.co_name)


def test_a_source_that_does_not_parse_has_no_names(tmp_path: Path) -> None:
    """Nor one that is not there."""
    path = tmp_path / "broken.py"
    path.write_text("def (:\n")
    assert qualnames._in_file(str(path)) == {}
    assert qualnames._in_file(str(tmp_path / "nowhere.py")) == {}
    linecache.clearcache()
