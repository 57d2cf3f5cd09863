"""What a frame calls at this moment, by its bytecode: `cursor.execute`, `open().read`.

Pure: a code object and an instruction in, names out. No source is needed, so it works in zipped,
frozen and `exec`ed code too. Where an expression is of another kind (arithmetic, a condition),
nothing is said.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Sequence
from types import CodeType

CALLED = "()"
"""Stands in a chain for a call: `open(path).read` is `("open", "()", "read")`."""

TAKEN = "[]"
"""Stands for a subscript: `pools[name].get` is `("pools", "[]", "get")`."""

Chain = tuple[str, ...]
"""A name, and what is asked of it, attribute by attribute."""

_ROOTS = ("LOAD_FAST", "STORE_FAST_LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF",
          "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_WITH = ("SETUP_WITH", "BEFORE_WITH")
_BRANCHES = ("JUMP_IF", "POP_JUMP")
_LEAVING = ("JUMP_FORWARD", "RETURN_VALUE", "RAISE_VARARGS", "JUMP_ABSOLUTE")
_SUBSCRIPT = "BINARY_SUBSCR"
_ARGUMENTS = ("PUSH_NULL", "PRECALL", "KW_NAMES", "CACHE", "EXTENDED_ARG", "NOP", "LOAD_CONST",
              "BUILD_", "LIST_", "DICT_", "SET_", "CALL_INTRINSIC", "COPY")
"""What prepares a call and bears its position, but is no part of what is called."""
_MAX_CODE = 65536
"""Bytes of bytecode; a longer function is not read through."""


def callee(code: CodeType, lasti: int) -> Chain | None:
    """What the instruction at `lasti` calls; None where it is no call or cannot be told.

    A `with` block that is being entered calls `__enter__`, a loop `__next__`.
    """
    if not 0 <= lasti < len(code.co_code) <= _MAX_CODE:
        return None
    # 3.11 and 3.12 point to the cache that follows a call, where Python code is called.
    instructions = [each for each in dis.get_instructions(code) if each.offset <= lasti]
    return called_at(instructions, len(instructions) - 1)


def called_at(instructions: Sequence[dis.Instruction], at: int) -> Chain | None:
    """The same for one of a function's instructions, which are given from its beginning."""
    before, last = instructions[:at], instructions[at]
    if last.opname.startswith(("CALL", "PRECALL")):  # 3.11 makes some calls in the latter
        return _called(before, last)
    if last.opname in _WITH:
        return _asked("__enter__", _expression(before))
    if last.opname == "FOR_ITER" and before and before[-1].opname == "GET_ITER":
        return _asked("__next__", _expression(before[:-1]))
    return None


def _asked(name: str, chain: Chain | None) -> Chain | None:
    return None if chain is None else (*chain, name)


def _expression(before: Sequence[dis.Instruction]) -> Chain | None:
    """The names in the expression that ends with these instructions."""
    if not before:
        return None
    last, rest = before[-1], before[:-1]
    if last.opname.startswith(_ROOTS):
        return (_name(last),)
    if last.opname in _ATTRIBUTES:
        return _asked(_name(last), _expression(rest))
    if last.opname.startswith("CALL"):
        return _asked(CALLED, _called(rest, last))
    if last.opname == _SUBSCRIPT:
        return _asked(TAKEN, _called(rest, last))
    return None


def _by_position(before: Sequence[dis.Instruction], call: dis.Instruction) -> Chain | None:
    """Since 3.11: what is called, or taken from, begins where the whole call does.

    Where a chain of calls stands on several lines, each begins at its own attribute.
    """
    start, end = _start(call), 0
    if start is None:
        return None
    for at, each in enumerate(before):
        if _start(each) != start or each.opname.startswith(_ARGUMENTS):
            continue
        known = each.opname in _ATTRIBUTES or each.opname.startswith((*_ROOTS, "CALL", _SUBSCRIPT))
        end = at + 1 if known else 0
    return _expression(before[:end])


def _start(instruction: dis.Instruction) -> tuple[int, int] | None:
    positions = instruction.positions  # type: ignore[attr-defined,unused-ignore]
    if positions is None or positions.lineno is None or positions.col_offset is None:
        return None
    return positions.lineno, positions.col_offset


def _by_stack(before: Sequence[dis.Instruction], call: dis.Instruction) -> Chain | None:
    """Up to 3.10, which keeps no positions: back over the arguments, by what they push."""
    wanted = {"CALL_FUNCTION": call.arg or 0, "CALL_METHOD": call.arg or 0,
              "CALL_FUNCTION_KW": (call.arg or 0) + 1, _SUBSCRIPT: 1,
              "CALL_FUNCTION_EX": 1 + ((call.arg or 0) & 1)}.get(call.opname)
    if wanted is None:
        return None
    at = len(before)
    while at > 0 and (wanted > 0 or before[at - 1].opname.startswith(_BRANCHES)):
        at -= 1
        each = before[at]
        if each.opname not in _LEAVING:
            wanted -= dis.stack_effect(each.opcode, each.arg, jump=False)
        if each.is_jump_target and at > 0 and before[at - 1].opname in _LEAVING:
            at = _condition_of(before, each)  # `a if b else c`: `c` has been passed, over to `b`
    chosen = at < len(before) and before[at].is_jump_target  # `(a or b)(...)`
    return _expression(before[:at]) if wanted == 0 and not chosen else None


def _condition_of(before: Sequence[dis.Instruction], target: dis.Instruction) -> int:
    """Right after the jump that leads here."""
    return next((at + 1 for at in range(len(before) - 1, -1, -1)
                 if before[at].opname.startswith("POP_JUMP")
                 and before[at].argval == target.offset), 0)


def _name(instruction: dis.Instruction) -> str:
    return str(instruction.argval[-1] if type(instruction.argval) is tuple
               else instruction.argval)


_called: Callable[[Sequence[dis.Instruction], dis.Instruction], Chain | None] = (
    _by_position if sys.version_info >= (3, 11) else _by_stack)
