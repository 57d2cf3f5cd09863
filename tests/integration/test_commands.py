"""`watchdog-worker ps` and `check`, on recorders of a real gunicorn and on some made here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gunicorn_server import ROOT, Gunicorn, until
from tests.unit.recorders import Made
from watchdog_worker.vitals import layout

HEALTHY, BLOCKED, USAGE, NONE_ALIVE, NOT_READY = 0, 1, 2, 3, 4


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("WATCHDOG_", "GUNICORN_"))}
    return subprocess.run(
        [sys.executable, "-m", "watchdog_worker", *arguments], cwd=ROOT, text=True,
        capture_output=True, timeout=60, env={**inherited, **environment})


def ps(folder: Path) -> str:
    done = command("ps", "--run-dir", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def listed(folder: Path) -> list[dict[str, Any]]:
    done = command("ps", "--json", "--run-dir", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    workers: list[dict[str, Any]] = json.loads(done.stdout)
    return workers


def only(folder: Path) -> dict[str, Any]:
    (worker,) = listed(folder)
    return worker


def check(folder: Path, *arguments: str) -> tuple[int, str]:
    done = command("check", "--run-dir", str(folder), *arguments)
    assert done.stderr == "" and done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@contextmanager
def gunicorn(tmp_path: Path, config: str = "", **more: Any) -> Iterator[Gunicorn]:
    config += f"\nwatchdog_run_dir = {str(tmp_path / 'run')!r}\n"
    with Gunicorn(tmp_path, "life:app", timeout=60, config=config, **more) as server:
        yield server


def test_a_healthy_worker(tmp_path: Path, run_dir: Path) -> None:
    """It is listed with what it is at, and `check` is content."""
    with gunicorn(tmp_path, "watchdog_stall_threshold = 20") as server:  # of a busy machine, too
        pid = server.worker_pid()
        with server.send("/stream?s=50"):
            worker = until(lambda: [each for each in listed(run_dir) if each["in_flight"]])[0]
            text, checked, ready = ps(run_dir), check(run_dir), check(run_dir, "--ready")
    assert (worker["pid"], worker["arbiter_pid"]) == (pid, server.process.pid)
    assert (worker["phase"], worker["alive"], worker["app"]) == ("serving", True, "life:app")
    assert (worker["stopped"], worker["gil_held"]) == (False, False)
    assert worker["lag_s"] < 20 and "blocked_s" not in worker
    assert worker["oldest_request"]["path"] == "/stream"
    assert worker["rss_bytes"] > 2 ** 20
    assert 0 < worker["kill_in_s"] <= worker["timeout_s"] == 60
    assert worker["owner"] == os.geteuid()
    heading, row = text.splitlines()
    assert heading.split() == [
        "PID", "MASTER", "PHASE", "LAG", "BLOCKED", "REQUESTS", "OLDEST", "RSS", "UPTIME", "APP"]
    assert row.split()[:3] == [str(pid), str(server.process.pid), "serving"]
    assert "GET /stream " in row and row.endswith("life:app")
    assert checked == ready == (HEALTHY, "healthy: 1 worker alive (1 serving)\n")


def test_a_blocked_worker(tmp_path: Path, run_dir: Path) -> None:
    """For how long, by what and at which line; `check` waits for half of the timeout."""
    with gunicorn(tmp_path) as server:
        pid = server.worker_pid()
        with server.send("/block?s=50"):
            worker = until(lambda: [each for each in listed(run_dir) if "blocked_by" in each])[0]
            text, patient = ps(run_dir), check(run_dir)
            strict = check(run_dir, "--blocked-for", "1")
    assert worker["blocked_s"] > 1 and worker["gil_held"] is False
    assert re.fullmatch(
        r"time\.sleep at .*/life\.py:\d+ on_block, handling GET /block", worker["blocked_by"])
    _, row, detail = text.splitlines()
    assert "GET /block " in row
    assert detail.strip().startswith("blocked by time.sleep at ")
    assert "; WORKER TIMEOUT in " in detail
    assert patient[0] == HEALTHY
    assert strict[0] == BLOCKED
    assert strict[1].startswith(f"blocked: 1 of 1 worker; {pid} of life:app: ")
    assert "time.sleep" in strict[1] and strict[1].endswith("(limit 1 s)\n")


def test_a_worker_whose_gil_is_held(tmp_path: Path, run_dir: Path) -> None:
    """Nothing of ours can run in it, and it is told all the same."""
    with gunicorn(tmp_path) as server:
        with server.send("/hold_gil?n=1000000000000"):
            until(lambda: only(run_dir).get("gil_held"), what="the GIL to be seen held")
            text, checked = ps(run_dir), check(run_dir, "--blocked-for", "1")
    assert re.search(r" \d\.\d s, GIL held +1 +GET /hold_gil ", text)
    assert checked[0] == BLOCKED and " s, GIL held" in checked[1]


def test_a_stopped_worker(tmp_path: Path, run_dir: Path) -> None:
    """It is told as stopped, its GIL is not suspected, and `check` is content once it goes on."""
    with gunicorn(tmp_path) as server:
        pid = server.worker_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            worker = until(lambda: [
                each for each in listed(run_dir) if each.get("blocked_s", 0) > 4])[0]
            text, checked = ps(run_dir), check(run_dir, "--blocked-for", "2")
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: check(run_dir, "--blocked-for", "2")[0] == HEALTHY, what="a sign of life")
    assert (worker["stopped"], worker["gil_held"]) == (True, False)
    assert "  stopped, " in text
    assert checked[0] == BLOCKED and ": stopped, " in checked[1]


def test_a_worker_that_boots(tmp_path: Path, run_dir: Path) -> None:
    """It is alive and not blocked for `check`, and not ready; within its threshold, that is all."""
    with gunicorn(tmp_path, environment={"LIFE_STARTUP_S": "50"}, wait=False) as server:
        worker = until(lambda: [
            each for each in listed(run_dir) if each.get("blocked_s", 0) > 2])[0]
        text, checked = ps(run_dir), check(run_dir, "--blocked-for", "0.1")
        unready = check(run_dir, "--ready")
        assert server.process.poll() is None
    assert worker["phase"] == "startup" and "booting_s" not in worker
    assert text.splitlines()[1].split()[2] == "startup"
    assert unready[0] == NOT_READY
    assert unready[1].startswith("not ready: 1 worker alive (1 startup), silent for up to ")
    assert checked[0] == HEALTHY
    assert checked[1].startswith("healthy: 1 worker alive (1 startup), silent for up to ")


@pytest.mark.parametrize("where", ["post_fork(server, worker)", "post_worker_init(worker)"])
def test_a_worker_whose_boot_hangs(tmp_path: Path, run_dir: Path, where: str) -> None:
    """It is told as one that boots for too long; `check` ends no container for that."""
    config = f"watchdog_startup_threshold = 0.5\ndef {where}:\n    import time\n    time.sleep(99)"
    with gunicorn(tmp_path, config, wait=False):
        worker = until(lambda: [each for each in listed(run_dir) if "booting_s" in each])[0]
        text, checked, unready = ps(run_dir), check(run_dir), check(run_dir, "--ready")
    assert worker["booting_s"] > 0.5
    _, row, detail = text.splitlines()
    assert re.search(r"^ *\d+ +\d+ +booting \d+\.\d s ", row)
    assert "longer than watchdog_startup_threshold" in detail
    said = r": 1 worker alive \(1 boot\).*; 1 booting for up to \d+\.\d s, longer than watchdog_"
    assert checked[0] == HEALTHY and re.match("healthy" + said, checked[1])
    assert unready[0] == NOT_READY and re.match("not ready" + said, unready[1])


def test_a_dead_worker_whose_master_lives(tmp_path: Path, run_dir: Path) -> None:
    """The lock is still held, by a master that has not got round to it; it is dead all the same."""
    with gunicorn(tmp_path) as server:
        pid = server.worker_pid()
        server.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            until(lambda: not only(run_dir)["alive"], what="the worker's end")
            worker, text, checked = only(run_dir), ps(run_dir), check(run_dir)
        finally:
            server.process.send_signal(signal.SIGCONT)
    assert (worker["pid"], worker["held"]) == (pid, True)
    heading, row = text.splitlines()  # and no hint: the master will tell
    assert row.split()[2] == "dead"
    assert checked[0] == NONE_ALIVE


def test_what_a_dead_gunicorn_leaves_behind(tmp_path: Path, run_dir: Path) -> None:
    """A recorder of a dead worker, and who will tell of it."""
    with gunicorn(tmp_path) as server:
        pid = server.worker_pid()
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        until(lambda: not only(run_dir)["held"], what="the worker's end")
        worker, text, checked = only(run_dir), ps(run_dir), check(run_dir)
    assert (worker["pid"], worker["alive"]) == (pid, False)
    _, row, hint = text.splitlines()
    assert row.split()[:3] == [str(pid), str(server.process.pid), "dead"]
    assert hint.startswith("1 recorder left behind by the dead: the next start of gunicorn ")
    assert checked == (NONE_ALIVE, f"none alive: no worker in {run_dir}\n")


def test_which_workers_are_checked(run_dir: Path) -> None:
    """Those of one master, of one application; where these choose none, none is alive."""
    Made(run_dir, app="shop:app").serve(time.monotonic())
    blocked = Made(run_dir, app="blog:app", timeout=8.0).serve(time.monotonic() - 5.0)
    here = str(os.getpid())
    assert check(run_dir)[0] == BLOCKED
    assert check(run_dir, "--app", "shop:app")[0] == HEALTHY
    assert check(run_dir, "--app", "blog:app", "--blocked-for", "60")[0] == HEALTHY
    assert check(run_dir, "--app", "shop:app", "--master", here)[0] == HEALTHY
    status, line = check(run_dir, "--app", "shop:app", "--master", "1")
    assert status == NONE_ALIVE
    assert line.startswith(f"none alive: no worker of master 1 of shop:app in {run_dir}")
    blocked.recorder.phase("shutdown", 1.0)
    assert check(run_dir)[0] == HEALTHY


def test_a_worker_without_a_timeout(run_dir: Path) -> None:
    """Ten seconds are its limit."""
    made = Made(run_dir, timeout=0.0).serve(time.monotonic() - 9.0)
    assert check(run_dir)[0] == HEALTHY
    made.serve(time.monotonic() - 11.0)
    assert check(run_dir)[0] == BLOCKED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_recorders_that_another_user_has_planted(run_dir: Path) -> None:
    """They are not counted by a user who does not own them; root counts them."""
    run_dir.chmod(0o777)
    made = Made(run_dir).serve(time.monotonic() - 100.0)
    os.chown(made.path, 65534, 65534)
    made.path.chmod(0o644)
    assert check(run_dir)[0] == BLOCKED
    code = ("import os, sys; from watchdog_worker.cli import main, check;"
            "os.geteuid = lambda: 1000; sys.exit(main(sys.argv[1:]))")
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "--run-dir", str(run_dir)], cwd=ROOT, text=True,
        capture_output=True, timeout=60)
    assert done.returncode == NONE_ALIVE
    assert done.stdout == (
        f"none alive: no worker in {run_dir}; 1 recorder of other users not counted\n")


@pytest.mark.parametrize("arguments", [
    ["--blocked-for", "soon"], ["--blocked-for", "-1"], ["--blocked-for", "nan"],
    ["--master", "x"], ["--run-dir", "/none/of/these"], ["--run-dir", "a\udc80b"], ["--what"]])
def test_a_wrong_check(arguments: list[str]) -> None:
    """It is told apart from a blocked worker and from none alive."""
    done = command("check", *arguments)
    assert done.returncode == USAGE
    assert done.stdout == "" and done.stderr != ""


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """One clear line, and no list."""
    file = tmp_path / "file"
    file.write_text("")
    for folder, words in ((tmp_path / "none", "No such file"), (file, "Not a directory")):
        for arguments in (["ps"], ["ps", "--json"]):
            done = command(*arguments, "--run-dir", str(folder))
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"watchdog-worker ps: cannot look into {folder}: {words}")
            assert done.stderr.count("\n") == 1
    done = command("ps", WATCHDOG_RUN_DIR=str(tmp_path / "none"))
    assert done.returncode == 1 and "WATCHDOG_RUN_DIR" in done.stderr


def test_no_workers(run_dir: Path, tmp_path: Path) -> None:
    """That is no error; it says where it looked."""
    (tmp_path / "more").mkdir()
    folders = ["--run-dir", str(run_dir), "--run-dir", str(tmp_path / "more")]
    done = command("ps", *folders)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"no workers in {run_dir}, {tmp_path / 'more'} ")
    done = command("ps", "--json", *folders)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_several_folders(run_dir: Path, tmp_path: Path) -> None:
    """All are listed together, and the environment says where where nobody else does."""
    (tmp_path / "more").mkdir()
    Made(run_dir, age=2)
    Made(tmp_path / "more", age=1)
    done = command("ps", "--json", "--run-dir", str(run_dir), "--run-dir", str(tmp_path / "more"))
    assert [worker["age"] for worker in json.loads(done.stdout)] == [1, 2]
    done = command("ps", "--json", WATCHDOG_RUN_DIR=str(run_dir))
    assert [worker["age"] for worker in json.loads(done.stdout)] == [2]


def test_a_recorder_of_another_version(run_dir: Path) -> None:
    """It is passed over, and that is said."""
    Made(run_dir).overwrite(8, (layout.VERSION + 1).to_bytes(2, "little"))
    done = command("ps", "--run-dir", str(run_dir))
    assert (done.returncode, done.stderr) == (
        0, "watchdog-worker ps: 1 recorder written by another version\n")
    assert "1 recorder written by another version" in check(run_dir)[1]


def test_nothing_in_a_recorder_forges_a_line(run_dir: Path) -> None:
    """What a worker or a client chose cannot move a cursor nor begin a line."""
    evil = "a\n9999 dead\x1b[31m\u202e\x9b"
    made = Made(run_dir, app=evil).serve(time.monotonic() - 5.0)
    made.request(1, time.monotonic() - 5.0, b"G\nT", evil.encode() + b"\xff")
    report = {"schema": 1, "event": "stall", "severity": "warning", "time": "2026-01-02T12:00:00Z",
              "pid": 1, "worker_age": 1, "app": "x", "headline": "watchdog",
              "diagnosis": {"cause": "sleep", "call": evil}}
    made.recorder.outbox.put(json.dumps(report).encode(), time.monotonic())
    assert "blocked_by" in only(run_dir)
    for output in (ps(run_dir), check(run_dir, "--blocked-for", "1")[1],
                   command("ps", "--json", "--run-dir", str(run_dir)).stdout):
        assert "9999" in output
        assert not [line for line in output.splitlines() if line.startswith("9999")]
        assert all(character == "\n" or character.isprintable() for character in output)


@pytest.mark.parametrize("arguments", [["ps"], ["ps", "--json"], ["check"], ["--help"]])
def test_a_command_imports_what_it_needs(run_dir: Path, arguments: list[str]) -> None:
    """Whoever looks at workers does without a server: a probe is to be quick."""
    Made(run_dir).serve(time.monotonic())
    code = ("import sys; from watchdog_worker.cli import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True, capture_output=True,
        timeout=60, env={**os.environ, "WATCHDOG_RUN_DIR": str(run_dir)})
    assert done.stdout != ""
    loaded = set(done.stderr.split())
    assert "watchdog_worker" in loaded
    assert not loaded & {"gunicorn", "uvicorn", "uvicorn_worker", "uvloop", "starlette"}


def test_help_lists_all_commands() -> None:
    """Also those that are not imported for it; a word that is none of them is an error."""
    done = command("--help")
    assert done.returncode == 0
    assert all(f"\n    {name} " in done.stdout for name in ("check", "demo", "ps", "settings"))
    done = command("chekc")
    assert done.returncode == 2 and "chekc" in done.stderr
    assert "exit status:\n  0  healthy" in command("check", "--help").stdout


def test_the_worker_classes_are_there_when_asked_for() -> None:
    """By attribute and by import, as gunicorn asks; nothing else is made up."""
    code = ("import watchdog_worker, sys\n"
            "assert 'gunicorn' not in sys.modules\n"
            "assert not hasattr(watchdog_worker, 'Wroker')\n"
            "from watchdog_worker import *\n"
            "assert H11Worker.__mro__[1] is Worker is watchdog_worker.Worker\n"
            "assert 'gunicorn' in sys.modules\n")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
