"""What the commands that look at workers have in common: where they look, and what they find."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from watchdog_worker import census, rundir
from watchdog_worker.census import WorkerState
from watchdog_worker.cli import CommandError
from watchdog_worker.render.plain import plain


class Seen(NamedTuple):
    """What there is in the folders."""

    folders: Sequence[str]
    workers: list[WorkerState]

    @property
    def where(self) -> str:
        """The folders, in words."""
        return plain(", ".join(self.folders))


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    """Where to look."""
    parser.add_argument(
        "--run-dir", metavar="FOLDER", action="append",
        help="where gunicorn keeps its flight recorders (watchdog_run_dir); may be given several "
             "times (default: WATCHDOG_RUN_DIR, else /dev/shm and the temporary folder)")


def look(arguments: argparse.Namespace, status: int) -> Seen:
    """Look. Raises CommandError with this status if there is no such folder."""
    folders: list[str] = arguments.run_dir or rundir.usual()
    if not folders:
        raise CommandError("there is no folder to look in: WATCHDOG_RUN_DIR names none", status)
    try:
        return Seen(folders, census.census(folders))
    except (OSError, ValueError) as error:
        raise CommandError(_words(error, folders), status) from None


def unread(seen: Seen) -> list[str]:
    """What is there and could not be told of, a line each."""
    denied, foreign = census.unread(seen.folders)
    lines = []
    if denied:
        belong = "belong to other users" if denied > 1 else "belongs to another user"
        lines.append(f"{count(denied, 'recorder')} {belong}")
    if foreign:
        lines.append(f"{count(foreign, 'recorder')} written by another version")
    return lines


def count(number: int, thing: str) -> str:
    """So many of them."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def held_up(worker: WorkerState) -> str:
    """How a worker is held up; empty where it is not."""
    words = [] if worker.blocked_s is None else [f"{worker.blocked_s:.1f} s"]
    if worker.stopped:
        words.insert(0, "stopped")
    elif worker.gil_held:
        words.append("GIL held")
    return ", ".join(words)


def _words(error: Exception, folders: Sequence[str]) -> str:
    if isinstance(error, OSError):
        return f"cannot look into {plain(str(error.filename))}: {error.strerror}"
    return f"cannot look into {plain(', '.join(folders))}: {error}"  # a NUL in the name
