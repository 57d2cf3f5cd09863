"""What faulthandler wrote, as values. Pure, and the text is not trusted.

Several dumps may stand one after the other: that of its timer, then that of the signal that ended
the process. A line that is not understood is passed over; a text can be cut off anywhere.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_THREADS_MOST = 120
_FRAMES_MOST = 120
_LINES_MOST = 20_000
_LINE_MOST = 1_500

_TITLE = re.compile(r"(?P<timer>Timeout \([\d:.]+\)!)|Fatal Python error: (?P<fatal>.*)")
_THREAD = re.compile(
    r"(?P<current>Current t|T)hread (?P<ident>0x[0-9a-f]{1,16})(?: \[(?P<name>[^\]]*)\])? "
    r"\(most recent call first\):")
_ALONE = "Stack (most recent call first):"
"""Of a dump of one thread: the one that got the signal, and it is not said which that is."""
_FRAME = re.compile(
    r'  File "(?P<file>.*)", line (?P<line>\d{1,9}|\?{3}) in (?P<function>.*)')


_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


class RawFrame(NamedTuple):
    """A line of a stack."""

    file: str
    line: int
    function: str


class RawThread(NamedTuple):
    """A thread's stack, outermost frame first."""

    ident: int
    """0: not told."""
    current: bool
    """It is the one that got the signal."""
    frames: tuple[RawFrame, ...]


class RawDump(NamedTuple):
    """One dump."""

    fatal: str | None
    """What ended the process, in faulthandler's words; None for the timer's."""
    threads: tuple[RawThread, ...]

    def thread(self, ident: int) -> RawThread | None:
        """The stack of this thread, if it is in it."""
        return next((thread for thread in self.threads if thread.ident == ident), None)

    @property
    def current(self) -> RawThread | None:
        """The thread that got the signal."""
        return next((thread for thread in self.threads if thread.current), None)


def parsed(text: str) -> list[RawDump]:
    """The dumps in it, in their order; those without a single frame are left out."""
    reading = _Reading()
    for line in text.split("\n", _LINES_MOST)[:_LINES_MOST]:
        reading.take(line[:_LINE_MOST])
    return reading.finish()


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self._dumps: list[RawDump] = []
        self._fatal: str | None = None
        self._threads: list[RawThread] = []
        self._thread: tuple[int, bool] | None = None
        self._frames: list[RawFrame] = []

    def take(self, line: str) -> None:
        """The next line."""
        if frame := _FRAME.fullmatch(line):
            if self._thread is not None and len(self._frames) < _FRAMES_MOST:
                number = frame["line"]
                self._frames.append(RawFrame(
                    _unescaped(frame["file"]), int(number) if number.isdigit() else 0,
                    _unescaped(frame["function"])))
        elif title := _TITLE.fullmatch(line):
            self._end_dump()
            self._fatal = title["fatal"]
        elif thread := _THREAD.fullmatch(line):
            self._end_thread()
            self._thread = int(thread["ident"], 16), thread["current"] != "T"
        elif line == _ALONE:
            self._end_thread()
            self._thread = 0, True

    def finish(self) -> list[RawDump]:
        """All dumps."""
        self._end_dump()
        return self._dumps

    def _end_thread(self) -> None:
        if self._thread is not None and self._frames and len(self._threads) < _THREADS_MOST:
            self._threads.append(RawThread(*self._thread, tuple(reversed(self._frames))))
        self._thread, self._frames = None, []

    def _end_dump(self) -> None:
        self._end_thread()
        if self._threads:
            self._dumps.append(RawDump(self._fatal, tuple(self._threads)))
        self._fatal, self._threads = None, []


def _unescaped(text: str) -> str:
    """faulthandler writes ASCII alone, and what is beyond it as escapes."""
    return _ESCAPE.sub(lambda found: _character(int(found[1] or found[2] or found[3], 16)), text)


def _character(code: int) -> str:
    return chr(code) if 0x80 <= code <= 0x10ffff and not 0xd800 <= code <= 0xdfff else "?"
