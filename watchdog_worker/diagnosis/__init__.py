"""Why the loop is blocked. Pure: a Snapshot in, a Diagnosis out.

`standing` reads the kernel, `stack` the frames, `rules` is the table that says what they mean
together, `verdict` weighs them, `words` says it.
"""

from __future__ import annotations

from watchdog_worker.diagnosis import stack, verdict, words
from watchdog_worker.diagnosis.fingerprint import fingerprint
from watchdog_worker.diagnosis.rules import CPU_BOUND, SUSPENDED
from watchdog_worker.model import Diagnosis, Snapshot


def diagnose(snapshot: Snapshot) -> Diagnosis | None:
    """Who blocks the loop in this picture and why; None where its thread could not be read."""
    thread = snapshot.loop_thread
    if thread is None or not thread.frames:
        return None
    found = verdict.weigh(snapshot, thread)
    culprit, below = stack.split(found.frames) if found.frames else (None, ())
    if found.cause == SUSPENDED:
        culprit, below = None, ()
    innermost = (below[-1] if below else culprit) if found.frames else None
    call = words.call_of(found, culprit, below)
    nobody = found.cause == SUSPENDED or found.collected  # where it hit is chance
    function = None if nobody else stack.named_function(found.frames)
    named = None if nobody or found.cause == CPU_BOUND or found.busy else (
        words.called(culprit, below))
    if found.by_loop or found.keeper is not None:
        named = f"{'loop' if found.by_loop else 'thread'} {named or ''}"
    return Diagnosis(
        cause=found.cause,
        culprit=culprit,
        blocking_call=innermost,
        summary=words.summary(found, snapshot, thread, call),
        remedy=words.remedy(found),
        evidence=tuple(words.evidence(found, snapshot, thread, culprit)),
        waits_for=words.waits_for(found, thread),
        call=call if found.cause != SUSPENDED else None,
        fingerprint=fingerprint(found.cause, function, "gc" if found.collected else named),
    )
