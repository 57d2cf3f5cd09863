"""What a stack says: whose code blocks, and in which call below it. Pure.

The first of the three kinds of evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from watchdog_worker.diagnosis.rules import IMPORT, RULES, Rule, matches
from watchdog_worker.diagnosis.standing import Standing
from watchdog_worker.model import Frame

_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
_IMPORT = next(rule for rule in RULES if rule.cause == IMPORT)
_SERVER = ("asyncio", "uvicorn", "uvloop", "gunicorn", "watchdog_worker", "runpy")


class Names(NamedTuple):
    """What is on the stack below the application's own code, the innermost first."""

    calls: str | None
    """The call that the innermost frame is in, where it leaves none of its own (C code)."""
    below: tuple[str, ...]
    """The functions, as `module.function`."""
    importing: bool
    """A module is being imported, by whoever."""

    @property
    def all(self) -> tuple[str, ...]:
        """Both."""
        return ((self.calls,) if self.calls else ()) + self.below


def split(frames: tuple[Frame, ...]) -> tuple[Frame | None, tuple[Frame, ...]]:
    """The innermost frame of the application's own code, and those below it.

    Where the application is nowhere on the stack: those below the server.
    """
    for at in range(len(frames) - 1, -1, -1):
        if frames[at].app:
            return frames[at], frames[at + 1:]
    return None, _within_server(frames) or frames[-1:]


def names(frames: tuple[Frame, ...]) -> Names:
    """The names that the rules look at."""
    _, below = split(frames)
    return Names(
        calls=frames[-1].calls if frames else None,
        below=tuple(full_name(frame) for frame in reversed(below)),
        importing=any(map(is_importer, _within_server(frames))),
    )


def is_importer(frame: Frame) -> bool:
    """It belongs to what imports modules."""
    return matches(full_name(frame), _IMPORT)


def full_name(frame: Frame) -> str:
    """`module.Class.function`, as far as it is known."""
    function = frame.qualname or frame.function
    return f"{frame.module}.{function}" if frame.module else function


def named_function(frames: tuple[Frame, ...]) -> Frame | None:
    """The function of the application that is to blame, by a name that every release has.

    A comprehension is a function of its own up to CPython 3.11, and none since.
    """
    own = [frame for frame in frames if frame.app]
    named = (frame for frame in reversed(own) if frame.function not in _COMPREHENSIONS)
    return next(named, frames[-1] if frames else None)


def _within_server(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """What the server has called in the end."""
    served = max((at for at, frame in enumerate(frames) if _is_server(frame)), default=-1)
    return frames[served + 1:]


def _is_server(frame: Frame) -> bool:
    return (frame.module or "").partition(".")[0] in _SERVER


def fitting(found: Names, at: Standing | None) -> Rule | None:
    """The first rule of the table that holds; None: none does."""
    return next((rule for rule in named(found)
                 if at in rule.standings or (at is None and not rule.told)), None)


def library(found: Names, cause: str) -> Rule | None:
    """The rule for the outermost library on the stack that stands for this cause, or for any:
    the one that the application itself calls is the one that it can replace."""
    known = [rule for name in reversed(found.all) for rule in RULES
             if rule.instead and matches(name, rule)]
    return next((rule for rule in known if rule.cause == cause), known[0] if known else None)


def named(found: Names) -> Iterator[Rule]:
    """The rules whose names are on the stack, whatever the kernel says, in their order."""
    for rule in RULES:
        if rule.cause == IMPORT:
            if found.importing:
                yield rule
        elif rule.innermost:
            if found.calls and matches(found.calls, rule):
                yield rule
        elif any(matches(name, rule) for name in found.all):
            yield rule
