"""What a boot is told by, and what a pause of the process does to that."""

from __future__ import annotations

import pytest

from watchdog_worker import phases, report
from watchdog_worker.diagnosis import stage as room, stagewords
from watchdog_worker.model import (
    Diagnosis,
    Effort,
    Frame,
    Progress,
    Snapshot,
    Stage,
    Stall,
    ThreadStack,
)
from watchdog_worker.render.headline import headline

BOOT, DRAIN = Stage("startup", 30.0), Stage("shutdown", 15.0, 30.0)
CONNECT = Frame("/srv/shop/db.py", 12, "connect", "await pool.open()", app=True)
SERVES = Frame("/lib/uvicorn/server.py", 70, "serve", module="uvicorn.server")
IMPORTS = Frame("<frozen importlib._bootstrap>", 241, "_find_and_load",
                module="importlib._bootstrap")
MODULE = Frame("/srv/shop/main.py", 3, "<module>", "import shop.db", app=True)
LOADS = Frame("/lib/gunicorn/workers/base.py", 136, "load_wsgi", module="gunicorn.workers.base")
STARVED = Effort(10.0, silent_s=10.0, cpu_s=0.1, process_cpu_s=0.2, late_s=0.5)
HELD = Effort(3.0, 2.9, 2.9, gil_wait_s=2.8, silent_s=3.0, late_s=2.8)


def main(*frames: Frame, effort: Effort) -> Snapshot:
    """The main thread alone; it is ready to run."""
    own = ThreadStack(1, "MainThread", True, frames, state="R (running)")
    return Snapshot(threads=(own,), effort=effort)


def told(
    stage: Stage, snapshot: Snapshot, stall: Stall, step: str
) -> tuple[Diagnosis, str]:
    """Why, and the first line."""
    progress = Progress(step)
    found = room.held(snapshot, stall, progress)
    why = stagewords.explain(stage, snapshot, found, progress)
    assert why is not None
    return why, headline(report.SLOW_STARTUP, snapshot, stall, why,
                         stage=stage._replace(holder=found.holder, step=step))


@pytest.mark.parametrize("stage, step, outer, line", [
    (BOOT, phases.BEFORE_LOOP, LOADS,
     "watchdog slow startup: 30.0 s since the fork, importing: the process does not get to run"),
    (DRAIN, phases.DRAIN, SERVES,
     "watchdog slow shutdown: 15.0 s of 30 s (graceful_timeout) gone, loop silent: the process "
     "does not get to run")])
def test_where_the_process_does_not_get_to_run_no_line_is_blamed(
    stage: Stage, step: str, outer: Frame, line: str
) -> None:
    """Its thread is ready to."""
    stall = Stall(10.0, "startup", 30.0, running=step != phases.BEFORE_LOOP)
    why, first = told(stage, main(outer, CONNECT, effort=STARVED), stall, step)
    assert (why.cause, why.culprit) == ("suspended", None)
    assert "throttled" in (why.summary or "")
    assert first == line


def test_what_a_boot_was_paused_for_is_said() -> None:
    """It is in the seconds since the fork, and not in what is held against the boot."""
    first = headline(report.SLOW_STARTUP, Snapshot(), None, None,
                     stage=BOOT._replace(paused_s=20.04))
    assert first == "watchdog slow startup: 30.0 s since the fork (20.0 s of it paused)"


def test_a_pause_is_no_time_that_the_loop_was_blocked() -> None:
    """A drain whose loop is blocked after it, too."""
    snapshot = main(SERVES, CONNECT._replace(calls="time.sleep"),
                    effort=Effort(1.0, 0.0, 0.0, silent_s=1.5))
    _, first = told(DRAIN, snapshot, Stall(21.5, "shutdown", 30.0), phases.DRAIN)
    assert "loop blocked 1.5 s by time.sleep" in first


@pytest.mark.parametrize("innermost, effort, cause", [
    ((CONNECT._replace(calls="time.sleep"),), Effort(3.0, 0.0, 0.0, silent_s=3.0), "sleep"),
    ((CONNECT._replace(calls="sum"),), HELD, "gil_held"),
    ((CONNECT, IMPORTS, Frame("/lib/numpy/__init__.py", 9, "<module>", module="numpy")), HELD,
     "import")], ids=["sleeps", "holds the GIL", "imports a library"])
def test_that_a_boot_imports_is_no_cause(
    innermost: tuple[Frame, ...], effort: Effort, cause: str
) -> None:
    """Modules of the application import each other; what they are at then is what takes long."""
    snapshot = main(LOADS, IMPORTS, MODULE, IMPORTS, *innermost, effort=effort)
    why, _ = told(BOOT, snapshot, Stall(3.0, "startup", 30.0, running=False), phases.BEFORE_LOOP)
    assert why.culprit is not None
    assert (why.cause, why.culprit.function) == (cause, "connect")
    assert ("kept the GIL" in (why.summary or "")) is (cause == "gil_held")
