"""What a check is, and what several of them ask of a story. Pure."""

from __future__ import annotations

from typing import NamedTuple

from tests.chaos import plan
from tests.chaos.story import Block, Life, Span, Story, covered

SLACK_S = 0.3
BEAT_S = 0.5
GIL_KINDS = (*plan.GIL_BLOCKS, "stall_holding_gil")
LOOP_KINDS = (*plan.STALLS, *plan.BLOCKS, *plan.GIL_BLOCKS)
"""Blocks that hold the loop for a while."""


class Check(NamedTuple):
    """One question, and how it was answered."""

    name: str
    counted: str
    """What was looked at."""
    wrong: tuple[str, ...]
    """A sentence for each thing that is not as it should be."""
    excused: int = 0
    """How many were not, and had a reason."""


def blocks_of(story: Story, life: Life) -> list[Block]:
    """The blocks that this worker was in."""
    return [block for block in story.blocks if block.pid == life.pid
            and story.life(block.pid, block.since, 0.5) == life]


def block_at(story: Story, life: Life, at: float) -> Block | None:
    """The block of the loop in which a worker was at that moment."""
    return next((block for block in blocks_of(story, life) if block.kind in LOOP_KINDS
                 and block.since - SLACK_S <= at <= block.until + SLACK_S), None)


def last_words(story: Story, life: Life) -> Block | None:
    """The request that it was in the middle of when it ended."""
    found = [block for block in blocks_of(story, life) if not block.finished]
    return found[-1] if found else None


def disturbed(story: Story, pid: int, span: Span) -> bool:
    """Whether the worker was stopped by us, or the machine was busy, at about that time."""
    wide = span[0] - SLACK_S, span[1] + SLACK_S
    return covered(wide, story.stops(pid)) > 0 or covered(wide, story.machine) > SLACK_S


def is_orderly(story: Story, life: Life) -> bool:
    """Whether it ended as somebody meant it to."""
    if life.struck or life.end not in ("exit 0", "SIGTERM", "SIGINT", "SIGQUIT"):
        return False
    last = last_words(story, life)
    return last is None or last.kind != "leave_with_0"


def asked_to(story: Story, life: Life, *kinds: str) -> list[float]:
    """When we sent it a signal of these."""
    return [act.at for act in story.acts if act.kind in kinds and act.pid == life.pid
            and story.life(act.pid, act.at) == life]
