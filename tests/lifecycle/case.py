"""What a case of a worker's life is, and the ground it runs on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.gunicorn_server import Gunicorn

OURS, THEIRS = "watchdog_worker.Worker", "uvicorn_worker.UvicornWorker"


class Ground(NamedTuple):
    """A folder of its own, an interpreter with some gunicorn, and one of the two worker classes."""

    folder: Path
    worker: str = OURS
    python: str = sys.executable

    @property
    def ours(self) -> bool:
        """Whether the worker is the one that this project is about."""
        return self.worker == OURS

    def gunicorn(self, app: str = "whole_life:app", **options: Any) -> Gunicorn:
        """One that runs on it; takes what `Gunicorn` takes. The dumps go to `folder/dumps`."""
        config = 'watchdog_dump_dir = "dumps"\n' + options.pop("config", "")
        return Gunicorn(self.folder, app, worker=self.worker, python=self.python,
                        config=config, **options)


class Came(NamedTuple):
    """How it came out."""

    right: bool
    """As a user has a right to expect, from whichever worker class it is."""
    words: str
    """What was seen, in a few words for a table: `killed by WORKER TIMEOUT, client cut off`."""


class Case(NamedTuple):
    """One thing that happens in a worker's life."""

    name: str
    run: Callable[[Ground], Came]
    """Brings it about and looks. Raises AssertionError where it cannot even be brought about."""
