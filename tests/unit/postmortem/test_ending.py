"""How a worker ended, and why: never more certain than the evidence."""

from __future__ import annotations

import pytest

from tests.unit.postmortem.given import ending, exited, killed_by, recording
from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.postmortem.ending import judged, orderly, status_in_caller

CALM = Memory(group=7, group_oom_kills=2, machine_oom_kills=5)


@pytest.mark.parametrize("status", [killed_by("SIGTERM"), killed_by("SIGINT"),
                                    killed_by("SIGQUIT"), exited(0)])
def test_orderly_ends(status: int) -> None:
    """What gunicorn does to end a worker, and a worker that has drained."""
    assert orderly(ending(status), "shutdown")


@pytest.mark.parametrize("status, phase", [
    (exited(0), "serving"), (exited(1), "shutdown"), (exited(7), "serving"),
    (killed_by("SIGKILL"), "shutdown"), (killed_by("SIGSEGV"), "startup"),
    (killed_by("SIGABRT"), "serving"), (killed_by("SIGHUP"), "serving"), (None, "serving"),
])
def test_ends_that_are_not(status: int | None, phase: str) -> None:
    """Requests may have been lost."""
    assert not orderly(ending(status), phase)


def test_what_gunicorn_struck_is_not_orderly_however_it_ended() -> None:
    """Its hook may have it exit with any status."""
    assert not orderly(ending(exited(0), struck=True), "shutdown")


def test_a_failed_boot_ends_gunicorn_which_tells_of_it() -> None:
    """The hook is not called then; all that is known is that everything ends."""
    assert orderly(ending(None, stopping=True), "boot")
    assert not orderly(ending(None, stopping=True), "serving")
    assert not orderly(ending(None), "boot")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS"])
def test_crashes(name: str) -> None:
    """Fatal signals, unless gunicorn has sent SIGABRT."""
    assert judged(ending(killed_by(name)), recording(), CALM) == ("crash", ())
    assert judged(ending(killed_by(name), struck=True), recording(), CALM)[0] == "timeout"


def test_a_kill_without_evidence_for_memory_is_a_kill() -> None:
    """Also where nothing is known of memory at all, which is said."""
    found = recording(group=7, group_oom_kills=2, machine_oom_kills=5)
    reason, evidence = judged(ending(killed_by("SIGKILL")), found, CALM)
    assert reason == "killed"
    assert "kernel: it has counted no kill for memory" in evidence
    _, evidence = judged(ending(killed_by("SIGKILL")), found, Memory())
    assert "kernel: it does not tell here whether it has killed for memory" in evidence


@pytest.mark.parametrize("now, told", [
    (CALM._replace(group_oom_kills=3), "cgroup: "),
    (CALM._replace(machine_oom_kills=6), "kernel: "),
])
def test_a_kill_for_memory(now: Memory, told: str) -> None:
    """The kernel's own count has gone up since the monitor last looked."""
    found = recording(group=7, group_oom_kills=2, machine_oom_kills=5)
    reason, evidence = judged(ending(killed_by("SIGKILL")), found, now)
    assert reason == "oom_suspected"
    assert evidence[0].startswith(told)


def test_another_groups_count_says_nothing() -> None:
    """The worker may have been moved, or come from another container."""
    found = recording(group=8, group_oom_kills=0, machine_oom_kills=5)
    assert judged(ending(killed_by("SIGKILL")), found, CALM)[0] == "killed"


def test_a_kill_while_all_are_ended() -> None:
    """It is gunicorn's own, at the end of graceful_timeout."""
    reason, evidence = judged(
        ending(killed_by("SIGKILL"), stopping=True), recording(phase="shutdown"), Memory())
    assert reason == "killed"
    assert "ending all workers" in evidence[0]


def test_an_end_that_nobody_saw() -> None:
    """Unknown, unless memory was nearly full at the last look."""
    alone = ending(None, left_behind=True)
    assert judged(alone, recording(), Memory())[0] == "unknown"
    full = recording(rss_bytes=90, memory_bytes=95, memory_limit_bytes=100)
    assert judged(alone, full, Memory())[0] == "oom_suspected"


def test_a_signal_that_has_no_name() -> None:
    """Real-time signals are told by their number."""
    assert ending(40).signal == "signal 40"
    assert judged(ending(40), recording(), CALM)[0] == "killed"


def reap_workers(wpid: int, status: object, asked: int) -> int | None:
    return status_in_caller(asked)


def test_the_status_is_read_where_gunicorn_has_it() -> None:
    """Only for the worker that it is about, and only if it is one."""
    assert reap_workers(5, 9, 5) == 9
    assert reap_workers(5, 9, 6) is None
    assert reap_workers(5, "?", 5) is None
    assert status_in_caller(5) is None
