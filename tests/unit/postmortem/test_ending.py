"""How a worker ended, and why: never more certain than the evidence."""

from __future__ import annotations

import pytest

from tests.unit.postmortem.given import ending, exited, killed_by, recording
from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.postmortem.ending import (
    Kills,
    MemoryKills,
    Used,
    status_from_halt,
    status_in_caller,
)
from watchdog_worker.postmortem.reason import judged, orderly
from watchdog_worker.vitals.layout import Pulse

CALM = Kills("cgroup", 2, 2)


@pytest.mark.parametrize("status", [killed_by("SIGTERM"), killed_by("SIGINT"),
                                    killed_by("SIGQUIT"), exited(0)])
def test_orderly_ends(status: int) -> None:
    """What gunicorn does to end a worker, and a worker that has drained."""
    assert orderly(ending(status), "shutdown")


@pytest.mark.parametrize("status, phase", [
    (exited(0), "serving"), (exited(0), "boot"), (exited(1), "shutdown"), (exited(7), "serving"),
    (killed_by("SIGKILL"), "shutdown"), (killed_by("SIGSEGV"), "startup"),
    (killed_by("SIGABRT"), "serving"), (killed_by("SIGHUP"), "serving"), (None, "serving"),
])
def test_ends_that_are_not(status: int | None, phase: str) -> None:
    """Requests may have been lost."""
    assert not orderly(ending(status), phase)


def test_what_gunicorn_struck_is_not_orderly_however_it_ended() -> None:
    """Its hook may have it exit with any status."""
    assert not orderly(ending(exited(0), struck=True), "shutdown")


@pytest.mark.parametrize("code", [3, 4])
def test_a_failed_boot_ends_gunicorn_which_tells_of_it(code: int) -> None:
    """While it serves, the same status is one like any other, except for what gunicorn makes of it.
    """
    assert orderly(ending(exited(code), stopping=True), "boot")
    assert orderly(ending(None, stopping=True), "startup")
    assert not orderly(ending(exited(code), stopping=True), "serving")
    assert not orderly(ending(None), "boot")
    reason, (evidence,) = judged(ending(exited(code), stopping=True), recording())
    assert reason == "exit" and "a boot that has failed" in evidence


def test_what_was_left_behind_in_order_is_not_told() -> None:
    """The arbiter was killed first, and the worker drained and left."""
    assert orderly(ending(None, left_behind=True), "left")
    assert not orderly(ending(None, left_behind=True), "shutdown")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS"])
def test_crashes(name: str) -> None:
    """Fatal signals, unless gunicorn has sent SIGABRT."""
    assert judged(ending(killed_by(name)), recording()) == ("crash", ())
    assert judged(ending(killed_by(name), struck=True), recording())[0] == "timeout"


def test_a_kill_without_evidence_for_memory_is_a_kill() -> None:
    """Also where nothing is known of memory at all, which is said."""
    reason, evidence = judged(ending(killed_by("SIGKILL"), kills=CALM), recording())
    assert reason == "killed"
    assert "kernel: it has counted no kill for memory" in evidence
    _, evidence = judged(ending(killed_by("SIGKILL")), recording())
    assert "kernel: it does not tell here whether it has killed for memory" in evidence


@pytest.mark.parametrize("where, told", [("cgroup", "cgroup: "), ("machine", "kernel: ")])
def test_a_kill_for_memory(where: str, told: str) -> None:
    """The kernel's own count has gone up since the monitor last looked."""
    reason, evidence = judged(
        ending(killed_by("SIGKILL"), kills=Kills(where, 2, 3), used=Used(0.0, 0, 2 ** 20)),
        recording(rss_bytes=2 ** 20, figures_at=999.0))
    assert reason == "oom_suspected"
    assert evidence[0].startswith(told)
    assert "1.0 s before the end it had 1 MiB resident" in evidence[1]
    assert "at its peak" in evidence[2]


def test_every_kill_for_memory_explains_one_death() -> None:
    """The next worker that is killed within the same second was killed by somebody else."""
    counts, seen = MemoryKills(), Pulse(group=7, group_oom_kills=2)
    now = Memory(group=7, group_oom_kills=4)
    assert [counts.since(seen, now).more for _ in range(3)] == [True, True, False]
    assert counts.since(seen, now._replace(group_oom_kills=5)).more


def test_counts_that_have_nothing_in_common() -> None:
    """Another group's, and the machine's where the group's are told."""
    seen = Pulse(group=7, group_oom_kills=2)
    assert MemoryKills().since(seen, Memory(group=8, group_oom_kills=9)) == Kills()
    machine = Pulse(machine_oom_kills=1)
    assert MemoryKills().since(machine, Memory(machine_oom_kills=2)).more
    assert MemoryKills().since(seen, Memory(group=7, machine_oom_kills=2)) == Kills()


def test_a_kill_while_all_are_ended() -> None:
    """It is gunicorn's own, at the end of graceful_timeout."""
    end = ending(killed_by("SIGKILL"), stopping=True)
    reason, evidence = judged(end, recording(phase="shutdown"))
    assert (reason, end.by_arbiter) == ("killed", True)
    assert "ending all workers" in evidence[0]


def test_an_end_that_nobody_saw() -> None:
    """Unknown, unless memory was nearly full at the last look, or was killed for."""
    alone = ending(None, left_behind=True)
    assert judged(alone, recording())[0] == "unknown"
    full = recording(rss_bytes=90, memory_bytes=95, memory_limit_bytes=100)
    assert judged(alone, full)[0] == "oom_suspected"
    assert judged(alone._replace(kills=Kills("cgroup", 1, 2)), recording())[0] == "oom_suspected"


def test_a_signal_that_has_no_name() -> None:
    """Real-time signals are told by their number."""
    assert ending(40).signal == "signal 40"
    assert judged(ending(40), recording())[0] == "killed"


def reap_workers(wpid: int, status: object, asked: int) -> int | None:
    return status_in_caller(asked)


def test_the_status_is_read_where_gunicorn_has_it() -> None:
    """Only for the worker that it is about, and only if it is one."""
    assert reap_workers(5, 9, 5) == 9
    assert reap_workers(5, 9, 6) is None
    assert reap_workers(5, "?", 5) is None
    assert status_in_caller(5) is None


def halt(reason: str, exit_status: int) -> int | None:
    return status_from_halt()


def test_the_status_for_which_gunicorn_ends_everything() -> None:
    """Of the worker about which no hook was called."""
    assert halt("Worker failed to boot.", 3) == exited(3)
    assert halt("", 0) is None
    assert status_from_halt() is None
