"""Reports reach those who are to read them, whatever else goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.gunicorn_server import Gunicorn, drained, until
from tests.stall_case import KILL

DUMPS = 'watchdog_dump_dir = "dumps"\n'


@pytest.mark.parametrize("worker", ["UvloopHttptools", "AsyncioH11"])
def test_the_dump_signal_on_a_healthy_loop(tmp_path: Path, worker: str) -> None:
    """SIGUSR2 gives the stacks, and the worker serves on."""
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{worker}", config=DUMPS) as server:
        pid = server.worker_pid()
        os.kill(pid, signal.SIGUSR2)
        report = server.report("on_demand")
        time.sleep(1)
        assert len(server.reports()) == 1
        assert report["severity"] == "info"
        assert "stall" not in report
        assert report["threads"][0]["loop"]
        server.logged(r"INFO\] watchdog stacks on demand: loop healthy")
        assert server.worker_pid() == pid


@pytest.mark.smoke
@pytest.mark.parametrize("worker", ["UvloopHttptools", "AsyncioH11"])
def test_the_dump_signal_on_a_blocked_loop(tmp_path: Path, worker: str) -> None:
    """SIGUSR2 gives the blocking line while the loop is blocked, and interrupts nothing."""
    config = DUMPS + "watchdog_stall_threshold = 10\n"  # a block that nobody has told of yet
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{worker}", config=config) as server:
        pid = server.worker_pid()
        began = time.monotonic()
        blocked = threading.Thread(target=lambda: server.get("/block?s=4"))
        blocked.start()
        until(lambda: time.monotonic() > began + 1.5)
        os.kill(pid, signal.SIGUSR2)
        report = server.report("on_demand")
        assert report["diagnosis"]["culprit"]["function"] == "on_block"
        assert report["stall"]["blocked_s"] > 1
        blocked.join()
        assert time.monotonic() - began >= 4


def test_the_dump_signal_leaves_child_processes_alone(tmp_path: Path) -> None:
    """They start with the mask that a plain worker's have; a fork does not ring its parent."""
    answers = []
    for worker in ("watchdog_worker.Worker", "uvicorn_worker.UvicornWorker"):
        folder = tmp_path / worker
        folder.mkdir()
        with Gunicorn(folder, "life:app", worker=worker, config=DUMPS) as server:
            answers.append((server.get("/child_mask"), server.get("/fork_and_signal")))
            time.sleep(0.5)
            assert not server.reports("on_demand")
    assert answers[0] == answers[1]
    assert answers[0][1] == (200, b"SIGUSR2")


@pytest.mark.smoke
def test_without_a_timeout_there_is_no_dump_but_all_else(tmp_path: Path) -> None:
    """timeout = 0: stall and stall_ended with its profile, no pre_kill."""
    with Gunicorn(tmp_path, "life:app", timeout=0, config=DUMPS) as server:
        assert server.get("/block?s=3")[0] == 200
        ended = server.report("stall_ended")
        assert 2.9 < ended["stall"]["blocked_s"] < 60
        assert ended["profile"]["stacks"][0]["frames"][-1]["function"] == "on_block"
        assert "kill_in_s" not in server.report("stall")["stall"]
        assert not server.reports("pre_kill")
        server.logged(r"WARNING\] watchdog loop free again after [\d.]+ s; it was blocked at ")


def test_a_stall_that_ends_in_the_margin_is_told_to_its_end(tmp_path: Path) -> None:
    """A pre_kill is followed by stall_ended if the loop comes back in time."""
    config = DUMPS + "watchdog_pre_kill_margin = 6.0\n"
    with Gunicorn(tmp_path, "life:app", timeout=10, config=config) as server:
        assert server.get("/block?s=7")[0] == 200
        server.report("stall_ended")
        assert [report["event"] for report in server.reports()] == [
            "stall", "pre_kill", "stall_ended"]


@pytest.mark.smoke
def test_a_dump_comes_while_the_blocked_thread_holds_the_log(tmp_path: Path) -> None:
    """Each report is in the log once, though its handlers' locks are held."""
    with Gunicorn(tmp_path, "life:app", timeout=3) as server:
        blocked = server.send("/hold_log_lock?s=60")
        server.logged(KILL)
        blocked.close()
        server.logged("Booting worker(.|\\n)*Booting worker")
        assert server.log.count("] watchdog loop blocked") == 2
        assert server.arrived(r"event pre_kill") < server.arrived(KILL)


def test_a_log_that_nobody_reads_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """The loop blocks in a full pipe; the report of it arrives once when somebody reads again."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Gunicorn(tmp_path, "life:app", timeout=0, config=DUMPS,
                      arguments=["--error-logfile", str(fifo)]) as server:
            until(lambda: drained(reader))
            blocked = server.send("/flood_log?lines=200")
            server.report("stall")  # the file is not kept waiting by the log
            time.sleep(2)
            read = b""
            end = time.monotonic() + 30
            while b"free again" not in read and time.monotonic() < end:
                read += drained(reader)
                time.sleep(0.01)
            blocked.close()
        text = read.decode()
        assert text.count("watchdog loop blocked") == 1
        assert text.count("watchdog loop free again") == 1
        assert len(re.findall(r"INFO\] flood \d+ x{1000}$", text, re.MULTILINE)) == 200
        assert "blocked in:" in text
    finally:
        os.close(reader)


def test_the_json_format_is_one_line_and_nothing_else(tmp_path: Path) -> None:
    """After the log's own prefix stands the report of schema 1."""
    config = 'watchdog_log_format = "json"\n' + DUMPS
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        server.get("/block?s=1.5")
        server.report("stall_ended")
        line = server.logged(r"\[WARNING\] (\{.*\})$").group(1)
        report = json.loads(line)
        assert report["schema"] == 1
        assert report["event"] == "stall"
        assert report["headline"].startswith("watchdog loop blocked ")
        assert report == server.report("stall")


def test_structured_formatters_get_the_report_as_a_value(tmp_path: Path) -> None:
    """The record carries it as `watchdog`."""
    config = """
import logging
class Shout(logging.Formatter):
    def format(self, record):
        report = getattr(record, "watchdog", None)
        return f"EVENT={report['event']}" if report else record.getMessage()
logconfig_dict = {
    "version": 1, "disable_existing_loggers": False,
    "formatters": {"shout": {"()": Shout}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "shout"}},
    "root": {"handlers": ["out"]},
    "loggers": {"gunicorn.error": {"handlers": ["out"], "level": "INFO", "propagate": False}},
}
"""
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        server.get("/block?s=1.5")
        server.logged(r"^EVENT=stall$")
        server.logged(r"^EVENT=stall_ended$")


def test_the_dump_folder_is_private_and_bounded(tmp_path: Path) -> None:
    """Files are 0600 and complete, and only the newest stay."""
    config = DUMPS + "watchdog_dump_keep = 3\nwatchdog_stall_threshold = 0.2\n"
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        for _ in range(4):
            server.get("/block?s=0.6")
            time.sleep(0.2)
        until(lambda: server.log.count("free again") >= 4)
        until(lambda: len(list(server.dumps.iterdir())) == 3)
        for file in server.dumps.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert json.loads(file.read_text())["schema"] == 1


@pytest.mark.parametrize(
    "hook", ["raise ValueError('boom')", "time.sleep(3600)", "raise SystemExit"])
def test_a_bad_hook_and_a_bad_folder_cost_nothing(tmp_path: Path, hook: str) -> None:
    """The dump is in the log in time; what failed is said."""
    config = f"""
import time
watchdog_dump_dir = "/proc/nowhere"
def watchdog_on_report(worker, report):
    worker.log.info("hook got %s of %s", report["event"], worker.pid)
    {hook}
"""
    with Gunicorn(tmp_path, "life:app", timeout=3, config=config) as server:
        blocked = server.send("/block?s=60")
        server.logged(KILL)
        blocked.close()
        assert server.arrived("event pre_kill") < server.arrived(KILL)
        server.logged(r"hook got stall of \d+")
        server.logged(r"watchdog: watchdog-file failed: ")
        if "raise" in hook:
            server.logged(r"watchdog: watchdog-hook failed: ")


def test_a_monitor_that_dies_says_so_once_and_the_worker_serves_on(tmp_path: Path) -> None:
    """Our own bug costs the watch, not the service."""
    config = """
def post_fork(server, worker):
    from watchdog_worker import monitor
    def broken(signs, state, rules):
        raise ZeroDivisionError("a bug of ours")
    monitor.decide = broken
"""
    with Gunicorn(tmp_path, "life:app", timeout=2, config=config) as server:
        server.logged(r"ERROR\] watchdog: the monitor stopped .* ZeroDivisionError: a bug of ours")
        pid = server.worker_pid()
        time.sleep(4)
        assert server.worker_pid() == pid
        assert server.log.count("the monitor stopped") == 1


def test_a_logging_config_of_the_application_does_not_silence_us(tmp_path: Path) -> None:
    """dictConfig disables every logger that it does not name, gunicorn's among them."""
    (tmp_path / "configured.py").write_text(
        "import logging.config\nlogging.config.dictConfig({'version': 1})\n"
        "from life import app\n")
    with Gunicorn(tmp_path, "configured:app", timeout=3) as server:
        blocked = server.send("/block?s=60")
        server.logged(KILL)
        blocked.close()
        assert server.arrived("event pre_kill") < server.arrived(KILL)


def test_a_short_threshold_is_told_like_a_long_one(tmp_path: Path) -> None:
    """With the blocking line."""
    config = DUMPS + "watchdog_stall_threshold = 0.1\n"
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        server.get("/block?s=0.5")
        assert server.report("stall")["diagnosis"]["culprit"]["function"] == "on_block"


@pytest.mark.smoke
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_no_progress(tmp_path: Path) -> None:
    """They take the place of the current task though nothing goes on."""
    with Gunicorn(tmp_path, "life:app", worker="workers.AsyncioH11", timeout=3) as server:
        blocked = server.send("/eager")
        server.logged(KILL)
        blocked.close()


def test_a_report_that_fails_says_so_once_and_the_watch_goes_on(tmp_path: Path) -> None:
    """A bug in one picture costs that picture."""
    config = DUMPS + """
def post_fork(server, worker):
    from watchdog_worker import watch
    real, calls = watch.diagnose, []
    def broken(snapshot):
        calls.append(1)
        if len(calls) < 3:
            raise ZeroDivisionError("a bug of ours")
        return real(snapshot)
    watch.diagnose = broken
"""
    with Gunicorn(tmp_path, "life:app", config=config) as server:
        for _ in range(3):
            server.get("/block?s=1.5")
        server.report("stall")
        server.logged(r"ERROR\] watchdog: a report could not be made: ZeroDivisionError: a bug")
        assert server.log.count("could not be made") == 1


@pytest.mark.smoke
def test_hostile_objects_are_dumped_in_one_piece(tmp_path: Path) -> None:
    """Reprs that hang, huge values, forged names, 10,000 frames: cut, masked, in time."""
    config = DUMPS + "watchdog_capture_locals = True\n"
    with Gunicorn(tmp_path, "life:app", timeout=3, config=config) as server:
        blocked = server.send("/hostile?s=60")
        server.logged(KILL)
        blocked.close()
        report = server.report("pre_kill")
        loop = report["threads"][0]
        assert loop["frames_total"] > 10_000
        assert len(loop["frames"]) == 60
        assert [frame["omitted"] for frame in loop["frames"] if "omitted" in frame] == [
            loop["frames_total"] - 60]
        assert loop["frames"][-1]["function"] == "_deep"
        shown = next(frame["locals"] for frame in loop["frames"]
                     if frame["function"] == "on_hostile")
        assert shown["strange"] == "<life.Hostile object>"
        assert shown["password"] == "<masked>"
        assert len(shown["huge"]) < 300
        assert "evil\\x0a[CRITICAL] forged\\x1b[31m" in server.log
        assert not re.search(r"^\[CRITICAL\] forged", server.log, re.MULTILINE)


def test_a_source_file_that_is_gone_costs_only_its_line(tmp_path: Path) -> None:
    """The function and the line number are told all the same."""
    with Gunicorn(tmp_path, "life:app", timeout=0, config=DUMPS) as server:
        server.get("/vanish?s=1.5")
        culprit = server.report("stall")["diagnosis"]["culprit"]
        assert (culprit["function"], culprit["line"]) == ("block", 3)
        assert "code" not in culprit


def test_native_code_that_holds_the_gil_is_told_when_it_lets_go(tmp_path: Path) -> None:
    """Late, but at the right line."""
    began = time.perf_counter()
    sum(range(10 ** 7))
    enough = int(10 ** 7 * 4 / (time.perf_counter() - began))  # four seconds, or so
    config = DUMPS + "watchdog_stall_threshold = 0.5\n"
    with Gunicorn(tmp_path, "life:app", timeout=0, config=config) as server:
        assert server.get(f"/hold_gil?n={enough}")[0] == 200
        report = server.report("stall")
        assert report["diagnosis"]["culprit"]["function"] == "on_hold_gil"
        assert report["stall"]["blocked_s"] > 0.5
        server.report("stall_ended")


def test_the_kernel_says_what_the_loop_thread_waits_for(tmp_path: Path) -> None:
    """A socket that waits names its descriptor and its peer."""
    with Gunicorn(tmp_path, timeout=3, config=DUMPS) as server:
        blocked = server.send("/recv")
        wait = server.report("stall")["threads"][0]["wait"]
        blocked.close()
        assert wait["syscall"] in ("poll", "ppoll")
        assert re.fullmatch(r"tcp 127\.0\.0\.1:\d+", wait["target"])
