"""What lies between the fork and the loop, and what others have done to signals before us."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.gunicorn_server import Gunicorn, until
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
        death = server.report("post_mortem")["death"]
        raw = death["raw_stacks"]
    assert (death["exit_code"], death["signal"]) == (1, "SIGABRT")
    assert "Fatal Python error: Aborted" in raw
    assert server.log.count("aborted") == 1


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
