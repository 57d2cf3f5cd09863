"""What a recorder and the kernel say of a worker."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit import reports
from tests.unit.recorders import Made
from watchdog_worker import census
from watchdog_worker.census import Kernel, OldestRequest, WorkerState, state
from watchdog_worker.model import Diagnosis, Report
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.recorder import started_at
from watchdog_worker.vitals.recording import Recording, load

NOW = 10_000.0
HANDLING = ", handling POST " + next(
    request.path for request in reports.pre_kill().snapshot.requests if request.blocking)
SLEEPS = Kernel("S", 2 ** 20)

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/locks"), reason="this platform has no /proc")


def loaded(made: Made) -> Recording:
    return load(made.file.fd)


def seen(
    made: Made, kernel: Kernel = SLEEPS, held: bool = True, now: float = NOW
) -> WorkerState:
    return state(loaded(made)._replace(booted=NOW - 600.0), held, kernel, now)


def told(made: Made, report: Report, silent_since: float) -> None:
    made.recorder.outbox.put(json.dumps(report.to_dict()).encode(), silent_since)


def because(cause: str | None, call: str | None = None, event: str = "stall") -> Report:
    return reports.pre_kill()._replace(
        event=event, diagnosis=Diagnosis(cause, reports.CHARGE, call=call))


def test_a_healthy_worker(tmp_path: Path) -> None:
    """It serves, its next beat is not due yet, and nothing is said that does not apply."""
    made = Made(tmp_path).serve(NOW - 0.2)
    made.request(7, NOW - 0.1, b"GET", b"/cart")
    worker = seen(made)
    assert worker == WorkerState(
        pid=os.getpid(), arbiter_pid=os.getpid(), age=3, app="shop:app", phase="serving",
        alive=True, held=True, orphaned=False, lag_s=0.0, blocked_s=None, booting_s=None,
        gil_held=False, stopped=False, blocked_by=None, in_flight=1,
        oldest_request=OldestRequest("GET", "/cart", 0.1),
        rss_bytes=2 ** 20, timeout_s=30.0, kill_in_s=29.8, uptime_s=600.0,
        versions="watchdog-worker 1")
    assert "blocked_s" not in census.to_dict(worker)
    assert census.to_dict(worker)["gil_held"] is False


def test_a_blocked_worker(tmp_path: Path) -> None:
    """It has been silent since its last sign; what the report of this silence says, blocks it."""
    made = Made(tmp_path).serve(NOW - 12.5, looked=NOW - 0.5)
    told(made, because("sleep", "time.sleep"), NOW - 12.5)
    worker = seen(made)
    assert worker.lag_s == 12.0
    assert worker.blocked_s == 12.5
    assert worker.kill_in_s == 17.5
    assert worker.gil_held is False
    assert worker.blocked_by == "time.sleep at /srv/shop/pay.py:7 charge" + HANDLING


def test_a_request_that_came_is_a_sign_of_life(tmp_path: Path) -> None:
    """The silence begins with it, though the beat before it is older."""
    made = Made(tmp_path).serve(NOW - 12.5)
    made.request(1, NOW - 12.2, b"GET", b"/")
    assert seen(made).blocked_s == 12.2


@pytest.mark.parametrize("threshold, silent_s, blocked", [
    (1.0, 0.9, False), (1.0, 1.1, True), (3.0, 2.9, False), (0.0, 0.9, False), (0.0, 1.1, True)])
def test_what_is_blocked(
    tmp_path: Path, threshold: float, silent_s: float, blocked: bool
) -> None:
    """Silent for longer than the threshold, or than a second where that is switched off."""
    made = Made(tmp_path, stall_threshold=threshold).serve(NOW - silent_s)
    assert (seen(made).blocked_s is not None) is blocked


@pytest.mark.parametrize("phase, threshold, booting_s", [
    ("boot", 45.0, 60.0), ("startup", 45.0, 60.0), ("startup", 61.0, None), ("boot", 0.0, None),
    ("serving", 45.0, None), ("shutdown", 45.0, None)])
def test_a_boot_that_takes_too_long(
    tmp_path: Path, phase: str, threshold: float, booting_s: float | None
) -> None:
    """Longer than its threshold; 0 means that it may take any time."""
    made = Made(tmp_path, startup_threshold=threshold)
    made.recorder.phase(phase, NOW - 59.0)
    assert state(loaded(made)._replace(booted=NOW - 60.0), True, SLEEPS, NOW).booting_s == booting_s
    dead = state(loaded(made)._replace(booted=NOW - 60.0), True, Kernel("X"), NOW)
    assert dead.booting_s is None


@pytest.mark.parametrize("looked_ago, kernel, held", [
    (0.4, SLEEPS, False),
    (2.0, SLEEPS, None),
    (3.1, SLEEPS, True),
    (3.1, Kernel("R"), True),
    (3.1, Kernel(), None),
    (3.1, Kernel("T"), False),
    (0.4, Kernel(), False),
    (8.1, SLEEPS, None),
])
def test_the_gil_is_held(
    tmp_path: Path, looked_ago: float, kernel: Kernel, held: bool | None
) -> None:
    """The monitor fell silent with the loop, for no other reason that the kernel would show."""
    made = Made(tmp_path).serve(NOW - 5.0, looked=NOW - looked_ago)
    assert seen(made, kernel).gil_held is held


def test_a_monitor_that_never_looked(tmp_path: Path) -> None:
    """Nobody knows of the GIL then."""
    made = Made(tmp_path).serve(NOW - 5.0)
    made.pulse(0.0, last_sign=0.0)
    assert seen(made).gil_held is None


@pytest.mark.parametrize("letter, stopped", [("T", True), ("t", True), ("S", False), ("D", False)])
def test_a_stopped_worker(tmp_path: Path, letter: str, stopped: bool) -> None:
    """The kernel says so, also before it has been silent for long."""
    assert seen(Made(tmp_path).serve(NOW), Kernel(letter)).stopped is stopped


def test_before_the_worker_has_come(tmp_path: Path) -> None:
    """The arbiter has made the file and not forked yet: it boots, and has no pid."""
    worker = seen(Made(tmp_path))
    assert (worker.pid, worker.phase, worker.alive) == (0, "boot", True)
    assert (worker.lag_s, worker.blocked_s, worker.uptime_s, worker.gil_held) == (None,) * 4


@pytest.mark.parametrize("phase", ["boot", "startup"])
def test_a_booting_worker(tmp_path: Path, phase: str) -> None:
    """Before its loop runs it is not blocked, however long it takes, and will not be killed."""
    made = Made(tmp_path)
    made.recorder.phase(phase, NOW - 500.0)
    made.pulse(NOW - 0.5, last_sign=0.0)
    worker = seen(made)
    assert (worker.phase, worker.lag_s, worker.blocked_s) == (phase, None, None)
    assert worker.kill_in_s is None


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_a_lifespan_that_blocks(tmp_path: Path, phase: str) -> None:
    """A loop that has run and has fallen silent is blocked, also before and after serving."""
    made = Made(tmp_path).serve(NOW - 5.0)
    made.recorder.phase(phase, NOW - 5.0)
    assert seen(made).blocked_s == 5.0


def test_no_timeout(tmp_path: Path) -> None:
    """The arbiter will never kill."""
    worker = seen(Made(tmp_path, timeout=0.0).serve(NOW - 5.0))
    assert (worker.timeout_s, worker.kill_in_s) == (0.0, None)


@pytest.mark.parametrize("kernel, held", [
    (Kernel("Z"), True), (Kernel("X"), True), (SLEEPS, False), (Kernel(), False)])
def test_a_dead_worker(tmp_path: Path, kernel: Kernel, held: bool) -> None:
    """A zombie, one that has gone, or a recorder that nobody holds: all as of its last trace."""
    made = Made(tmp_path).serve(NOW - 300.0)
    made.request(1, NOW - 307.0, b"GET", b"/pay")
    recording = loaded(made)._replace(booted=NOW - 1_300.0, made=NOW - 1_301.0)
    worker = state(recording, held, kernel, NOW)
    assert (worker.alive, worker.held) == (False, held)
    assert (worker.lag_s, worker.blocked_s, worker.kill_in_s, worker.gil_held) == (None,) * 4
    assert worker.oldest_request == OldestRequest("GET", "/pay", 7.0)
    assert worker.uptime_s == 1000.0


def test_the_lock_is_trusted_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    """As in another container, whose processes are not to be seen."""
    assert seen(Made(tmp_path).serve(NOW), Kernel()).alive


def test_memory_as_the_monitor_saw_it(tmp_path: Path) -> None:
    """Where the kernel does not tell."""
    made = Made(tmp_path).serve(NOW)
    assert seen(made, Kernel("S")).rss_bytes is None
    made.pulse(NOW, NOW, rss_bytes=4711)
    assert seen(made, Kernel("S")).rss_bytes == 4711
    assert seen(made, Kernel("S", 99)).rss_bytes == 99


def test_the_oldest_request(tmp_path: Path) -> None:
    """A WebSocket stays open on purpose: it is the oldest only where there is nothing else."""
    made = Made(tmp_path).serve(NOW)
    made.request(1, NOW - 900.0, b"websocket", b"/live")
    assert seen(made).oldest_request == OldestRequest("websocket", "/live", 900.0)
    made.request(2, NOW - 1.0, b"GET", b"/b")
    made.request(3, NOW - 2.0, b"GET", b"/a")
    worker = seen(made)
    assert worker.oldest_request == OldestRequest("GET", "/a", 2.0)
    assert worker.in_flight == 3


@pytest.mark.parametrize("report, words", [
    (because("sleep", "time.sleep"), "time.sleep at /srv/shop/pay.py:7 charge" + HANDLING),
    (because("cpu_bound", event="pre_kill"), "cpu_bound at /srv/shop/pay.py:7 charge" + HANDLING),
    (because("unknown"), "/srv/shop/pay.py:7 charge" + HANDLING),
    (because("suspended", "time.sleep"), None),
    (because("sleep", "time.sleep", event="stall_ended"), None),
    (because("sleep", "time.sleep")._replace(diagnosis=None), None),
    (because("lock")._replace(diagnosis=Diagnosis("lock", None, reports.WAIT)),
     "lock at /lib/threading.py:327 wait" + HANDLING),
    (because("lock")._replace(diagnosis=Diagnosis("lock", call="Lock.acquire")),
     "Lock.acquire" + HANDLING),
    (because("lock")._replace(diagnosis=Diagnosis()), None),
])
def test_what_blocks(tmp_path: Path, report: Report, words: str | None) -> None:
    """What a report of a block says; one of something else blames nothing."""
    made = Made(tmp_path).serve(NOW - 5.0, looked=NOW)
    told(made, report, NOW - 5.0)
    assert seen(made).blocked_by == words


@pytest.mark.parametrize("since", [0.0, NOW - 60.0, NOW - 5.1])
def test_a_report_of_another_silence(tmp_path: Path, since: float) -> None:
    """It says nothing about this one."""
    made = Made(tmp_path).serve(NOW - 5.0, looked=NOW)
    told(made, because("sleep", "time.sleep"), since)
    worker = seen(made)
    assert (worker.blocked_s, worker.blocked_by) == (5.0, None)


def test_the_newest_report_of_this_silence(tmp_path: Path) -> None:
    """The `pre_kill` knows more than the `stall` before it; one that nobody can read is passed."""
    made = Made(tmp_path).serve(NOW - 5.0, looked=NOW)
    told(made, because("sleep", "time.sleep"), NOW - 5.0)
    told(made, because("lock", "Lock.acquire", event="pre_kill"), NOW - 5.0)
    made.recorder.outbox.put(b"no JSON", NOW - 5.0)
    made.recorder.outbox.put(b'{"schema": 1}', NOW - 5.0)
    assert seen(made).blocked_by == "Lock.acquire at /srv/shop/pay.py:7 charge" + HANDLING


def test_a_worker_that_is_free_again(tmp_path: Path) -> None:
    """What blocked it before is not told."""
    made = Made(tmp_path).serve(NOW - 0.2)
    told(made, because("sleep", "time.sleep"), NOW - 0.2)
    assert seen(made).blocked_by is None


def test_signs_from_the_future(tmp_path: Path) -> None:
    """They are read a moment after `now` was, or are garbage: nothing becomes negative."""
    made = Made(tmp_path).serve(NOW + 5.0)
    made.request(1, NOW + 5.0, b"GET", b"/")
    worker = seen(made)
    assert (worker.lag_s, worker.blocked_s) == (0.0, None)
    assert worker.oldest_request == OldestRequest("GET", "/", 0.0)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_garbage(tmp_path: Path, seed: int, held: bool) -> None:
    """Whatever a recorder holds, it is told without an error, and every number is one."""
    made, chance = Made(tmp_path).serve(NOW), random.Random(seed)
    for at, size in ((20, 490), (512, 512), (1024, 1024), (2048, 2048), (4096, 131_328),
                     (139_264, 163_840)):
        if chance.random() < 0.8:
            made.overwrite(at, chance.randbytes(size))
    if chance.random() < 0.5:
        made.overwrite(layout.PHASE_AT, b"\2")
    worker = seen(made, Kernel("S"), held)
    assert worker.phase in layout.PHASES
    json.dumps(census.to_dict(worker), allow_nan=False)


@needs_proc
def test_a_worker_is_asked_about_by_pid_and_start(tmp_path: Path) -> None:
    """The kernel says what it does and what memory it has."""
    made = Made(tmp_path).serve(NOW)
    kernel = census.asked(loaded(made), str(made.path))
    assert kernel.state in ("R", "S")
    assert kernel.rss_bytes is not None and kernel.rss_bytes > 2 ** 20


def ended() -> int:
    """The pid of a process that has ended and has been waited for."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as done:
        done.wait()
    return done.pid


def no_pid() -> int:
    return 0


@needs_proc
@pytest.mark.parametrize("pid", [ended, os.getpid])
def test_a_worker_that_has_gone(tmp_path: Path, pid: Callable[[], int]) -> None:
    """Its arbiter still holds the lock; its pid is nobody's, or another process's by now."""
    made = Made(tmp_path).serve(NOW)
    made.boots_as(pid(), started_at(os.getpid()) + 1)
    (worker,) = census.census([str(tmp_path)])
    assert (worker.held, worker.alive) == (True, False)


@needs_proc
@pytest.mark.parametrize("pid", [ended, os.getpid])
def test_a_worker_of_another_container(tmp_path: Path, pid: Callable[[], int]) -> None:
    """The kernel knows its arbiter by another pid: pids say nothing, the lock is trusted."""
    made = Made(tmp_path).serve(NOW)
    made.boots_as(pid(), started_at(os.getpid()) + 1)
    made.overwrite(16, os.getppid().to_bytes(8, "little"))
    (worker,) = census.census([str(tmp_path)])
    assert (worker.arbiter_pid, worker.held, worker.alive) == (os.getppid(), True, True)
    assert census.asked(loaded(made), str(made.path)) == Kernel()


@pytest.mark.parametrize("pid", [no_pid, lambda: 2 ** 52])
def test_a_pid_that_nobody_has(tmp_path: Path, pid: Callable[[], int]) -> None:
    """There is nobody to be asked about."""
    made = Made(tmp_path).serve(NOW)
    made.boots_as(pid(), 1)
    made.overwrite(16, bytes(8))
    assert census.asked(loaded(made), str(made.path)) == Kernel()


def test_the_order(tmp_path: Path) -> None:
    """By arbiter, then by ordinal; a folder that is given twice is read once."""
    (tmp_path / "link").symlink_to(tmp_path)
    kept = [Made(tmp_path, age=age) for age in (9, 2, 11)]
    kept[2].overwrite(16, (1).to_bytes(8, "little"))
    workers = census.census([str(tmp_path), str(tmp_path / "link"), f"{tmp_path}/."])
    assert [worker.age for worker in workers] == [11, 2, 9]
    assert workers[1].path == str(kept[1].path)
    assert workers[1].owner == os.geteuid()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is an error, and no empty list."""
    with pytest.raises(FileNotFoundError):
        census.census([str(tmp_path / "none")])
    with pytest.raises(FileNotFoundError):
        census.unread([str(tmp_path / "none")])


def test_what_cannot_be_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders of other users and of other versions are counted, what is none is not."""
    kept = [Made(tmp_path) for _ in range(4)]
    kept[0].overwrite(8, (layout.VERSION + 1).to_bytes(2, "little"))
    (tmp_path / f"{layout.PREFIX}x{layout.SUFFIX}").mkdir()
    (tmp_path / "other").write_bytes(bytes(layout.SIZE))
    really = os.open

    def opens(path: str, *arguments: Any, **named: Any) -> int:
        if path in (str(kept[1].path), str(kept[2].path)):
            raise PermissionError
        return really(path, *arguments, **named)

    monkeypatch.setattr(os, "open", opens)
    assert census.unread([str(tmp_path)]) == census.Unread(denied=2, foreign=1)
    assert [worker.path for worker in census.census([str(tmp_path)])] == [str(kept[3].path)]


@pytest.mark.parametrize("parent, orphaned", [
    ("nobody", False), ("arbiter", False), ("init", True)])
def test_a_worker_whose_arbiter_has_gone(
    tmp_path: Path, parent: str, orphaned: bool
) -> None:
    """Another process is its parent now; where that is not told, nothing is said."""
    pids = {"nobody": None, "arbiter": os.getpid(), "init": 1}
    worker = seen(Made(tmp_path).serve(NOW), Kernel("S", None, pids[parent]))
    assert worker.orphaned is orphaned
