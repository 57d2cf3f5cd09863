"""Why the loop is blocked. Pure: a Snapshot in, a Diagnosis out."""

from __future__ import annotations

from watchdog_worker.model import Diagnosis, Snapshot, innermost_app


def diagnose(snapshot: Snapshot) -> Diagnosis | None:
    """Who blocks the loop in this picture, None where the loop thread could not be read."""
    thread = snapshot.loop_thread
    if thread is None or not thread.frames:
        return None
    return Diagnosis(culprit=innermost_app(thread.frames), blocking_call=thread.frames[-1])
