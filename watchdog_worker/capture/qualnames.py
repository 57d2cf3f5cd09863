"""The function with its classes, which a code object knows since CPython 3.11.

Before that it is read from the source, so that a fault keeps its fingerprint from one release to
the next. Runs where sources are read: it may touch a disk.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

_MAX_SOURCE = 128 * 1024


def qualname(code: CodeType) -> str | None:
    """`Shop.price`; None where that is no more than the function's own name, or is not known."""
    name = getattr(code, "co_qualname", None)
    if name is None:
        name = _in_file(code.co_filename).get((code.co_firstlineno, code.co_name))
    return name if name != code.co_name else None


@lru_cache(maxsize=64)
def _in_file(file: str) -> dict[tuple[int, str], str]:
    """By first line and name, decorators included, as code objects count.

    Not of a long file: to parse it keeps the GIL.
    """
    source = "".join(linecache.getlines(file))
    if len(source) > _MAX_SOURCE:
        return {}
    try:
        return {(line, name): full for line, name, full in _named(ast.parse(source))}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _named(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    # Without recursion: an expression can be nested deeper than the C stack bears, where the
    # application has raised the interpreter's limit.
    left: list[tuple[ast.AST, str]] = [(tree, "")]
    while left:
        node, outer = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield first, node.name, outer + node.name
            outer = f"{outer}{node.name}.<locals>."
        elif isinstance(node, ast.Lambda):
            yield node.lineno, "<lambda>", f"{outer}<lambda>"
            outer = f"{outer}<lambda>.<locals>."
        elif isinstance(node, ast.ClassDef):
            outer = f"{outer}{node.name}."
        left += [(each, outer) for each in ast.iter_child_nodes(node)]
