"""Blocks in a library that computes without the GIL."""

from __future__ import annotations

import numpy


def matrices() -> None:
    matrix = numpy.ones((1500, 1500))
    while True:
        matrix = matrix @ matrix
