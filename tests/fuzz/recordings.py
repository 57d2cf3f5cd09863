"""Reads recorders' files that are spoilt in every way, as those who come after a worker do.

    python -m tests.fuzz.recordings [--files 20000] [--seed 1] [--jobs 2] [--seconds-most X]
    python -m tests.fuzz.recordings --seed 1 --only 4711

None may raise an exception, take longer than LIMIT_S, or take memory beyond GROWTH_MOST. Prints
each that does, with its number, by which it comes again with --only; exits 1 then.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, cast

from tests.fuzz import corpus, mutations, reading
from tests.fuzz.corpus import Base
from watchdog_worker.rundir import SHARED_MEMORY

LIMIT_S = 2.0
"""Of the clock, for one file. One that is over it gets a second try with _SLACK times as much: the
machine may be busy."""
_SLACK = 5
GROWTH_MOST = 128 * 2 ** 20
"""Bytes by which a process may grow at its peak."""
_CHUNK = 250
_SILENT_MOST_S = 120.0
"""A chunk that takes longer hangs where no signal gets through."""
_SHOWN_MOST = 20
_ADDRESSES_MOST = 2 ** 30
"""What takes memory without an end is to get a MemoryError, and not the machine."""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Overdue(BaseException):
    """A file that takes too long; no Exception, which a reader might catch."""


class Figures(NamedTuple):
    """Of some cases."""

    files: int = 0
    refused: int = 0
    not_reports: int = 0
    rendered: int = 0
    examined: int = 0
    failures: tuple[str, ...] = ()
    slowest_s: float = 0.0
    slowest: int = 0
    """Its number."""
    growth: int = 0
    """Bytes."""

    def and_(self, other: Figures) -> Figures:
        """Of both."""
        slower = max(self, other, key=lambda each: each.slowest_s)
        return Figures(
            self.files + other.files, self.refused + other.refused,
            self.not_reports + other.not_reports, self.rendered + other.rendered,
            self.examined + other.examined, self.failures + other.failures,
            slower.slowest_s, slower.slowest, max(self.growth, other.growth))


def peak() -> int:
    """The most memory that this process has had.

    Not what getrusage says, where it can be helped: there a process begins with what its parent had
    when it was started, also after exec.
    """
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def resident() -> int:
    """The memory that this process has now, where that is told; else the most that it has had."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak()


class Reader:
    """Reads cases by their numbers, in the main thread of a process."""

    def __init__(
        self, bases: Sequence[Base], seed: int, folder: str, *, peak_before: int,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._bases, self._seed, self._limit_s = bases, seed, limit_s
        self._known = reading.known(bases)
        self._folder, self._peak_before, self._growth = folder, peak_before, 0

    def read(self, numbers: Iterable[int]) -> Figures:
        """All of these."""
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=self._folder) as folder:
            place = reading.Place(folder)
            try:
                with _alarms():
                    return reduce(Figures.and_, (self._one(place, number) for number in numbers))
            finally:
                place.close()

    def _one(self, place: reading.Place, number: int) -> Figures:
        case = mutations.case(self._bases, self._seed, number)
        place.write(case)
        began, failure, outcome = time.perf_counter(), "", reading.Outcome()
        try:
            outcome = self._in_time(place.path, number)
        except (Exception, Overdue) as error:
            failure = f"--seed {self._seed} --only {number}: {_words(error)}"
        took = time.perf_counter() - began
        growth = peak() - self._peak_before
        if growth > max(GROWTH_MOST, self._growth) and not failure:
            failure = f"--seed {self._seed} --only {number}: {growth / 2 ** 20:.0f} MiB more"
        self._growth = max(self._growth, growth)
        return Figures(1, *outcome, (failure,) if failure else (), took, number, growth)

    def _in_time(self, path: str, number: int) -> reading.Outcome:
        skipped = reading.NOTHING_KNOWN if number < len(self._bases) else self._known
        for limit_s in (self._limit_s, _SLACK * self._limit_s):
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            try:
                return reading.read(path, skipped, number)
            except Overdue:
                if limit_s > self._limit_s:
                    raise
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
        raise AssertionError("not reached")


@contextmanager
def _alarms() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _overdue)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def _overdue(number: int, frame: object) -> None:
    raise Overdue("it takes too long")


def _words(error: BaseException) -> str:
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:300]} ({at.filename}:{at.lineno} {at.name})"


def _job(
    bases: Sequence[Base], numbers: Sequence[int], seed: int, until: float, results: Connection
) -> None:
    """A process of its own: sends figures, chunk by chunk; when it is through, of no file."""
    before = resident()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES_MOST, _ADDRESSES_MOST))
    reader = Reader(bases, seed, _folder(), peak_before=before)
    for first in range(0, len(numbers), _CHUNK):
        if time.monotonic() > until:
            break
        faulthandler.dump_traceback_later(_SILENT_MOST_S, exit=True)
        results.send(reader.read(numbers[first:first + _CHUNK]))
    faulthandler.cancel_dump_traceback_later()
    results.send(Figures())


def _folder() -> str:
    return SHARED_MEMORY if os.path.isdir(SHARED_MEMORY) else tempfile.gettempdir()


def run(files: int, seed: int, jobs: int, seconds_most: float) -> Figures:
    """So many cases, over so many processes."""
    context, until = multiprocessing.get_context("spawn"), time.monotonic() + seconds_most
    bases = corpus.bases()
    running: dict[Connection, multiprocessing.process.BaseProcess] = {}
    for job in range(jobs):
        results, theirs = context.Pipe(duplex=False)
        running[results] = context.Process(
            target=_job, args=(bases, range(job, files, jobs), seed, until, theirs), daemon=True)
        running[results].start()
        theirs.close()
    figures, told_at = Figures(), time.monotonic()
    while running:
        for ready in wait(list(running)):
            results = cast(Connection, ready)
            part = _received(results)
            figures = figures.and_(part)
            _show(part.failures, len(figures.failures))
            if not part.files:
                results.close()
                running.pop(results).join()
        if time.monotonic() > told_at + 60.0:
            told_at = time.monotonic()
            print(f"{figures.files} of {files}", flush=True)
    return figures


def _received(results: Connection) -> Figures:
    """What a process sends next; of no file, where nothing comes any more."""
    try:
        part: Figures = results.recv()
        return part
    except EOFError:
        return Figures(failures=("a process has died, see above",))


def _show(failures: Sequence[str], so_far: int) -> None:
    for failure in failures[:max(0, _SHOWN_MOST - so_far + len(failures))]:
        print(failure, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds-most", type=float, default=float("inf"))
    parser.add_argument("--only", type=int, help="this case alone, with its traceback")
    arguments = parser.parse_args()
    if arguments.only is not None:
        return _only(arguments.seed, arguments.only)
    began = time.monotonic()
    figures = run(arguments.files, arguments.seed, arguments.jobs, arguments.seconds_most)
    took = time.monotonic() - began
    print(f"seed {arguments.seed}, {arguments.jobs} processes, {took:.0f} s: "
          f"{figures.files / took:.0f} files a second; {figures.refused} were no recorder's, "
          f"{figures.not_reports} letters no reports; {figures.rendered} reports and "
          f"{figures.examined} post-mortems told")
    print(f"{figures.files} files: {len(figures.failures)} failures; slowest "
          f"{figures.slowest_s * 1000:.0f} ms (--only {figures.slowest}), peak memory "
          f"{figures.growth / 2 ** 20:.0f} MiB more than at the start")
    return 1 if figures.failures or not figures.files else 0


def _only(seed: int, number: int) -> int:
    bases = corpus.bases()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_folder()) as folder:
        place = reading.Place(folder)
        place.write(mutations.case(bases, seed, number))
        began = time.perf_counter()
        print(reading.read(place.path, reading.NOTHING_KNOWN, number))
        print(f"{(time.perf_counter() - began) * 1000:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
