"""Raw frames become `Frame`s with their line of source. Runs in the monitor thread.

Reading a source file can hang (it may lie on the very network file system that blocks the
loop), so it is done in a thread of its own with a time budget; a frame whose line did not come
in time goes without.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable
from types import CodeType

from watchdog_worker.budget import Budgeted
from watchdog_worker.capture import appcode
from watchdog_worker.capture.qualnames import qualname
from watchdog_worker.capture.stacks import RawFrame
from watchdog_worker.model import Frame

_KNOW_QUALNAMES = sys.version_info >= (3, 11)
"""Else a file has to be parsed for them."""
_MAX_CODE = 200
_READ_S = 0.5


class Sources:
    """The lines of one snapshot: made from all places it shows, asked frame by frame."""

    def __init__(self, frames: Iterable[RawFrame], reader: Budgeted) -> None:
        # By identity, as in `stacks.place`; the raw frames outlive this object.
        wanted = {(id(frame.code), frame.line): frame.code for frame in frames}
        self._lines: dict[tuple[int, int], str] = {}
        self._qualnames: dict[int, str | None] = {}
        self.complete = reader.ask(lambda: self._fill(wanted), _READ_S)

    def frames(self, raw: Iterable[RawFrame]) -> tuple[Frame, ...]:
        """The frames with their source, as far as it was found."""
        return tuple(self._frame(each) for each in raw)

    def _fill(self, wanted: dict[tuple[int, int], CodeType]) -> None:
        # The application's lines first: they are what a reader needs if time runs out.
        for key in sorted(wanted, key=lambda key: not _is_app(wanted[key])):
            text = source_line(wanted[key].co_filename, key[1])
            if text:
                self._lines[key] = text
            if _KNOW_QUALNAMES or _is_app(wanted[key]):
                self._qualnames[key[0]] = qualname(wanted[key])

    def _frame(self, raw: RawFrame) -> Frame:
        code = raw.code
        return Frame(
            file=code.co_filename,
            line=raw.line,
            function=code.co_name,
            code=self._lines.get((id(code), raw.line)),
            app=_is_app(code) or None,
            locals=raw.locals or None,
            omitted=raw.omitted,
            module=raw.module,
            qualname=self._qualnames.get(id(code)),
            calls=raw.calls,
        )


def _is_app(code: CodeType) -> bool:
    return appcode.is_application(code.co_filename)


def source_line(file: str, line: int) -> str:
    """The stripped and shortened line of a source file, empty where there is none."""
    if file.startswith("<"):
        return ""
    try:
        text = linecache.getline(file, line).strip()
    except Exception:  # undecodable, vanished, too deep: the line is a courtesy
        return ""
    return text if len(text) <= _MAX_CODE else text[: _MAX_CODE - 3] + "..."
