"""How many deaths at boot are told a minute."""

from __future__ import annotations

from watchdog_worker.postmortem.limit import Limit


def test_so_many_a_minute_and_then_they_are_counted() -> None:
    """The count comes with the next one that is told."""
    now = [0.0]
    limit = Limit(lambda: now[0])
    assert [limit.admit(2) for _ in range(4)] == [(True, 0), (True, 0), (False, 0), (False, 0)]
    now[0] = 61.0
    assert [limit.admit(2), limit.admit(2)] == [(True, 2), (True, 0)]
    assert limit.admit(0) == (False, 0)
