"""The dead man's switch: pushed ahead rarely, never near a deadline that the monitor sees to."""

from __future__ import annotations

import faulthandler
import os
import threading
from pathlib import Path

import pytest

from watchdog_worker import rawstacks
from watchdog_worker.rawstacks import RawStacks
from watchdog_worker.vitals import layout

TIMER = b'Timeout (0:00:09)!\nThread 0x1 (most recent call first):\n  File "a.py", line 1 in a\n'
FATAL = b"Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n"
ABORTED = b"Fatal Python error: Aborted\n\n"


class Switch:
    """faulthandler's side, which notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed_for: list[float] = []
        self.cancelled = 0
        self.enabled: list[bool] = []
        self.disabled: list[bool] = []
        self.is_enabled = True
        monkeypatch.setattr(
            faulthandler, "dump_traceback_later",
            lambda seconds, file: self.armed_for.append(seconds))
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", self._cancel)
        monkeypatch.setattr(
            faulthandler, "enable", lambda file, all_threads=True: self.enabled.append(all_threads))
        monkeypatch.setattr(faulthandler, "disable", lambda: self.disabled.append(True))
        monkeypatch.setattr(faulthandler, "is_enabled", lambda: self.is_enabled)

    def _cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    return Switch(monkeypatch)


@pytest.fixture
def fd(tmp_path: Path) -> int:
    number = os.open(tmp_path / "recorder", os.O_RDWR | os.O_CREAT)
    os.ftruncate(number, layout.SIZE)
    return number


def due(raw: RawStacks) -> float:
    """When it is due; 0: never."""
    return raw.due or 0.0


def test_a_healthy_worker_arms_it_twice_a_timeout(switch: Switch, fd: int) -> None:
    """Looks every second, a deadline that moves on with every beat: each arming costs a thread."""
    raw = RawStacks(fd, margin=5.0)
    for now in range(300):
        raw.tend(now, now + 29.6)
        assert due(raw) > now + 10  # never near
    assert 300 / 30 < len(switch.armed_for) < 3 * 300 / 30
    assert all(seconds == pytest.approx(29.6 - 2.5) for seconds in switch.armed_for)


def test_a_silent_loop_with_a_monitor_that_runs(switch: Switch, fd: int) -> None:
    """It is left at the second half of the margin, and disarmed when the monitor speaks."""
    raw = RawStacks(fd, margin=5.0)
    for now in range(0, 26):
        raw.tend(now, 30.0)
    assert due(raw) == 27.5
    raw.rest(30.0)
    assert (due(raw), switch.cancelled) == (0.0, 1)
    raw.tend(26.0, 30.0)
    assert not due(raw)  # it has been told
    raw.tend(27.0, 57.0)
    assert due(raw) == 54.5  # the loop lives again


def test_once_the_monitor_has_spoken_a_signal_shows_its_own_thread_alone(
    switch: Switch, fd: int
) -> None:
    """Python runs, and the stack of a thread that runs cannot be read in C; until the loop lives
    again."""
    raw = RawStacks(fd, margin=5.0)
    raw.take(preloaded=True)
    raw.tend(24.0, 30.0)
    assert switch.enabled == [True]
    raw.rest(30.0)
    raw.tend(29.0, 30.0)
    assert switch.enabled == [True, False]
    raw.tend(31.0, 61.0)
    assert switch.enabled == [True, False, True]


def test_no_deadline_no_timer(switch: Switch, fd: int) -> None:
    """Before the worker serves, and with timeout = 0; one that is armed is taken back."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, None)
    assert switch.armed_for == []
    raw.tend(1.0, 10.0)
    raw.tend(2.0, None)
    assert (due(raw), switch.cancelled) == (0.0, 1)


def test_a_deadline_that_has_passed_arms_nothing(switch: Switch, fd: int) -> None:
    """faulthandler would refuse it."""
    RawStacks(fd, margin=1.0).tend(10.0, 10.2)
    assert switch.armed_for == []


def kept(raw: RawStacks, fd: int) -> bytes:
    """What a reader begins with."""
    return os.pread(fd, 2 ** 20, raw.began)


def written(fd: int, text: bytes) -> None:
    """Where faulthandler goes on writing."""
    os.lseek(fd, 0, os.SEEK_END)
    os.write(fd, text)


def test_what_was_written_too_early_is_forgotten(switch: Switch, fd: int) -> None:
    """A process that was held up and lives on has nothing to tell of it in its post-mortem."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, 10.0)
    written(fd, TIMER)
    raw.tend(20.0, 30.0)
    assert kept(raw, fd) == b""
    written(fd, FATAL)
    assert kept(raw, fd) == FATAL


@pytest.mark.parametrize("begun", [FATAL, FATAL[:40], b"Fatal Py"])
def test_the_stacks_of_a_signal_are_not_forgotten_with_the_timers(
    switch: Switch, fd: int, begun: bytes
) -> None:
    """It may have come at any moment, and be being written."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, 10.0)
    written(fd, TIMER + begun)
    raw.tend(20.0, 30.0)
    written(fd, FATAL[len(begun):])
    assert FATAL in kept(raw, fd)


def test_a_signal_in_the_very_moment_of_forgetting(
    switch: Switch, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the look at the text stays, whatever follows from that."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, 10.0)
    written(fd, TIMER)
    pread = os.pread

    def signal_after(*arguments: int) -> bytes:
        monkeypatch.setattr(os, "pread", pread)
        text = pread(*arguments)
        written(fd, FATAL)
        return text

    monkeypatch.setattr(os, "pread", signal_after)
    raw.tend(20.0, 30.0)
    assert kept(raw, fd) == FATAL


def test_what_did_not_end_us_is_forgotten_the_next_time(switch: Switch, fd: int) -> None:
    """A child that was forked in C has died of a signal and written here; we live."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, 10.0)
    written(fd, FATAL)
    raw.tend(20.0, 30.0)
    assert kept(raw, fd) == FATAL
    raw.tend(40.0, 50.0)
    assert kept(raw, fd) == b""


def test_a_false_alarm_is_forgotten_and_not_what_follows_it(switch: Switch, fd: int) -> None:
    """As far as it was looked at."""
    raw = RawStacks(fd, margin=1.0)
    written(fd, ABORTED)
    assert raw.aborted is True
    written(fd, FATAL)
    raw.forget()
    assert kept(raw, fd) == FATAL


def test_what_is_forgotten_takes_no_memory(switch: Switch, fd: int) -> None:
    """A worker that is held up again and again; what has not been forgotten does not move."""
    raw = RawStacks(fd, margin=1.0)
    for now in range(0, 2000, 20):
        written(fd, TIMER * 1000)
        raw.tend(now, now + 10.0)
    written(fd, FATAL)
    os.fsync(fd)
    assert kept(raw, fd) == FATAL
    assert os.fstat(fd).st_size > layout.RAW_AT + 2 ** 20
    assert os.fstat(fd).st_blocks * 512 < 64 * 1024


def test_the_file_does_not_grow_for_ever(switch: Switch, fd: int) -> None:
    """Nobody would read a recorder of any size."""
    raw = RawStacks(fd, margin=1.0)
    os.ftruncate(fd, layout.RAW_AT + 40 * 2 ** 20)
    written(fd, TIMER)
    raw.tend(0.0, 10.0)
    raw.tend(20.0, 30.0)
    assert switch.armed_for == [9.5]


def test_with_many_threads_the_fatal_signal_has_one_stack(
    switch: Switch, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's would be cut off from the list of all."""
    raw = RawStacks(fd, margin=1.0)
    raw.take(preloaded=False)
    monkeypatch.setattr(threading, "_active", dict.fromkeys(range(120)))
    raw.tend(0.0, 10.0)
    raw.tend(1.0, 11.0)
    monkeypatch.setattr(threading, "_active", dict.fromkeys(range(20)))
    raw.tend(2.0, 12.0)
    assert switch.enabled == [True, False, True]


def test_it_is_disarmed_over_a_fork(switch: Switch, fd: int) -> None:
    """A child would wait for the timer's thread for ever, and the monitor may not come between."""
    raw = RawStacks(fd, margin=1.0)
    raw.tend(0.0, 10.0)
    raw.before_fork()
    assert (due(raw), switch.cancelled) == (0.0, 1)
    arming = threading.Thread(target=raw.tend, args=(1.0, 11.0), daemon=True)
    arming.start()
    arming.join(0.05)
    assert len(switch.armed_for) == 1
    raw.in_parent()
    arming.join(10.0)
    assert len(switch.armed_for) == 2


@pytest.mark.parametrize("is_enabled, caught, preloaded, enabled, disabled", [
    (False, False, False, 1, 0),  # the usual case
    (False, True, True, 0, 0),  # a library that lives on SIGSEGV has been imported
    (True, True, False, 1, 1),  # PYTHONFAULTHANDLER: gunicorn has reset SIGABRT since
    (True, True, True, 1, 0),  # the same, and who stands on it is not known
])
def test_nobodys_handlers_are_taken_away(
    switch: Switch, fd: int, monkeypatch: pytest.MonkeyPatch,
    is_enabled: bool, caught: bool, preloaded: bool, enabled: int, disabled: int,
) -> None:
    """Handlers in C that are there before are left alone."""
    switch.is_enabled = is_enabled
    monkeypatch.setattr("watchdog_worker.rawstacks._caught_in_c", lambda: caught)
    RawStacks(fd, margin=1.0).take(preloaded)
    assert (len(switch.enabled), len(switch.disabled)) == (enabled, disabled)


def test_it_is_taken_back_without_touching_a_handler(switch: Switch, fd: int) -> None:
    """Where the application has it write elsewhere; not where it has switched it off."""
    raw = RawStacks(fd, margin=1.0)
    raw.take(preloaded=False)
    before = len(switch.disabled)
    raw.retake()
    assert len(switch.enabled) == 2
    switch.is_enabled = False
    raw.retake()
    assert (len(switch.enabled), len(switch.disabled)) == (2, before)


def test_whether_a_signal_is_caught_is_asked_of_the_kernel() -> None:
    """pytest's own faulthandler has them."""
    assert rawstacks._caught_in_c()
