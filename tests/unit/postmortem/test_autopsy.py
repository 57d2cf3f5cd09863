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
from watchdog_worker.model import Report
from watchdog_worker.postmortem import autopsy
from watchdog_worker.postmortem.caps import Caps
from watchdog_worker.postmortem.ending import Kills, Used
from watchdog_worker.render.text import text
from watchdog_worker.vitals import boundary
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
    "gil_held": (recording(**SILENT, requests=(PAY,), raw=TIMER, cpu_s=1.0, switches=300),
                 ending(killed_by("SIGABRT"), struck=True, used=Used(6.4, 1300))),
    "stopped": (recording(**SILENT, requests=(OTHER, PAY), cpu_s=1.0, switches=300),
                ending(killed_by("SIGKILL"), struck=True, used=Used(1.0, 301))),
    "told_before": (recording(**{**SILENT, "at": NOW - 0.1}, requests=(OTHER, PAY),
                              reports=(kept(told()),)),
                    ending(killed_by("SIGABRT"), struck=True)),
    "oom": (recording(requests=(SOCKET, OTHER, PAY), rss_bytes=480 * 2 ** 20,
                      figures_at=NOW - 0.4, memory_limit_bytes=2 ** 29,
                      memory_bytes=505 * 2 ** 20),
            ending(killed_by("SIGKILL"), kills=Kills("cgroup", 0, 1))),
    "killed": (recording(requests=(PAY,)), ending(killed_by("SIGKILL"))),
    "exit": (recording(), ending(exited(7))),
    "left_behind": (recording(requests=(PAY,)), ending(None, left_behind=True)),
}


def examined(name: str) -> Report:
    found, end = CASES[name]
    return autopsy.examined(found, end)


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


@pytest.mark.parametrize("name, raw", [("gil_held", TIMER), ("crash", FATAL)])
def test_one_request_alone_is_to_blame_if_the_loop_was_in_it(name: str, raw: str) -> None:
    """Not one that waits while a task of the application's own blocks; and of several, none."""
    in_request = raw.replace(
        '  File "/srv/shop/main.py", line 8',
        f'  File "{boundary.__file__}", line 67 in __call__\n  File "/srv/shop/main.py", line 8')
    found, end = CASES[name]
    for requests, stack, blamed in (
            ((PAY,), in_request, [True]), ((PAY,), raw, [False]),
            ((OTHER, PAY), in_request, [False, False])):
        told_of = autopsy.examined(found._replace(requests=requests, raw=stack), end)
        assert [request.blocking for request in told_of.snapshot.requests] == blamed


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
    report = autopsy.examined(earlier, end)
    assert report.diagnosis is not None and report.diagnosis.cause == "unknown"


LOOP = """
Current thread 0x0000000000000010 (most recent call first):
  File "/lib/socket.py", line 705 in readinto
  File "/lib/requests/api.py", line 115 in post
  File "/srv/shop/other.py", line 9 in charge_all
  File "/lib/server1.py", line 1 in serve1
"""
ABORTED = "Fatal Python error: Aborted\n" + STACK.format("Current thread").partition(
    "\nCurrent")[0] + LOOP
"""The loop's thread stands last, and begins where it did when it was told of."""


@pytest.mark.parametrize("end", [
    ABORTED.index("\nCurrent"), ABORTED.index("  File \"/lib/socket"), ABORTED.index(", line 705"),
    ABORTED.index("  File \"/lib/requests"), ABORTED.index("  File \"/lib/server1")])
def test_a_text_cut_before_the_loops_thread_is_completed(end: int) -> None:
    """SIGKILL came while C was writing: the stack is the one that was told of the same silence, and
    it is said that it is."""
    found, struck = CASES["told_before"]
    report = autopsy.examined(found._replace(raw=ABORTED[:end]), struck)
    loop = report.snapshot.loop_thread
    assert loop == report.snapshot.threads[0] and loop == told().snapshot.loop_thread
    assert [thread.id for thread in report.snapshot.threads[1:]] == [0x20]
    assert report.snapshot.threads_total == 2
    assert report.diagnosis is not None
    assert any("cut off before the end of the loop's" in line for line in report.diagnosis.evidence)


@pytest.mark.parametrize("raw", [ABORTED, ABORTED.replace("server1", "deep").replace(
    "  File \"/lib/requests", "  File \"/lib/deep.py\", line 1 in deep\n" * 96
    + "  File \"/lib/requests")], ids=["whole", "too deep to be written whole"])
def test_a_whole_stack_is_newer_than_what_was_told(raw: str) -> None:
    """It is what the loop was at in the end."""
    found, struck = CASES["told_before"]
    report = autopsy.examined(found._replace(raw=raw), struck)
    loop = report.snapshot.loop_thread
    assert loop is not None and "charge_all" in [frame.function for frame in loop.frames]
    assert report.diagnosis is not None
    assert not any("cut off" in line for line in report.diagnosis.evidence)


def test_a_stack_of_another_silence_completes_nothing() -> None:
    """The loop has moved on since."""
    found, struck = CASES["told_before"]
    report = autopsy.examined(found._replace(
        raw=ABORTED[:ABORTED.index("\nCurrent")],
        reports=(kept(told(), silent_since=NOW - 60),)), struck)
    assert report.snapshot.loop_thread is None and len(report.snapshot.threads) == 1


def test_what_the_log_has_not_got_is_delivered_in_its_order() -> None:
    """And nothing else: not what has arrived, is damaged, or is from another process."""
    first, second, third = kept(told(), 1, False), kept(told(), 2, True), kept(told(), 3, False)
    damaged = KeptReport(4, False, NOW, 0.0, b"no zlib")
    foreign = kept(told()._replace(pid=78), 5, False)
    found = recording(reports=(first, second, third, damaged, foreign))
    assert len(autopsy.undelivered(found)) == 2


def test_the_ages_of_what_was_left_behind_end_with_its_last_trace() -> None:
    """Nobody knows when it died, and it was not when it was found."""
    report = autopsy.examined(*CASES["left_behind"])
    assert report.death is not None
    assert report.death.last_beat_age_s == 0.0
    assert report.snapshot.requests[0].age_s == pytest.approx(5.7)


def test_more_frames_than_the_loops_thread_had_room_for() -> None:
    """A dump of one thread is the loop's, if it does not begin as threads do."""
    alone = ("Fatal Python error: Aborted\n\nStack (most recent call first):\n"
             '  File "/srv/shop/main.py", line 7 in pay\n  File "/x.py", line 1 in <module>\n')
    report = autopsy.examined(
        recording(raw=alone), ending(killed_by("SIGABRT")))
    assert report.snapshot.threads[0].loop
    thread = alone.replace("in <module>", "in _bootstrap")
    report = autopsy.examined(
        recording(raw=thread), ending(killed_by("SIGABRT")))
    assert not report.snapshot.threads[0].loop


def test_a_gil_that_another_thread_kept() -> None:
    """The loop stands in nobody's code; the one thread that is in the application's own is named,
    as the likely one."""
    raw = ("Timeout (0:00:01)!\n"
           "Thread 0x0000000000000020 (most recent call first):\n"
           '  File "/srv/shop/pool.py", line 4 in crunch\n'
           "Thread 0x0000000000000010 (most recent call first):\n"
           '  File "/srv/venv/site-packages/asyncio/runners.py", line 118 in run\n')
    found, end = CASES["gil_held"]
    told_of = autopsy.examined(found._replace(raw=raw), end)
    assert told_of.diagnosis is not None and told_of.diagnosis.culprit is not None
    assert (told_of.diagnosis.cause, told_of.diagnosis.culprit.function) == ("gil_held", "crunch")
    assert "it seems in the thread that stands in crunch" in (told_of.diagnosis.summary or "")
    nobody = autopsy.examined(found._replace(raw=raw.replace("shop/pool", "site-packages/x")), end)
    assert nobody.diagnosis is not None
    assert (nobody.diagnosis.cause, nobody.diagnosis.culprit) == ("gil_held", None)
    assert "asyncio" not in nobody.headline


@pytest.mark.parametrize("status", [killed_by("SIGKILL"), exited(7), killed_by("SIGHUP")])
def test_a_loop_that_was_blocked_when_it_died_of_something_else(status: int) -> None:
    """The block is told with its cause and line, and so is what ended it."""
    found, _ = CASES["told_before"]
    told_of = autopsy.examined(found, ending(status))
    assert told_of.stall is not None and told_of.diagnosis is not None
    assert told_of.stall.blocked_s == 6.0
    assert told_of.diagnosis.cause == "http_client"
    assert "while its loop was blocked 6.0 s by requests.post at" in told_of.headline


def test_caps_hold_in_a_post_mortem_too() -> None:
    """The oldest and the newest few requests, ten WebSockets, so many threads and frames."""
    many = tuple(KeptRequest(number, NOW - 500 + number, "GET", "/", {})
                 for number in range(1, 301))
    sockets = tuple(KeptRequest(number, NOW - 200, "websocket", "/", {})
                    for number in range(301, 331))
    deep = '  File "/srv/shop/main.py", line 7 in pay\n' * 90
    raw = "Timeout (0:00:01)!\n" + "".join(
        f"Thread 0x{at:016x} (most recent call first):\n{deep}" for at in range(16, 46))
    found, end = CASES["gil_held"]
    told_of = autopsy.examined(
        found._replace(requests=(*many, *sockets), raw=raw), end, Caps(20, 5, 30)).snapshot
    assert told_of.requests_total == 330
    assert [request.id for request in told_of.requests] == [*range(1, 11), *range(301, 311)]
    assert (len(told_of.threads), told_of.threads_total) == (5, 30)
    assert {len(thread.frames) for thread in told_of.threads} == {30}
    assert {thread.frames_total for thread in told_of.threads} == {90}


@pytest.mark.parametrize("file", ["/dev/zero", "/etc/passwd", "/proc/self/mem", "/"])
def test_a_stack_cannot_have_any_file_read(file: str) -> None:
    """Whoever wrote it may have been taken over: only regular source files are looked into."""
    raw = TIMER.replace("/srv/shop/main.py", file)
    found, end = CASES["gil_held"]
    told_of = autopsy.examined(found._replace(raw=raw), end)
    assert all(frame.code is None for thread in told_of.snapshot.threads
               for frame in thread.frames if frame.file == file)


def test_what_was_found_later_says_when_it_was_last_alive() -> None:
    """By the time of day of the monitor's last look."""
    found, end = CASES["left_behind"]
    told_of = autopsy.examined(
        found._replace(host="web-2", pulse=found.pulse._replace(wall=1.7e9)), end)
    assert told_of.death is not None
    assert (told_of.death.last_trace, told_of.death.host) == ("2023-11-14T22:13:20Z", "web-2")
    assert "found later" in told_of.headline


@pytest.mark.parametrize("phase, words, remedy", [
    ("shutdown", "its drain was not over although its loop lived", "graceful_timeout"),
    ("left", "its server had ended, and its process went on", "atexit")])
def test_a_drain_that_was_killed_says_no_more_than_is_known(
    phase: str, words: str, remedy: str
) -> None:
    """Whether graceful_timeout was over by then is not."""
    seen = recording(phase=phase, last_notify=NOW - 2.1)
    found = autopsy.examined(seen, ending(killed_by("SIGABRT"), struck=True)).diagnosis
    assert found is not None and found.summary is not None and found.remedy is not None
    assert words in found.summary
    assert "had not been notified for 2.1 s" in found.summary
    assert "graceful_timeout" not in found.summary and remedy in found.remedy
