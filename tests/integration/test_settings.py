"""Settings from the config file and the environment, at the first start and on HUP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gunicorn_server import Gunicorn, until

REPORT_EARLY = "watchdog_stall_threshold = 0.25\n"
SHOW = """
def post_worker_init(worker):
    worker.log.info("threshold is %s", worker.cfg.watchdog_stall_threshold)
"""


@pytest.mark.parametrize("config, complaint", [
    ("watchdog_stall_treshold = 2", "did you mean watchdog_stall_threshold?"),
    ("watchdog_stall_threshold = 'soon'",
     "watchdog_stall_threshold in gunicorn.conf.py: expected a number of seconds"),
    ("watchdog_max_tasks = -1", "watchdog_max_tasks in gunicorn.conf.py: expected a whole number"),
    ("watchdog_dump_signal = 'SIGKILL'", "watchdog_dump_signal in gunicorn.conf.py"),
    ("watchdog_heartbeat_interval = 20", "more than half of timeout"),
    ("watchdog_on_report = lambda: None", "expected a callable (worker, report), not async"),
    ("watchdog_enabled = 1", "expected True or False"),
])
@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["plain", "preload"])
def test_a_bad_setting_stops_the_first_start(
    tmp_path: Path, config: str, complaint: str, arguments: tuple[str, ...]
) -> None:
    """One clear line, no traceback, status 1."""
    with Gunicorn(tmp_path, "life:app", config=config, arguments=arguments,
                  wait=False) as server:
        assert server.process.wait(60) == 1
        until(lambda: "Error: " in server.log)
        time.sleep(0.1)
    errors = [line for _, line in server.lines if "Error" in line]
    assert len(errors) == 1
    assert complaint in errors[0]
    assert "Traceback" not in server.log
    assert "Booting worker" not in server.log


@pytest.mark.smoke
def test_a_bad_environment_variable_stops_the_first_start(tmp_path: Path) -> None:
    """It is named as such."""
    with Gunicorn(tmp_path, "life:app", environment={"WATCHDOG_MAX_FRAMES": "many"},
                  wait=False) as server:
        assert server.process.wait(60) == 1
        until(lambda: "environment variable WATCHDOG_MAX_FRAMES" in server.log)


def test_what_systemd_and_others_set_is_none_of_ours(tmp_path: Path) -> None:
    """WATCHDOG_USEC is systemd's; a near miss of ours gets a warning and no more."""
    environment = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1",
                   "WATCHDOG_STALL_TRESHOLD": "3"}
    with Gunicorn(tmp_path, "life:app", environment=environment) as server:
        server.logged("WATCHDOG_STALL_TRESHOLD is not a setting; "
                      "did you mean WATCHDOG_STALL_THRESHOLD")
        assert "USEC" not in server.log


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["plain", "preload"])
def test_the_file_goes_before_the_environment(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """And the environment before the default; a module in the file is no setting."""
    config = "import watchdog_worker\nwatchdog_stall_threshold = 0.5\n" + SHOW
    environment = {"WATCHDOG_STALL_THRESHOLD": "7", "WATCHDOG_MAX_TASKS": "5"}
    config += "    worker.log.info('tasks %s', worker.cfg.watchdog_max_tasks)\n"
    with Gunicorn(tmp_path, "life:app", config=config, environment=environment,
                  arguments=arguments) as server:
        server.logged("threshold is 0.5")
        server.logged("tasks 5")


def test_a_config_module(tmp_path: Path) -> None:
    """-c python:module, and its mistakes are told with its name."""
    (tmp_path / "shopconfig.py").write_text(
        "control_socket_disable = True\nwatchdog_stall_threshold = 0.75\n" + SHOW)
    with Gunicorn(tmp_path, "life:app", config_argument="python:shopconfig") as server:
        server.logged("threshold is 0.75")
    (tmp_path / "badconfig.py").write_text("watchdog_enabled = 'perhaps'\n")
    with Gunicorn(tmp_path, "life:app", config_argument="python:badconfig",
                  wait=False) as server:
        assert server.process.wait(60) == 1
        until(lambda: "watchdog_enabled in python:badconfig: expected True or False" in server.log)


@pytest.mark.smoke
@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["plain", "preload"])
def test_a_good_reload_takes_effect(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """HUP: the new workers have the new values."""
    with Gunicorn(tmp_path, "life:app", config=REPORT_EARLY + SHOW,
                  arguments=arguments) as server:
        server.logged("threshold is 0.25")
        server.write_config("watchdog_stall_threshold = 3.5\n" + SHOW)
        server.hang_up()
        server.logged("threshold is 3.5")


@pytest.mark.smoke
def test_a_bad_reload_is_one_error_and_changes_nothing(tmp_path: Path) -> None:
    """HUP: one ERROR line for all workers; the good value beside the bad one is not taken."""
    with Gunicorn(tmp_path, "life:app", config=REPORT_EARLY + SHOW + "workers = 3\n") as server:
        until(lambda: server.log.count("threshold is 0.25") == 3)
        server.write_config(
            "watchdog_stall_threshold = 9.0\nwatchdog_max_tasks = 'all'\n" + SHOW
            + "workers = 3\n")
        server.hang_up()
        until(lambda: server.log.count("threshold is 0.25") == 6)
        assert server.log.count("all watchdog settings stay as they were") == 1
        server.logged(r"ERROR\] watchdog: watchdog_max_tasks in gunicorn.conf.py: expected a whole")
        assert "threshold is 9" not in server.log
        until(server.answering_pid, what="an answer after the reload")


def test_switched_off_nothing_of_ours_runs(tmp_path: Path) -> None:
    """watchdog_enabled = False: the threads of a plain UvicornWorker, and no report."""
    config = 'watchdog_enabled = False\nwatchdog_dump_dir = "dumps"\n'
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        assert b"watchdog" not in server.get("/threads")[1]
        server.get("/block?s=1.6")
        assert "watchdog loop" not in server.log
        assert not server.reports()
    with Gunicorn(tmp_path, "life:app") as server:
        assert b"watchdog-monitor" in server.get("/threads")[1]


def settings_command(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watchdog_worker", "settings", *arguments],
        cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})


def test_the_settings_command_prints_what_would_be_in_force(tmp_path: Path) -> None:
    """Values of the file, and where they come from."""
    (tmp_path / "gunicorn.conf.py").write_text(REPORT_EARLY)
    done = settings_command(tmp_path)
    assert done.returncode == 0
    assert "watchdog_stall_threshold = 0.25    # set in the config file\n" in done.stdout
    assert "watchdog_max_tasks = 200\n" in done.stdout


@pytest.mark.parametrize("text, complaint", [
    ("watchdog_foo = 1", "watchdog_foo in bad.py is not a setting"),
    ("this is no python", "cannot read bad.py: SyntaxError"),
    ("1 / 0", "cannot read bad.py: ZeroDivisionError: division by zero"),
    ("timeout = 'x'", "timeout: "),
    ("timeout = 4\nwatchdog_pre_kill_margin = 5", "leaves less than two heartbeats of timeout"),
])
def test_the_settings_command_refuses_a_bad_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    """One clear line and a status that is not 0."""
    (tmp_path / "bad.py").write_text(text)
    done = settings_command(tmp_path, "-c", "bad.py")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_settings_command_reads_gunicorns_arguments(tmp_path: Path) -> None:
    """GUNICORN_CMD_ARGS names the file and the timeout that gunicorn would use."""
    (tmp_path / "other.py").write_text(REPORT_EARLY + "watchdog_pre_kill_margin = 5\n")
    done = settings_command(tmp_path, GUNICORN_CMD_ARGS="-c other.py")
    assert "watchdog_stall_threshold = 0.25" in done.stdout
    done = settings_command(tmp_path, GUNICORN_CMD_ARGS="-c other.py -t 4")
    assert done.returncode == 1
    assert "less than two heartbeats of timeout = 4" in done.stderr


def test_the_settings_command_on_a_file_that_is_not_there(tmp_path: Path) -> None:
    """One clear line as well."""
    done = settings_command(tmp_path, "-c", "none.py")
    assert done.returncode == 1
    assert "cannot read none.py: FileNotFoundError" in done.stderr


def test_the_config_that_we_ship_is_right(tmp_path: Path) -> None:
    """A gunicorn starts with it."""
    shipped = Path(__file__).parents[2] / "deploy" / "gunicorn.conf.py"
    with Gunicorn(tmp_path, "life:app", config=shipped.read_text() + SHOW) as server:
        server.logged("threshold is 1.0")
