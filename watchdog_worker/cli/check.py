"""Say by the exit status whether gunicorn's workers are well: for a container's exec probe.

Reads the flight recorders that the workers write, and asks nothing of the workers themselves. One
that boots or drains is alive and never blocked. A worker that is stopped is as silent as a blocked
one and counts as blocked.

A boot that takes long is said, and ends no container: a new one would boot no faster. That is for
watchdog_startup_timeout to end, in gunicorn itself. A readiness or startup probe asks with --ready:
then a worker has to serve.

Only recorders that belong to the user who asks, or to root, are counted: anybody can write to
/dev/shm, and a file there that is made to look like a blocked worker, or like a healthy one where
none is alive, must not end or save a container. Root counts the recorders of all users, for
gunicorn often runs as another one: where root asks and not every user is to be trusted, give
gunicorn a folder that nobody else can write to (watchdog_run_dir) and name it with --run-dir.
--master and --app choose, and prove nothing: they compare what the recorders say."""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from watchdog_worker.census import WorkerState
from watchdog_worker.cli import CommandError
from watchdog_worker.cli.looking import Seen, add_run_dir, count, held_up, look, unread
from watchdog_worker.ownthread import words
from watchdog_worker.render.plain import plain

HEALTHY, BLOCKED, USAGE, NONE_ALIVE, NOT_READY = 0, 1, 2, 3, 4
_STATUSES = f"""exit status:
  {HEALTHY}  healthy: a worker is alive, and none is blocked for longer than the limit
  {BLOCKED}  a worker is blocked or stopped for longer than the limit
  {USAGE}  wrong arguments, or a folder that cannot be read
  {NONE_ALIVE}  no worker is alive
  {NOT_READY}  with --ready: none serves; all boot or drain"""
_LIMIT_S = 10.0
_SERVING = "serving"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _STATUSES
    add_run_dir(parser)
    parser.add_argument(
        "--blocked-for", metavar="SECONDS", type=_seconds,
        help="the limit (default: half of the worker's own timeout, or "
             f"{_LIMIT_S:.0f} where that is 0); a silence below watchdog_stall_threshold is none")
    parser.add_argument(
        "--ready", action="store_true",
        help="a worker has to serve, too: for a readiness or startup probe; a liveness probe would "
             "end a container that is slow to boot")
    parser.add_argument(
        "--master", metavar="PID", type=int, help="only the workers of this gunicorn master")
    parser.add_argument(
        "--app", metavar="APP", help="only the workers of this application, as gunicorn got it")


def run(arguments: argparse.Namespace) -> int:
    """Look, say it in one line. Raises CommandError with status 2 where it cannot look."""
    try:
        seen = look(arguments, USAGE)
        workers = [worker for worker in seen.workers if _chosen(worker, arguments)]
        status, line = verdict(workers, arguments.blocked_for, arguments.ready)
        if status == NONE_ALIVE:
            line = _why_none(seen, arguments)
    except CommandError:
        raise
    except Exception as error:  # Python would exit with 1, as if a worker was blocked
        raise CommandError(f"cannot look: {plain(words(error))}", USAGE) from None
    print(line)
    return status


def counted(worker: WorkerState, uid: int) -> bool:
    """Whether this user believes that recorder (see the module's docstring)."""
    return uid == 0 or worker.owner in (uid, 0)


def verdict(
    workers: Sequence[WorkerState], limit_s: float | None, ready: bool
) -> tuple[int, str]:
    """The exit status, and what was found. `limit_s`: None means each worker's own; `ready`: one
    has to serve."""
    alive = [worker for worker in workers if worker.alive]
    if not alive:
        return NONE_ALIVE, "none alive"  # `run` says where and of what
    blocked = [worker for worker in alive if _is_blocked(worker, limit_s)]
    if blocked:
        worst = max(blocked, key=lambda worker: worker.blocked_s or 0.0)
        by = f", by {plain(worst.blocked_by)}" if worst.blocked_by else ""
        return BLOCKED, (
            f"blocked: {len(blocked)} of {count(len(alive), 'worker')}; {worst.pid} of "
            f"{plain(worst.app)}: {held_up(worst)}{by} (limit {_limit(worst, limit_s):g} s)")
    found = "; ".join(_found(alive))
    if ready and not any(worker.phase == _SERVING for worker in alive):
        return NOT_READY, f"not ready: {found}"
    return HEALTHY, f"healthy: {found}"


def _found(alive: Sequence[WorkerState]) -> Iterator[str]:
    """How they are, where none is blocked for too long."""
    phases = Counter(worker.phase for worker in alive)
    told = ", ".join(f"{number} {phase}" for phase, number in phases.items())
    silence_s = max(worker.blocked_s or 0.0 for worker in alive)
    silent = f", silent for up to {silence_s:.1f} s" if silence_s else ""
    yield f"{count(len(alive), 'worker')} alive ({told}){silent}"
    slow = [worker.booting_s for worker in alive if worker.booting_s is not None]
    if slow:
        yield (f"{len(slow)} booting for up to {max(slow):.1f} s, longer than "
               "watchdog_startup_threshold")
    orphans = sum(worker.orphaned for worker in alive)
    if orphans:
        yield f"the master of {orphans} is gone, nobody will replace them"


def _is_blocked(worker: WorkerState, limit_s: float | None) -> bool:
    return (worker.phase == _SERVING and worker.blocked_s is not None
            and worker.blocked_s > _limit(worker, limit_s))


def _limit(worker: WorkerState, limit_s: float | None) -> float:
    return limit_s if limit_s is not None else worker.timeout_s / 2 or _LIMIT_S


def _chosen(worker: WorkerState, arguments: argparse.Namespace) -> bool:
    return (counted(worker, os.geteuid())
            and arguments.master in (None, worker.arbiter_pid)
            and arguments.app in (None, worker.app))


def _why_none(seen: Seen, arguments: argparse.Namespace) -> str:
    of = "" if arguments.master is None else f" of master {arguments.master}"
    of += "" if arguments.app is None else f" of {plain(arguments.app)}"
    strange = sum(not counted(worker, os.geteuid()) for worker in seen.workers)
    ignored = [f"{count(strange, 'recorder')} of other users not counted"] if strange else []
    return "; ".join((f"none alive: no worker{of} in {seen.where}", *ignored, *unread(seen)))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value
