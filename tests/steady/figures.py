"""What one process has had over time, and whether it stayed so. Pure but for `look`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression, median
from typing import NamedTuple

MORE_KIB = 2048
_NOISE_DESCRIPTORS = 4
"""Connections come and go: so much may the medians of two times differ."""
_TIMES = 5
"""The first fifth of the time is for warming up."""


class Figures(NamedTuple):
    """One process at one moment."""

    at: float
    """Monotonic seconds."""
    rss_kib: int
    descriptors: int
    threads: int


class Process(NamedTuple):
    """One process, all along."""

    name: str
    before: Figures
    """At rest, before the load."""
    loaded: tuple[Figures, ...]
    after: Figures
    """At rest again."""

    @property
    def settled(self) -> tuple[Figures, ...]:
        """Under load, without the time for warming up."""
        return self.loaded[len(self.loaded) // _TIMES:]

    @property
    def grown_kib(self) -> float:
        """From the first quarter of the settled time to the last."""
        quarter = max(1, len(self.settled) // 4)
        return median(each.rss_kib for each in self.settled[-quarter:]) - median(
            each.rss_kib for each in self.settled[:quarter])

    @property
    def slope_kib(self) -> float:
        """Per hour, along the line that fits best."""
        slope, _ = linear_regression([each.at / 3600 for each in self.settled],
                                     [each.rss_kib for each in self.settled])
        return slope

    def wrong(self) -> Iterator[str]:
        """What did not stay as it was, a sentence each."""
        if self.grown_kib > MORE_KIB:
            yield f"it has grown by {self.grown_kib:.0f} KiB"
        if self.after.descriptors != self.before.descriptors:
            yield (f"at rest it had {self.before.descriptors} descriptors before, and has "
                   f"{self.after.descriptors} now")
        if self.after.threads != self.before.threads:
            yield (f"at rest it had {self.before.threads} threads before, and has "
                   f"{self.after.threads} now")
        half = len(self.settled) // 2
        first, last = self.settled[:half], self.settled[half:]
        if median(each.threads for each in first) != median(each.threads for each in last):
            yield "its threads under load have become more or fewer"
        more = median(each.descriptors for each in last) - median(
            each.descriptors for each in first)
        if more > _NOISE_DESCRIPTORS:
            yield f"its descriptors under load have become {more:.0f} more"

    def course(self) -> str:
        """The resident memory by tenths of the whole time: a leak is a slope, a step is none."""
        tenth = max(1, len(self.loaded) // 10)
        parts = [self.loaded[at:at + tenth] for at in range(0, len(self.loaded), tenth)]
        return " ".join(f"{median(each.rss_kib for each in part) / 1024:.2f}" for part in parts)

    def row(self) -> str:
        """For a table."""
        rss = [each.rss_kib / 1024 for each in self.settled]
        descriptors = [each.descriptors for each in self.settled]
        threads = [each.threads for each in self.settled]
        return (f"{self.name:34} {rss[0]:6.1f} {median(rss):6.1f} {rss[-1]:6.1f} "
                f"{self.grown_kib / 1024:+6.2f} {self.slope_kib / 1024:+8.2f}   "
                f"{self.before.descriptors:4} {min(descriptors):4} {median(descriptors):5.0f} "
                f"{max(descriptors):4} {self.after.descriptors:4}   "
                f"{self.before.threads:3} {min(threads):3} {max(threads):3} "
                f"{self.after.threads:3}   {'no' if list(self.wrong()) else 'yes'}")


HEAD = (f"{'':34} RSS (MiB)                            descriptors                 threads\n"
        f"{'process':34} {'first':>6} {'median':>6} {'last':>6} {'grown':>6} {'per hour':>8}   "
        f"{'rest':>4} {'min':>4} {'median':>5} {'max':>3} {'rest':>4}   "
        f"{'rest':>3} {'min':>3} {'max':>2} {'rest':>3}  flat")


def look(pid: int) -> Figures:
    """What it has now. Raises OSError if there is no such process."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Figures(time.monotonic(), int(status["VmRSS"].split()[0]),
                   len(list((process / "fd").iterdir())), int(status["Threads"]))


def children(pid: int) -> list[int]:
    """Of its main thread."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
