"""What is told of a death, from a recording that holds this or that."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.postmortem.given import NOW, ending, exited, killed_by, recording
from tests.unit.reports import pre_kill
from watchdog_worker.capture.cgroup import Memory
from watchdog_worker.model import Report
from watchdog_worker.postmortem import autopsy
from watchdog_worker.render.text import text
from watchdog_worker.vitals.recording import KeptReport, KeptRequest

GOLDEN = Path(__file__).parents[2] / "golden" / "deaths"
PAY = KeptRequest(5, NOW - 6, "GET", "/pay%20now", {"client": "10.0.0.1:5", "headers": {"a": "b"}})
OTHER = KeptRequest(4, NOW - 9, "POST", "/slow", {})
SOCKET = KeptRequest(3, NOW - 90, "websocket", "/ws", {})
STACK = """
Thread 0x0000000000000020 (most recent call first):
  File "/srv/venv/site-packages/waiting.py", line 327 in wait
  File "/srv/shop/pool.py", line 4 in work
  File "/srv/venv/site-packages/waiting.py", line 1002 in _bootstrap

{} 0x0000000000000010 (most recent call first):
  File "/srv/shop/main.py", line 7 in pay
  File "/srv/shop/main.py", line 8 in <module>
"""
TIMER = "Timeout (0:00:01.750000)!" + STACK.format("Thread")
FATAL = "Fatal Python error: Segmentation fault\n" + STACK.format("Current thread")
SILENT: dict[str, Any] = {
    "at": NOW - 5.5, "last_sign": NOW - 6, "last_beat": NOW - 6, "last_notify": NOW - 6}


def kept(report: Report, number: int = 1, delivered: bool = True,
         silent_since: float = NOW - 6) -> KeptReport:
    packed = zlib.compress(json.dumps(report.to_dict()).encode())
    return KeptReport(number, delivered, NOW - 1, silent_since, packed)


def told() -> Report:
    return pre_kill()._replace(pid=77)


CASES: dict[str, tuple[Any, Any]] = {
    "crash": (recording(requests=(PAY,), raw=FATAL), ending(killed_by("SIGSEGV"))),
    "gil_held": (recording(**SILENT, requests=(PAY,), raw=TIMER, cpu_s=1.0),
                 ending(killed_by("SIGABRT"), struck=True, cpu_s=6.4)),
    "stopped": (recording(**SILENT, requests=(OTHER, PAY), cpu_s=1.0),
                ending(killed_by("SIGKILL"), struck=True, cpu_s=1.0)),
    "told_before": (recording(**{**SILENT, "at": NOW - 0.1}, requests=(OTHER, PAY),
                              reports=(kept(told()),)),
                    ending(killed_by("SIGABRT"), struck=True)),
    "oom": (recording(requests=(SOCKET, OTHER, PAY), rss_bytes=480 * 2 ** 20, group=7,
                      group_oom_kills=0, memory_limit_bytes=2 ** 29,
                      memory_bytes=505 * 2 ** 20), ending(killed_by("SIGKILL"))),
    "killed": (recording(requests=(PAY,)), ending(killed_by("SIGKILL"))),
    "exit": (recording(), ending(exited(7))),
    "left_behind": (recording(requests=(PAY,)), ending(None, left_behind=True)),
}


def examined(name: str) -> Report:
    found, end = CASES[name]
    group = Memory(group=7, group_oom_kills=1) if name == "oom" else Memory()
    return autopsy.examined(found, end, group)


@pytest.mark.parametrize("name", CASES)
def test_the_page_of_every_death(name: str) -> None:
    """As it is printed; WATCHDOG_GOLDEN=write writes it anew."""
    page, file = text(examined(name)) + "\n", GOLDEN / f"{name}.txt"
    if os.environ.get("WATCHDOG_GOLDEN") == "write":
        file.write_text(page)
    assert page == file.read_text()


def test_a_request_is_told_as_it_was() -> None:
    """Its path unquoted, its age at the moment of death, and what was written of it later."""
    (request,) = examined("killed").snapshot.requests
    assert (request.id, request.path, request.method, request.age_s, request.client,
            request.headers) == (5, "/pay now", "GET", 6.0, "10.0.0.1:5", {"a": "b"})


def test_one_request_alone_is_to_blame_and_of_several_none() -> None:
    """Which of several was running is in no stack that C writes."""
    assert examined("gil_held").snapshot.requests[0].blocking
    found, end = CASES["gil_held"]
    several = autopsy.examined(found._replace(requests=(OTHER, PAY)), end, Memory())
    assert not any(request.blocking for request in several.snapshot.requests)


def test_what_was_told_of_the_same_silence_is_what_is_known() -> None:
    """The cause, the line and the request come from the worker's own report."""
    report = examined("told_before")
    assert report.diagnosis is not None and told().diagnosis is not None
    assert report.diagnosis.cause == told().diagnosis.cause  # type: ignore[union-attr]
    assert report.snapshot.threads


def test_what_was_told_of_another_silence_is_not() -> None:
    """It ended, and another began."""
    found, end = CASES["told_before"]
    earlier = found._replace(reports=(kept(told(), silent_since=NOW - 60),))
    report = autopsy.examined(earlier, end, Memory())
    assert report.diagnosis is not None and report.diagnosis.cause == "unknown"


def test_what_the_log_has_not_got_is_delivered_in_its_order() -> None:
    """And nothing else: not what has arrived, is damaged, or is from another process."""
    first, second, third = kept(told(), 1, False), kept(told(), 2, True), kept(told(), 3, False)
    damaged = KeptReport(4, False, NOW, 0.0, b"no zlib")
    foreign = kept(told()._replace(pid=78), 5, False)
    found = recording(reports=(first, second, third, damaged, foreign))
    assert len(autopsy.undelivered(found)) == 2


def test_the_ages_of_what_was_left_behind_end_with_its_last_trace() -> None:
    """Nobody knows when it died, and it was not when it was found."""
    report = autopsy.examined(*CASES["left_behind"], Memory())
    assert report.death is not None
    assert report.death.last_beat_age_s == 0.0
    assert report.snapshot.requests[0].age_s == pytest.approx(5.7)


def test_more_frames_than_the_loops_thread_had_room_for() -> None:
    """A dump of one thread is the loop's, if it does not begin as threads do."""
    alone = ("Fatal Python error: Aborted\n\nStack (most recent call first):\n"
             '  File "/srv/shop/main.py", line 7 in pay\n  File "/x.py", line 1 in <module>\n')
    report = autopsy.examined(
        recording(raw=alone), ending(killed_by("SIGABRT")), Memory())
    assert report.snapshot.threads[0].loop
    thread = alone.replace("in <module>", "in _bootstrap")
    report = autopsy.examined(
        recording(raw=thread), ending(killed_by("SIGABRT")), Memory())
    assert not report.snapshot.threads[0].loop
