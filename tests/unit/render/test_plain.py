"""Foreign text stays on its line."""

from __future__ import annotations

import pytest

from watchdog_worker.render.plain import plain


@pytest.mark.parametrize("text, shown", [
    ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"),
    ("\x1b[31mred\x9b0m\x07\x7f", "\\x1b[31mred\\x9b0m\\x07\\x7f"),
    ("\u2028\u202egpj\u200b", "\\u2028\\u202egpj\\u200b"),
    ("\ud800", "\\ud800"),
    ("Grüße 漢字", "Grüße 漢字"),
])
def test_what_moves_the_cursor_is_escaped(text: str, shown: str) -> None:
    """And nothing else."""
    assert plain(text) == shown
