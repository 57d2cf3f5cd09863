"""What the application and its clients both know."""

from __future__ import annotations

BIG = 1_000_000


def big_text(ident: str) -> str:
    """So much that no buffer takes it, and different for each."""
    return (ident + ".") * (BIG // (len(ident) + 1))


def trickle_text(ident: str) -> str:
    """What comes in twenty pieces."""
    return ident * 20
