"""All checks of a story, and how they came out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.chaos import arbiter, ends, requests, told
from tests.chaos.check import Check
from tests.chaos.story import Story

CHECKS: tuple[Callable[[Story], Check], ...] = (
    ends.explained, ends.post_mortems, ends.pre_kills, ends.manners,
    told.stalls, told.unfounded, told.suspended, told.on_demand, told.once, told.others,
    requests.innocent, requests.fatal, arbiter.flat, arbiter.end)
_FEW = 5


def judged(story: Story) -> list[Check]:
    """Every check's outcome."""
    return [check(story) for check in CHECKS]


def faults(story: Story) -> str:
    """What was done, in a few lines."""
    counts = Counter(act.kind for act in story.acts)
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items()))


def shown(check: Check, most: int = _FEW) -> str:
    """One check, for people."""
    lines = [f"{'wrong' if check.wrong else 'OK':5} {check.name}: {check.counted}"]
    lines += [f"        {each}" for each in check.wrong[:most]]
    if len(check.wrong) > most:
        lines.append(f"        and {len(check.wrong) - most} more")
    return "\n".join(lines)
