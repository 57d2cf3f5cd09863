"""List the workers on this machine: which one is blocked, for how long and by what. Reads the
flight recorders that the workers write, and asks nothing of the workers themselves: one whose
loop is blocked, whose GIL is held or that is stopped is shown like any other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from watchdog_worker.census import OldestRequest, WorkerState, to_dict
from watchdog_worker.cli.looking import add_run_dir, count, held_up, look, unread
from watchdog_worker.render.plain import plain

_ERROR = 1
_HEADING = (
    "PID", "MASTER", "PHASE", "LAG", "BLOCKED", "REQUESTS", "OLDEST", "RSS", "UPTIME", "APP")
_RIGHT = ("PID", "MASTER", "LAG", "REQUESTS", "RSS", "UPTIME")
_NOTHING = "-"
_PATH_CHARS = 40
_APP_CHARS = 60
_LINE_CHARS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_run_dir(parser)
    parser.add_argument(
        "--json", action="store_true",
        help="a list of objects instead; times in seconds, sizes in bytes, a key that does not "
             "apply is absent")


def run(arguments: argparse.Namespace) -> int:
    """Print the list. Raises CommandError where a folder cannot be read."""
    seen = look(arguments, _ERROR)
    if arguments.json:
        print(json.dumps([to_dict(worker) for worker in seen.workers]))  # ASCII: no terminal acts
    elif seen.workers:
        print("\n".join(table(seen.workers)))
    else:
        print(f"no workers in {seen.where} (--run-dir, if gunicorn keeps its recorders elsewhere)")
    for line in unread(seen):
        print(f"watchdog-worker ps: {line}", file=sys.stderr)
    return 0


def table(workers: Sequence[WorkerState]) -> Iterator[str]:
    """The lines for a person, without line ends."""
    rows = [_HEADING, *map(_row, workers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield _line(_HEADING, widths)
    for worker, row in zip(workers, rows[1:], strict=True):
        yield _line(row, widths)
        detail = "; ".join(_detail(worker))
        if detail:
            yield f"{'':{widths[0]}}  {detail}"
    left = sum(not worker.held for worker in workers)
    if left:
        yield (f"{count(left, 'recorder')} left behind by the dead: the next start of gunicorn "
               "reports what happened")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        for name, cell, width in zip(_HEADING, row, widths, strict=True)).rstrip()


def _row(worker: WorkerState) -> tuple[str, ...]:
    return (
        str(worker.pid or _NOTHING),
        f"{worker.arbiter_pid or _NOTHING}{' gone' if worker.orphaned else ''}",
        _phase(worker),
        _NOTHING if worker.lag_s is None else f"{worker.lag_s:.2f} s",
        held_up(worker) or _NOTHING,
        str(worker.in_flight),
        _request(worker.oldest_request),
        _NOTHING if worker.rss_bytes is None else f"{worker.rss_bytes / 2 ** 20:.0f} MiB",
        _NOTHING if worker.uptime_s is None else _span(worker.uptime_s),
        plain(worker.app)[:_APP_CHARS] or _NOTHING,
    )


def _phase(worker: WorkerState) -> str:
    if not worker.alive:
        return "dead"
    return worker.phase if worker.booting_s is None else f"booting {_span(worker.booting_s)}"


def _request(oldest: OldestRequest | None) -> str:
    if oldest is None:
        return _NOTHING
    name = plain(f"{oldest.method} {oldest.path}")
    name = name if len(name) <= _PATH_CHARS else name[:_PATH_CHARS] + "..."
    return f"{name} {_span(oldest.age_s)}"


def _detail(worker: WorkerState) -> Iterator[str]:
    """What else there is to say of one that is blocked, or boots for long."""
    if worker.booting_s is not None:
        yield ("boots for longer than watchdog_startup_threshold: what it waits for is in the log "
               "(slow_startup)")
    if worker.blocked_by is not None:
        yield f"blocked by {plain(worker.blocked_by)[:_LINE_CHARS]}"
    if worker.blocked_s is not None and worker.kill_in_s is not None:
        yield (f"WORKER TIMEOUT in {worker.kill_in_s:.1f} s" if worker.kill_in_s > 0 else
               f"WORKER TIMEOUT was due {-worker.kill_in_s:.1f} s ago")


def _span(seconds: float) -> str:
    """A time that a person can take in."""
    for limit, unit_s, unit in ((100, 1, "s"), (6_000, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.{1 if unit == 's' else 0}f} {unit}"
    return f"{seconds / 86_400:.0f} d"
