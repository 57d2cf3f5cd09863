"""Why a request is slow although the loop is free. Pure."""

from __future__ import annotations

from watchdog_worker.model import Diagnosis, Snapshot

_SETTING = {"anyio": " (its limiter's total_tokens, by default "
                     "anyio.to_thread.current_default_thread_limiter())"}


def explain(snapshot: Snapshot) -> Diagnosis | None:
    """What is known beyond the line at which the first waits: its pool has no thread left."""
    pool = snapshot.exhausted_pool
    if pool is None:
        return None
    return Diagnosis(
        summary=(
            f"the thread pool {pool.name} has no thread free: {pool.borrowed} of {pool.total} at "
            f"work, {pool.waiting} waiting for one; the loop itself is free"),
        remedy=(
            "look at what the threads wait for, below: a timeout there, or fewer calls that take "
            "long, helps all; where they are only many, give the pool more threads"
            + _SETTING.get(pool.name.partition(",")[0], " (max_workers)")))
