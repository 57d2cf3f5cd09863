"""When the patience with a worker that is to leave ends."""

from __future__ import annotations

import pytest

from watchdog_worker.overdue import WayOut, status

GRACEFUL_S, ASKED = 30.0, 100.0
NEVER = 10_000.0


def first(value: int, **facts: object) -> float:
    """The first second, since it was asked, in which it is ended with this status; NEVER: none."""
    for second in range(1, 1000):
        now = ASKED + second
        way = WayOut(now, GRACEFUL_S, ASKED)._replace(**facts)  # type: ignore[arg-type]
        if status(way) == value:
            return second
    return NEVER


@pytest.mark.parametrize("facts, second", [
    ({"asked_at": None}, NEVER),
    ({"starting": True}, 30),
    ({"starting": True, "orphaned": True}, 1),
    ({"starting": True, "quick_at": ASKED}, 2),
    ({"requests": True}, NEVER),  # uvicorn's to end, or the arbiter's
    ({"blocked": True}, NEVER),  # dumped and killed
    ({"blocked": True, "requests": True, "quick_at": ASKED}, 2),
    ({"blocked": True, "quick_at": ASKED}, NEVER),
    ({}, 30),  # a lifespan that does not end
    ({"loop_ended": True, "blocked": True}, 30),  # gunicorn's hook that does not
    ({"left_over_since": ASKED + 3}, 6),
    ({"left_over_since": ASKED + 29}, 30),  # before gunicorn's own patience ends
    ({"by_itself": True}, NEVER),
    ({"by_itself": True, "left_over_since": ASKED}, NEVER),
    ({"by_itself": True, "left_over_since": ASKED, "deadline": ASKED + 60}, 60),
    ({"by_itself": True, "loop_ended": True, "deadline": ASKED + 60}, 60),
    ({"by_itself": True, "deadline": ASKED + 60}, NEVER),  # it still serves
])
def test_how_long_a_worker_may_take(facts: dict[str, object], second: float) -> None:
    """In good order, before others would kill it."""
    assert first(0, **facts) == second


def test_an_orphan_that_blocks_is_ended_as_an_arbiter_would() -> None:
    """At the deadline, or after its time to drain."""
    facts = {"orphaned": True, "blocked": True, "requests": True}
    assert first(1, **facts) == 31
    assert first(1, **facts, deadline=ASKED + 50) == 51
