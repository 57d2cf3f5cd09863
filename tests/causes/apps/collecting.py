"""Blocks by the garbage collector: many objects that live long."""

from __future__ import annotations

import gc

gc.disable()
KEPT = [[at] for at in range(1_500_000)]
gc.enable()


def collect() -> None:
    for _ in range(60):
        gc.collect()
