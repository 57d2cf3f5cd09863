"""When the patience with a worker that is to leave is at its end. Pure.

What serves requests is given its time by uvicorn, and killed by the arbiter where it blocks; here
it is about what comes after that, and about those of whom nobody else takes care.
"""

from __future__ import annotations

from typing import NamedTuple

UNHEARD_S = 1.0
"""A loop that has shown no sign of life for so long will not leave by itself soon."""
_MARGIN_S = 1.0
"""So much of `graceful_timeout`, and no more than a quarter, is for what comes after the drain."""
_LAST_SHARE = 0.4
"""So much of the margin is for the end itself, in the server's hooks and the logs: what has not
come to its end by then is cut off."""
_LEFT_OVER_S = 2.0
"""What threads and tasks of the application get that go on when all else has ended: uvicorn's own
worker dies of the signal there, and takes them with it."""
_LEAST_LEFT_OVER_S = 0.2


class WayOut(NamedTuple):
    """How far a worker has come on its way out; moments are monotonic."""

    now: float
    graceful_s: float
    """gunicorn's `graceful_timeout`, in seconds."""
    asked_at: float | None
    """When it was asked to leave; None: it was not."""
    quick_at: float | None = None
    """When it was asked to wait for no request."""
    by_itself: bool = False
    """Nobody has asked it but itself: it recycles."""
    orphaned: bool = False
    """Its master has died."""
    starting: bool = False
    """It has not begun to serve."""
    blocked: bool = False
    """Its loop is, as far as can be told."""
    requests: bool = False
    """Some are in flight."""
    left_over_since: float | None = None
    """Since when only threads and tasks of the application go on; None: not yet."""
    loop_ended: bool = False
    deadline: float | None = None
    """When the arbiter kills, if it ever does."""


def margin(graceful_s: float) -> float:
    """What is kept of `graceful_timeout` for what comes after the drain, in seconds."""
    return min(_MARGIN_S, graceful_s / 4)


def status(way: WayOut) -> int | None:
    """What to have the process exit with now; None: it still has time."""
    if way.asked_at is None:
        return None
    if way.starting:
        unheard = way.quick_at is not None and way.now > way.quick_at + UNHEARD_S
        return 0 if way.orphaned or unheard or way.now > _limit(way) else None
    if way.by_itself:
        ended = way.left_over_since is not None or way.loop_ended
        near = way.deadline is not None and way.now > way.deadline - margin(way.graceful_s)
        return 0 if ended and near else None
    if way.left_over_since is not None:
        if way.now > _left_over_until(way, way.left_over_since):
            return 0
    elif way.now > _limit(way) and (way.loop_ended or not (way.blocked or way.requests)):
        return 0  # a lifespan that does not end, or gunicorn's hook, or a function at exit
    if way.quick_at is not None and way.blocked and way.requests and (
            way.now > way.quick_at + UNHEARD_S):
        return 0
    if way.orphaned and way.now > max(way.asked_at + way.graceful_s, way.deadline or 0.0):
        return 1
    return None


def _limit(way: WayOut) -> float:
    """What is not requests has to be done by then: before gunicorn's own patience ends."""
    asked = (way.asked_at or 0.0) if way.quick_at is None else way.quick_at
    return asked + way.graceful_s - _LAST_SHARE * margin(way.graceful_s)


def _left_over_until(way: WayOut, since: float) -> float:
    """In time, but not without a moment."""
    return max(min(since + _LEFT_OVER_S, _limit(way)), since + _LEAST_LEFT_OVER_S)
