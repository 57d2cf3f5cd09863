"""A worker's whole life on uvicorn's worker class and on ours, on several versions of gunicorn.

    python -m tests.lifecycle [--only PART_OF_NAME] [--gunicorn 22,23,25,newest] [--jobs N]

Prints a row for each case: what uvicorn's worker does, what ours does, and on how many versions
that was right. Exits 1 if ours was wrong anywhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.gunicorn_server import ROOT
from tests.lifecycle.case import OURS, THEIRS, Came, Case, Ground
from tests.lifecycle.groups import ALONE, GROUPS

NAME_WIDTH, WORDS_WIDTH = 40, 60


class Row(NamedTuple):
    """A case, and how it comes out: by worker class, then by version of gunicorn."""

    case: Case
    came: dict[str, dict[str, Future[Came]]]


def came(case: Case, worker: str, python: str) -> Came:
    """Run it once, in a folder of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            return case.run(Ground(Path(folder), worker, python))
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            return Came(False, f"{type(error).__name__}: {first}")


def environments(versions: list[str]) -> dict[str, str]:
    """Make them where need be: the interpreter of each."""
    subprocess.run(
        [str(Path(__file__).with_name("environments.sh")), *versions], check=True,
        env={**os.environ, "PYTHON": sys.executable})
    return {version: str(ROOT / ".venvs" / f"gunicorn-{version}" / "bin" / "python")
            for version in versions}


def rows(
    group: str, pythons: dict[str, str], only: str, pool: ThreadPoolExecutor
) -> list[Row]:
    """Begin with a group's cases."""
    return [
        Row(case, {worker: {version: pool.submit(came, case, worker, python)
                            for version, python in pythons.items()}
                   for worker in (THEIRS, OURS)})
        for case in GROUPS[group] if only.lower() in f"{group}: {case.name}".lower()]


def seen(by_version: dict[str, Future[Came]]) -> str:
    """What was seen on all versions, or on each where it was not the same."""
    versions: dict[str, list[str]] = {}
    for version, future in by_version.items():
        versions.setdefault(future.result().words, []).append(version)
    if len(versions) == 1:
        return next(iter(versions))
    return "\n".join(f"{', '.join(of)}: {words}" for words, of in versions.items())


def right(by_version: dict[str, Future[Came]]) -> int:
    """On how many versions it was."""
    return sum(future.result().right for future in by_version.values())


def lines(row: Row, total: int) -> list[str]:
    """The row as text: the name, then the two columns side by side, each wrapped."""
    columns = [textwrap.wrap(row.case.name, NAME_WIDTH - 2)]
    for worker in (THEIRS, OURS):
        by_version = row.came[worker]
        text = f"{right(by_version)}/{total} {seen(by_version)}"
        columns.append([line for part in text.splitlines()
                        for line in textwrap.wrap(part, WORDS_WIDTH - 2)])
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [f"{name:{NAME_WIDTH}}{theirs:{WORDS_WIDTH}}{ours}".rstrip()
            for name, theirs, ours in zip(*padded)]


def show(group: str, block: list[Row], total: int) -> tuple[int, int]:
    """Print a group as it is done: how often ours was right, of how many."""
    print(f"\n{group.capitalize():{NAME_WIDTH}}"
          f"{'uvicorn_worker.UvicornWorker':{WORDS_WIDTH}}watchdog_worker.Worker", flush=True)
    good = 0
    for row in block:
        print("\n".join(lines(row, total)), flush=True)
        good += right(row.came[OURS])
    return good, len(block) * total


def main() -> int:
    """Run and print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a case's name, or of its group's")
    parser.add_argument("--gunicorn", default="22,23,25,newest")
    parser.add_argument("--jobs", type=int, default=4)
    arguments = parser.parse_args()
    pythons = environments(arguments.gunicorn.split(","))
    results = []
    beside = [group for group in GROUPS if group not in ALONE]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        begun = [(group, rows(group, pythons, arguments.only, pool)) for group in beside]
        results += [show(group, block, len(pythons)) for group, block in begun if block]
    for group in [group for group in GROUPS if group in ALONE]:
        with ThreadPoolExecutor(1) as pool:
            block = rows(group, pythons, arguments.only, pool)
            if block:
                results.append(show(group, block, len(pythons)))
    good, total = (sum(column) for column in zip(*results)) if results else (0, 0)
    print(f"\nours right in {good} of {total}")
    return 0 if good == total and total else 1


if __name__ == "__main__":
    sys.exit(main())
