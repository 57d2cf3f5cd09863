"""Why a whole process did not run. Pure."""

from __future__ import annotations

from watchdog_worker.diagnosis import rules
from watchdog_worker.diagnosis.fingerprint import fingerprint
from watchdog_worker.diagnosis.remedies import advice
from watchdog_worker.model import Diagnosis, Snapshot


def explain(snapshot: Snapshot, paused_s: float) -> Diagnosis:
    """What is known of such a pause after it is over."""
    evidence = [f"monitor: it woke {paused_s:.2f} s late and hardly ever asked for the GIL; "
                "the process used less than a tenth of that in CPU time"]
    figures = snapshot.process.cgroup if snapshot.process is not None else None
    throttled = {name: value for name, value in (figures or {}).items()
                 if name in ("cpu_nr_throttled", "cpu_throttled_usec") and value}
    if throttled:
        evidence.append("cgroup: " + ", ".join(
            f"{name} {value} since it began" for name, value in throttled.items()))
    return Diagnosis(
        cause=rules.SUSPENDED,
        summary=(f"nothing of this process ran for {paused_s:.1f} s: it was stopped, throttled or "
                 "starved, and the loop is not to blame"),
        remedy=advice(rules.SUSPENDED, None, None, collected=False, in_thread=False),
        evidence=tuple(evidence),
        fingerprint=fingerprint(rules.SUSPENDED, None, None),
    )
