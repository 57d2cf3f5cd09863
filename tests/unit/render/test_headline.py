"""Headlines."""

from __future__ import annotations

import pytest

from tests.unit import reports
from watchdog_worker import report
from watchdog_worker.model import Diagnosis, Frame, Snapshot, Stall
from watchdog_worker.render import headline as render
from watchdog_worker.render import names

DIAGNOSIS = Diagnosis(culprit=reports.CHARGE, blocking_call=reports.RECV)
AT = "at /srv/shop/pay.py:7 charge"
WAS_AT = "at /srv/shop/pay.py:7 in charge: requests.post(URL)"
EMPTY = Snapshot()


@pytest.mark.parametrize("event, stall, diagnosis, headline", [
    (report.STALL, Stall(1.04, "serving", 30, kill_in_s=28.96), DIAGNOSIS,
     f"watchdog loop blocked 1.0 s {AT}; WORKER TIMEOUT in 29.0 s"),
    (report.STALL, Stall(1.0, "serving", 0), DIAGNOSIS, f"watchdog loop blocked 1.0 s {AT}"),
    (report.PRE_KILL, Stall(7.0, "shutdown", 6, kill_in_s=-1.0), DIAGNOSIS,
     f"watchdog loop blocked 7.0 s {AT} during shutdown; WORKER TIMEOUT was due 1.0 s ago"),
    (report.STALL, Stall(1.0, "serving", 0), Diagnosis(blocking_call=Frame("/x.py", 1, "f")),
     "watchdog loop blocked 1.0 s at /x.py:1 f"),
    (report.STALL, Stall(1.0, "serving", 0), None,
     "watchdog loop blocked 1.0 s (its stack could not be read)"),
    (report.ON_DEMAND, None, None, "watchdog stacks on demand: loop healthy, 0 threads"),
    (report.ON_DEMAND, Stall(0.0, "startup", 0, running=False, silent=False), None,
     "watchdog stacks on demand: loop not running yet, 0 threads"),
    (report.PRE_KILL, Stall(0.1, "serving", 6, kill_in_s=1.0, silent=False), None,
     "watchdog loop alive, but the arbiter is not notified; WORKER TIMEOUT in 1.0 s"),
    (report.STALL, Stall(1.0, "serving", 0), Diagnosis(
        culprit=Frame("/a.py", 1, "f\n[CRITICAL] forged\x1b[31m")),
     "watchdog loop blocked 1.0 s at /a.py:1 f\\x0a[CRITICAL] forged\\x1b[31m"),
    (report.ON_DEMAND, Stall(2.0, "serving", 0), DIAGNOSIS,
     f"watchdog stacks on demand: loop blocked 2.0 s {AT}"),
    (report.STALL_ENDED, Stall(2.0, "serving", 0), None, "watchdog loop free again after 2.0 s"),
])
def test_a_headline_is_one_line_to_act_on(
    event: str, stall: Stall | None, diagnosis: Diagnosis | None, headline: str
) -> None:
    """What blocks, where, how long, and when the kill comes."""
    assert render.headline(event, EMPTY, stall, diagnosis) == headline


@pytest.mark.parametrize("cause, call, words", [
    ("sleep", "time.sleep", "by time.sleep"),
    ("http_client", "requests.post", "by requests.post"),
    ("file_io", None, "by file io"),
    ("cpu_bound", None, "by computing"),
    ("cpu_bound", "json.dumps", "by computing (json.dumps)"),
    ("gil_held", "re.match", "by re.match (which kept the GIL)"),
    ("gil_held", None, "by native code (which kept the GIL)"),
    ("import", "x", "by an import"),
    ("logging", "logging.Logger.info", "by writing a log"),
    ("unknown", None, ""),
    ("unknown", "frobnicate.wait", "in frobnicate.wait"),
])
def test_what_blocks_is_said_first(cause: str, call: str | None, words: str) -> None:
    """In a developer's words."""
    told = DIAGNOSIS._replace(cause=cause, call=call)
    line = render.headline(report.STALL, EMPTY, Stall(1.0, "serving", 0), told)
    assert line == " ".join(filter(None, ("watchdog loop blocked 1.0 s", words, AT)))


def test_a_process_that_did_not_run_is_not_said_to_be_blocked_by_anything() -> None:
    """Neither in its own event nor where a dump falls into the pause."""
    line = render.headline(report.SUSPENDED, EMPTY, Stall(5.0, "serving", 30), None)
    assert line == ("watchdog process did not run for 5.0 s (stopped, throttled or starved): the "
                    "loop is not to blame")
    told = Diagnosis(cause="suspended")
    line = render.headline(report.STALL, EMPTY, Stall(5.0, "serving", 30, kill_in_s=2.0), told)
    assert line == ("watchdog loop silent 5.0 s because the process did not get to run; "
                    "WORKER TIMEOUT in 2.0 s")


def test_an_ended_stall_says_where_it_mostly_stood() -> None:
    """By the samples."""
    line = render.headline(report.STALL_ENDED, reports.snapshot(), Stall(5.0, "serving", 0), None)
    assert line == ("watchdog loop free again after 5.0 s; it was blocked "
                    f"{WAS_AT} (60 of 80 samples)")


def test_a_removed_working_directory_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are shown whole then."""
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("os.getcwd", gone)
    assert names.short_path("/srv/a.py") == "/srv/a.py"
