"""Of the arbiter: does it stay as it was, and does it leave nothing behind? Pure."""

from __future__ import annotations

from statistics import linear_regression, median

from tests.chaos.check import Check
from tests.chaos.scene import Sample
from tests.chaos.story import Story

MORE_KIB = 2048
_OVERTIME_S = 6.0


def flat(story: Story) -> Check:
    """Memory, threads, descriptors, children and recorders are what they were."""
    samples = story.samples
    before, after, wrong = samples[0], samples[-1], list[str]()
    for name in ("threads", "descriptors", "children", "recorders"):
        was, became = getattr(before, name), getattr(after, name)
        if became != was:
            wrong.append(f"{name}: {was} before, {became} after")
    grown, slope = growth(samples)
    if grown > MORE_KIB:
        wrong.append(f"it has grown by {grown} KiB after its first fifth")
    for one, two, three in zip(samples, samples[1:], samples[2:]):
        stuck = set(one.zombies) & set(two.zombies) & set(three.zombies)
        if stuck:
            wrong.append(f"zombies for seconds: {sorted(stuck)}")
    wrong += story.trouble
    return Check(
        "the arbiter stays as it was",
        f"{before.rss_kib} KiB before, {after.rss_kib} after, {grown:+} after its first fifth "
        f"({slope:+.0f} an hour); {after.threads} threads, {after.descriptors} descriptors, "
        f"{after.children} children, {after.recorders} recorders", tuple(wrong))


def growth(samples: tuple[Sample, ...]) -> tuple[int, float]:
    """In KiB from the second fifth of the time to the last, and in KiB an hour along the line."""
    fifth = max(1, len(samples) // 5)
    rest = samples[fifth:]
    if len(rest) < 2:
        return 0, 0.0
    grown = median(each.rss_kib for each in samples[-fifth:]) - median(
        each.rss_kib for each in rest[:fifth])
    slope, _ = linear_regression([each.at / 3600 for each in rest],
                                 [each.rss_kib for each in rest])
    return int(grown), slope


def end(story: Story) -> Check:
    """At SIGTERM it ends, soon, with status 0, and nothing is left."""
    found = story.end
    wrong = [f"{what} left behind: {found[what][:5]}"
             for what in ("processes", "recorders", "partial") if found[what]]
    if found["status"] != 0:
        wrong.append(f"status {found['status']}")
    if found["took_s"] > story.graceful + _OVERTIME_S:
        wrong.append(f"it took {found['took_s']:.1f} s")
    return Check("the end of it all", f"status {found['status']} after {found['took_s']:.1f} s",
                 tuple(wrong))
