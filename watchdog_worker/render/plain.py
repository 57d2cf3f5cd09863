"""Foreign text made safe for a log: what a client or an application chose cannot forge a line."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, the marks that turn the
# direction of writing, invisible marks, and lone surrogates, which no encoder would take.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\u200b\ufeff"
    "\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` on one line, every character that could move the cursor shown as an escape."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
