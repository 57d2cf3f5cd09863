"""What lies between the fork and the loop, and what others have done to signals before us."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.gunicorn_server import Gunicorn, drained, until
from tests.lifecycle.pause import stop
from tests.stall_case import KILL

HANGS = """
import time
watchdog_dump_dir = "dumps"
watchdog_startup_threshold = 0.5
watchdog_startup_timeout = 1.0
def worker_exit(server, worker):
    worker.log.info("left by %s %s", worker.pid, server is not None)
def {hook}:
    print("in the hook", flush=True)
    time.sleep(3600)
"""


def test_a_hook_that_hangs_after_the_fork_is_told_and_ended(tmp_path: Path) -> None:
    """gunicorn would wait for it for ever; it runs the other hooks on the way out."""
    config = HANGS.format(hook="post_fork(server, worker)")
    with Gunicorn(tmp_path, "life:app", config=config, wait=False) as server:
        first = server.logged(r"Booting worker with pid: (\d+)")[1]
        server.logged(rf"left by {first} True")
        until(lambda: len(re.findall("Booting worker", server.log)) > 1, what="another worker")
        told = [each for each in server.reports("slow_startup") if each["pid"] == int(first)]
    assert [each["severity"] for each in told] == ["warning", "critical"]
    assert all(each["diagnosis"]["culprit"]["function"] == "post_fork" for each in told)
    assert told[1]["headline"].startswith("watchdog slow startup: 1.")
    assert "in a server hook, in time.sleep at gunicorn.conf.py:" in told[1]["headline"]
    assert not server.reports("post_mortem")


def test_the_last_hook_before_the_loop_is_watched_too(tmp_path: Path) -> None:
    """The application is imported by then, and is not blamed."""
    config = HANGS.format(hook="post_worker_init(worker)")
    with Gunicorn(tmp_path, "life:app", config=config, wait=False) as server:
        told = server.report("slow_startup")
    assert told["stage"]["holder"] == "hook"
    assert told["diagnosis"]["culprit"]["function"] == "post_worker_init"


def test_the_users_post_fork_runs_as_ever(tmp_path: Path) -> None:
    """Once in each worker, also after HUP, with gunicorn's arguments."""
    config = 'def post_fork(server, worker): worker.log.info("hook %s", worker.pid)\n'
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        first = server.worker_pid()
        server.hang_up()
        second = server.replaced(first)
        found = re.findall(r"hook (\d+)", server.log)
    assert found == [str(first), str(second)]


def test_abort_is_seen_to_under_pythonfaulthandler(tmp_path: Path) -> None:
    """It was enabled before anybody had a handler, and puts nothing back in the place of ours."""
    config = ('watchdog_dump_dir = "dumps"\n'
              'def worker_abort(worker): worker.log.info("aborted %s", worker.pid)\n')
    with Gunicorn(tmp_path, "life:app", timeout=2, config=config,
                  environment={"PYTHONFAULTHANDLER": "1"}) as server:
        pid = server.worker_pid()
        server.send("/block?s=60").close()
        server.logged(KILL)
        server.logged(rf"aborted {pid}$")
        told = server.report("post_mortem")
        death = told["death"]
        raw = death["raw_stacks"]
    assert (death["exit_code"], death["signal"]) == (1, "SIGABRT")
    assert "Fatal Python error: Aborted" in raw
    assert not any("cut off" in line for line in told["diagnosis"]["evidence"])
    assert server.log.count("aborted") == 1


HOOKED = """
def ran(hook):
    with open("ran", "a") as file:
        file.write(hook + "\\n")
def worker_abort(worker):
    ran("worker_abort")
def worker_exit(server, worker):
    ran("worker_exit")
"""


@pytest.mark.parametrize("holder", ["loop", "thread"])
def test_the_hooks_run_where_the_log_is_full_and_blocked(tmp_path: Path, holder: str) -> None:
    """A thread stands in the log, whose locks it holds: nothing of ours waits for them."""
    fifo, ran = tmp_path / "log", tmp_path / "ran"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Gunicorn(tmp_path, "life:app", timeout=2, config=HOOKED,
                      arguments=["--error-logfile", str(fifo)]) as server:
            pid = server.worker_pid()
            drained(reader)
            server.send(f"/flood_log?lines=200&{holder}=1").close()
            until(lambda: not Path(f"/proc/{pid}").exists())
            assert ran.read_text().split() == ["worker_abort", "worker_exit"]
    finally:
        os.close(reader)


STOPPED = """
import asyncio, os, time
from life import app as served
PHASE = os.environ["STOPPED_IN"]

def importing():
    for step in range(20):
        time.sleep(0.1)
        if step == 5:
            print("under way", flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan" and PHASE == "lifespan":
        for step in range(20):
            await asyncio.sleep(0.1)
            if step == 5:
                print("under way", flush=True)
    await served(scope, receive, send)

if PHASE == "import":
    importing()
"""
FAIR = """
watchdog_dump_dir = "dumps"
watchdog_startup_threshold = 5.5
watchdog_startup_timeout = 6.0
"""


@pytest.mark.parametrize("phase", ["import", "lifespan"])
def test_a_boot_that_was_stopped_meanwhile_is_not_ended_for_it(
    tmp_path: Path, phase: str
) -> None:
    """Two seconds of boot with a limit of six, and a pause that is longer than that: it is told
    once, and the worker goes on to serve."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    with Gunicorn(tmp_path, "stopped:app", config=FAIR, wait=False,
                  environment={"STOPPED_IN": phase}) as server:
        pid = int(server.logged(r"Booting worker with pid: (\d+)")[1])
        server.logged("^under way")
        stop(7.0, pid)
        until(server.answers, what="gunicorn to answer")
        assert server.worker_pid() == pid
        told = server.report("suspended")
        assert [each["event"] for each in server.reports()] == ["suspended"]
    assert told["stall"]["phase"] == "startup"
    assert told["stall"]["blocked_s"] == pytest.approx(7.0, abs=1.5)


HOLDS = """
import sys, time
from life import app

def compute():
    return sum(range(2 * 10 ** 8))

def go_on():
    time.sleep(3600)

{before}
total = compute()
go_on()
"""


@pytest.mark.parametrize("before", ["", "time.sleep(1.2)"], ids=["at once", "when told before"])
def test_an_import_that_holds_the_gil_is_told_with_its_line(tmp_path: Path, before: str) -> None:
    """Nobody could look while it did; when it lets go, the import goes on to the next line before
    the picture is taken."""
    (tmp_path / "holds.py").write_text(HOLDS.format(before=before))
    config = 'watchdog_dump_dir = "dumps"\nwatchdog_startup_threshold = 1.0\n'
    with Gunicorn(tmp_path, "holds:app", config=config, wait=False) as server:
        told = until(lambda: [each for each in server.reports("slow_startup")
                              if each["stall"]["gil_held"]], what="a report of the GIL")[0]
        assert told["diagnosis"]["cause"] == "gil_held"
        assert told["diagnosis"]["culprit"]["function"] == "compute"
        assert told["stage"]["holder"] == "import"
        later = until(lambda: [each for each in server.reports("slow_startup")
                               if each["time"] > told["time"]], what="the next report")[0]
    assert later["stall"]["gil_held"] is not True
    assert later["diagnosis"]["culprit"]["function"] == "go_on"
    assert later["diagnosis"]["cause"] == "sleep"


WRAPS = """
import os, time
try:
    if not os.path.exists("hang"):
        raise LookupError
    print("importing", flush=True)
    time.sleep(3600)
except LookupError:
    pass
except BaseException as error:
    raise RuntimeError("could not be loaded") from error
from life import app
"""


SLOW_HOOKS = """
import contextvars, os, time
variable = contextvars.ContextVar("variable")
def hook(*given):
    pass
if os.path.exists("hang"):
    print("importing", flush=True)
    try:
        time.sleep(3600)
    except BaseException:
        if {wraps}:
            raise ImportError("could not be loaded")
        raise
"""


@pytest.mark.parametrize("setting", [
    "watchdog_on_report = 'hooks:hook'", "watchdog_on_request_end = 'hooks:hook'",
    "watchdog_contextvars = {'hooks:variable': None}"])
@pytest.mark.parametrize("wraps", [False, True])
def test_a_boot_that_is_left_while_a_hook_is_imported(
    tmp_path: Path, setting: str, wraps: bool
) -> None:
    """Nothing is wrong with the hook, and nothing is said to be."""
    (tmp_path / "hooks.py").write_text(SLOW_HOOKS.format(wraps=wraps))
    with Gunicorn(tmp_path, "life:app", config=setting + "\n") as server:
        serving = server.worker_pid()
        (tmp_path / "hang").touch()
        server.process.send_signal(signal.SIGTTIN)
        server.logged("^importing")
        booting = int(re.findall(r"Booting worker with pid: (\d+)", server.log)[1])
        (tmp_path / "hang").unlink()
        os.kill(booting, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{booting}").exists(), what="the booting worker to go")
        until(lambda: len(re.findall("Booting worker", server.log)) > 2, what="another worker")
        assert Path(f"/proc/{serving}").exists() and server.process.poll() is None
    assert "cannot import" not in server.log and "ERROR" not in server.log


def test_a_boot_that_is_left_never_looks_like_one_that_failed(tmp_path: Path) -> None:
    """The application makes an error of its own of the exception that ends it: gunicorn would take
    that for a boot that cannot succeed, and end the workers that serve."""
    (tmp_path / "wraps.py").write_text(WRAPS)
    with Gunicorn(tmp_path, "wraps:app", config="workers = 1\n") as server:
        serving = server.worker_pid()
        (tmp_path / "hang").touch()
        server.process.send_signal(signal.SIGTTIN)
        server.logged("^importing")
        booting = int(re.findall(r"Booting worker with pid: (\d+)", server.log)[1])
        (tmp_path / "hang").unlink()
        os.kill(booting, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{booting}").exists(), what="the booting worker to go")
        until(lambda: len(re.findall("Booting worker", server.log)) > 2, what="another worker")
        assert Path(f"/proc/{serving}").exists() and server.process.poll() is None
        assert "Shutting down: Master" not in server.log


def test_a_thread_of_the_application_does_not_hold_a_worker_that_was_told_to_go(
    tmp_path: Path
) -> None:
    """It has two seconds when the server has ended; gunicorn has no need to kill."""
    (tmp_path / "threads.py").write_text(
        "import threading, time\nfrom life import app\n"
        "threading.Thread(target=time.sleep, args=(3600,)).start()\n")
    config = 'watchdog_dump_dir = "dumps"\n'
    with Gunicorn(tmp_path, "threads:app", config=config) as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        assert "SIGKILL" not in server.log
        assert not server.reports("post_mortem")


CROWDED = """
import asyncio, time

async def waits():
    await asyncio.sleep(3600)

async def app(scope, receive, send):
    others = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(50)]
    await receive()
    await waits()
"""


def test_the_lifespan_is_named_however_short_the_list_of_tasks_is(tmp_path: Path) -> None:
    """`watchdog_max_tasks` cuts what is shown, and not what is known."""
    (tmp_path / "crowded.py").write_text(CROWDED)
    config = ('watchdog_dump_dir = "dumps"\nwatchdog_startup_threshold = 0.5\n'
              'watchdog_max_tasks = 1\n')
    with Gunicorn(tmp_path, "crowded:app", config=config, wait=False) as server:
        told = server.report("slow_startup")
    assert told["stage"]["holder"] == told["stage"]["step"] == "lifespan startup"
    assert told["diagnosis"]["culprit"]["function"] == "waits"
    assert len(told["tasks"]["groups"]) == 1
