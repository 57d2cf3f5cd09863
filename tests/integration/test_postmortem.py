"""A worker that dies is told of: how, for which request, at which line, and once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.deaths.cases import CASES, Case, die, possible, serving
from tests.gunicorn_server import APPS, ROOT, Gunicorn, drained, until

DUMPS = 'watchdog_dump_dir = "dumps"\n'
SMOKE = ("killed from outside", "segmentation fault", "GIL held until the kill")


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.name, marks=[pytest.mark.smoke] if case.name in SMOKE else [])
    for case in CASES])
def test_every_way_to_die(tmp_path: Path, case: Case) -> None:
    """Within three seconds: the reason, the request, the line where one can be known; once."""
    if not possible(case):
        pytest.skip("no control group with a limit of memory can be made here")
    with serving(case, tmp_path) as server:
        assert die(case, server, told_before=0).wrong == ()
        until(lambda: len(recorders(server)) == 1)  # the next worker's


def recorders(server: Gunicorn) -> list[Path]:
    return sorted(server.recorders.glob("*")) if server.recorders.is_dir() else []


def open_recorders(pid: int) -> set[str]:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except OSError:  # it was listed while it was open
            continue
    return {link for link in links if ".vitals" in link}


@pytest.mark.smoke
@pytest.mark.parametrize("end", ["TERM", "HUP", "TTOU", "max_requests",
                                 "INT to the worker", "TERM to the worker"])
def test_an_orderly_end_is_not_told(tmp_path: Path, end: str) -> None:
    """No report, and no recorder left behind."""
    config = DUMPS + "workers = 2\n" + ("max_requests = 1\n" if end == "max_requests" else "")
    with Gunicorn(tmp_path, "deaths:app", config=config) as server:
        pid = until(server.answering_pid)
        if end == "TERM":
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)
            assert not recorders(server)
        else:
            if end == "HUP":
                server.hang_up()
            elif end == "TTOU":
                for _ in range(3):  # one worker always stays
                    server.process.send_signal(signal.SIGTTOU)
                until(lambda: len(recorders(server)) == 1)
                return
            elif end != "max_requests":
                os.kill(pid, signal.Signals["SIG" + end.split()[0]])
            until(lambda: not Path(f"/proc/{pid}").exists())
            until(lambda: len(recorders(server)) == 2)
        assert not server.reports()
        assert "watchdog worker" not in server.log


def test_a_recorder_is_private_and_nobody_elses_business(tmp_path: Path) -> None:
    """Mode 0600; a worker has its own open, and the arbiter one for each."""
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS + "workers = 3\n") as server:
        until(lambda: server.log.count("Application startup complete") == 3)
        files = recorders(server)
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
        assert open_recorders(server.process.pid) == {str(file) for file in files}
        assert len(open_recorders(until(server.answering_pid))) == 1


def test_the_users_own_hooks_run(tmp_path: Path) -> None:
    """`child_exit` and `on_exit` are called as ever, also when the first raises."""
    config = DUMPS + """
def child_exit(server, worker):
    server.log.info("theirs: child_exit %s", worker.pid)
def on_exit(server):
    server.log.info("theirs: on_exit")
"""
    with Gunicorn(tmp_path, "deaths:app", config=config) as server:
        pid = until(server.answering_pid)
        server.send("/leave").close()
        server.logged(rf"theirs: child_exit {pid}")
        server.logged(rf"watchdog worker {pid} exited with status 7")
        server.replaced(pid)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        server.logged("theirs: on_exit")


@pytest.mark.smoke
def test_reports_that_the_log_did_not_take_are_delivered_by_the_arbiter(tmp_path: Path) -> None:
    """The log is a pipe that nobody reads until the worker is dead: all of it is there then."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Gunicorn(tmp_path, "life:app", timeout=3, config=DUMPS,
                      arguments=["--error-logfile", str(fifo)]) as server:
            pid = server.worker_pid()
            until(lambda: drained(reader))
            blocked = server.send("/flood_log?lines=200")
            until(lambda: server.reports("pre_kill"))
            until(lambda: not Path(f"/proc/{pid}").exists())
            text, end = b"", time.monotonic() + 30
            while b"event post_mortem" not in text and time.monotonic() < end:
                text += drained(reader)
                time.sleep(0.01)
            blocked.close()
        events = re.findall(r"^  event (\w+), worker (\d+)", text.decode(), re.MULTILINE)
        assert events == [(event, str(pid)) for event in ("stall", "pre_kill", "post_mortem")]
    finally:
        os.close(reader)


@pytest.mark.smoke
def test_after_the_death_of_all_the_next_start_tells_once(tmp_path: Path) -> None:
    """Those of another gunicorn, which lives, are left alone."""
    for name in ("one", "two", "again0", "again1"):
        (tmp_path / name).mkdir()
    with Gunicorn(tmp_path / "one", "deaths:app", config=DUMPS) as other:
        shared = {"WATCHDOG_RUN_DIR": str(other.recorders)}
        with Gunicorn(tmp_path / "two", "deaths:app", config=DUMPS,
                      environment=shared) as server:
            pid = until(server.answering_pid)
            waiting = server.send("/wait", b"X-Request-ID: 42\r\n")
            time.sleep(2.5)  # the monitor has had its look at a request that takes long
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            waiting.close()
        assert len(recorders(other)) == 2
        for told in (1, 0):
            with Gunicorn(tmp_path / f"again{told}", "deaths:app", config=DUMPS,
                          environment=shared) as again:
                until(lambda: len(again.reports()) == told)
                assert len(recorders(other)) == 2  # the living one's, and ours
                if told:
                    (report,) = again.reports()
                    assert report["pid"] == pid
                    assert report["death"]["left_behind"]
                    assert report["death"]["reason"] == "unknown"
                    (request,) = report["requests"]
                    assert (request["path"], request["headers"]) == (
                        "/wait", {"x-request-id": "42"})
                    assert 2 < request["age_s"] < 60
                again.process.send_signal(signal.SIGTERM)
                again.process.wait(30)
        assert not other.reports()


@pytest.mark.parametrize("folder", ["/proc/nowhere", "full", "file"])
def test_a_folder_that_does_not_do_costs_one_warning(tmp_path: Path, folder: str) -> None:
    """Workers run without a recorder, and are watched all the same."""
    if folder == "full":
        folder = str(tmp_path / "full")
        os.mkdir(folder)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
                              capture_output=True)
        if made.returncode:
            pytest.skip("no file system can be mounted here")
    elif folder == "file":
        folder = str(tmp_path / "file")
        Path(folder).write_text("")
    try:
        config = DUMPS + f"watchdog_run_dir = {folder!r}\nworkers = 2\n"
        with Gunicorn(tmp_path, "deaths:app", timeout=3, config=config) as server:
            server.send("/sleep").close()
            pid = server.report("pre_kill")["pid"]
            until(lambda: not Path(f"/proc/{pid}").exists())
            until(server.answering_pid)
            assert server.log.count("no flight recorder can be kept") == 1
            assert not server.reports("post_mortem")
    finally:
        subprocess.run(["umount", str(tmp_path / "full")], capture_output=True)


@pytest.mark.smoke
def test_what_the_application_forks_is_none_of_the_recorders_business(tmp_path: Path) -> None:
    """A child that crashes writes nothing there, and one that exits does exit."""
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS) as server:
        pid = until(server.answering_pid)
        assert server.get("/fork_and_crash")[0] == 200
        (file,) = recorders(server)
        assert file.stat().st_size == 303104
        os.kill(pid, signal.SIGKILL)
        assert "raw_stacks" not in server.report("post_mortem")["death"]


def test_an_application_that_enables_faulthandler_is_taken_over(tmp_path: Path) -> None:
    """The stack is in the report, whoever was first."""
    (tmp_path / "own.py").write_text(
        "import faulthandler\nfaulthandler.enable()\nfrom deaths import app\n")
    with Gunicorn(tmp_path, "own:app", config=DUMPS,
                  environment={"PYTHONFAULTHANDLER": "1"}) as server:
        server.send("/segfault").close()
        report = server.report("post_mortem")
        assert report["diagnosis"]["culprit"]["function"] == "segfault"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_worker_with_another_user_is_told_of(tmp_path: Path) -> None:
    """The recorder is the worker's, and the report is made without the arbiter's privileges."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        os.chmod(folder, folder.stat().st_mode | 0o055)
    os.mkdir(tmp_path / "dumps", 0o777)
    os.chmod(tmp_path / "dumps", 0o777)
    # The interpreter's own files may be closed to others: so all is imported before the fork.
    config = DUMPS + "user = 65534\ngroup = 65534\npreload_app = True\n" + """
import uvicorn.loops.uvloop, uvicorn.protocols.http.httptools_impl, uvicorn.lifespan.on
import uvicorn.protocols.websockets.auto
def watchdog_on_report(worker, report):
    import os
    worker.log.info("hook of %s as %s", report["event"], os.geteuid())
"""
    with Gunicorn(tmp_path, "deaths:app", config=config) as server:
        (file,) = recorders(server)
        assert file.stat().st_uid == 65534
        pid = until(server.answering_pid)
        server.send("/segfault").close()
        assert server.report("post_mortem")["pid"] == pid
        server.logged("hook of post_mortem as 65534")


@pytest.mark.parametrize("hook", ["raise SystemExit", "time.sleep(3600)"])
def test_a_bad_hook_costs_neither_the_report_nor_the_arbiter(tmp_path: Path, hook: str) -> None:
    """The next worker is there at once."""
    config = f"""
import time
watchdog_dump_dir = "/proc/nowhere"
def watchdog_on_report(worker, report):
    {hook}
"""
    with Gunicorn(tmp_path, "deaths:app", config=config) as server:
        pid = until(server.answering_pid)
        began = time.monotonic()
        server.send("/leave").close()
        server.logged(rf"watchdog worker {pid} exited with status 7")
        server.replaced(pid)
        assert time.monotonic() - began < 10
        server.logged("watchdog: watchdog-file failed")


def test_a_boot_that_fails_is_left_to_gunicorn(tmp_path: Path) -> None:
    """It says why, and we say nothing and leave nothing."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken on purpose')\n")
    with Gunicorn(tmp_path, "broken:app", config=DUMPS, wait=False) as server:
        server.process.wait(30)
        until(lambda: "broken on purpose" in server.log)
        assert not server.reports()
        assert "watchdog worker" not in server.log
        assert not recorders(server)


def test_a_worker_killed_at_the_end_of_its_drain_is_told_of(tmp_path: Path) -> None:
    """It was not orderly: a request was lost."""
    config = DUMPS + "graceful_timeout = 1\n"
    with Gunicorn(tmp_path, "deaths:app", timeout=30, config=config) as server:
        server.send("/sleep").close()
        server.report("stall")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        report = server.report("post_mortem")
        assert (report["death"]["reason"], report["death"]["signal"]) == ("killed", "SIGKILL")
        assert any("ending all workers" in each for each in report["diagnosis"]["evidence"])
        assert report["diagnosis"]["remedy"].startswith("a longer `graceful_timeout`")
        assert report["diagnosis"]["cause"] == "sleep"
        server.logged(
            r"was killed by gunicorn at the end of graceful_timeout \(SIGKILL\) while its loop was "
            r"blocked [\d.]+ s by time.sleep at .* handling GET /sleep$")
        assert report["requests"][0]["path"] == "/sleep"
        assert not recorders(server)


def test_a_status_that_ends_gunicorn(tmp_path: Path) -> None:
    """It takes 3 and 4 for a boot that has failed, and asks no hook: in a serving worker, we tell.
    """
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS + "workers = 2\n") as server:
        until(lambda: len(booted(server)) == 2)
        server.send("/leave_as_if_boot_had_failed").close()
        server.process.wait(30)
        (report,) = server.reports()
        assert report["pid"] in booted(server)
        assert (report["death"]["reason"], report["death"]["exit_code"]) == ("exit", 3)
        assert any("ends all" in each for each in report["diagnosis"]["evidence"])
        assert not recorders(server)


def test_workers_that_left_in_order_after_their_arbiter_was_killed(tmp_path: Path) -> None:
    """There is nothing to tell of them at the next start, and nothing is left."""
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS) as server:
        pid = until(server.answering_pid)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}").exists())
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS) as again:
        until(lambda: len(recorders(again)) == 1)
        assert not again.reports()


def test_a_boot_that_crashes_again_and_again_is_told_so_often_a_minute(tmp_path: Path) -> None:
    """Then it is counted."""
    (tmp_path / "crashing.py").write_text("import ctypes\nctypes.string_at(0)\n")
    config = DUMPS + "watchdog_stall_rate_limit = 2\n"
    with Gunicorn(tmp_path, "crashing:app", config=config, wait=False) as server:
        until(lambda: server.log.count("Booting worker") > 6)
        assert len(server.reports("post_mortem")) == 2


@pytest.mark.smoke
def test_many_workers_that_die_at_once(tmp_path: Path) -> None:
    """Each is told of and replaced, whatever the arbiter was in the middle of: before gunicorn 25
    it reaps in a signal handler, which may interrupt a fork."""
    config = DUMPS + "workers = 8\nwatchdog_dump_keep = 1000\n"
    with Gunicorn(tmp_path, "deaths:app", config=config) as server:
        killed: set[int] = set()
        for _ in range(4):
            pids = until(lambda: len(booted(server) - killed) == 8 and booted(server) - killed)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            killed |= pids
        until(lambda: len(booted(server) - killed) == 8)
        until(lambda: len(recorders(server)) == 8)
        until(lambda: {report["pid"] for report in server.reports("post_mortem")} == killed)
        assert len(server.reports("post_mortem")) == len(killed)


def booted(server: Gunicorn) -> set[int]:
    """Those that serve; gunicorn 22 loses sight of one that dies in the moment of its fork."""
    return set(map(int, re.findall(
        r"\[(\d+)\] \[INFO\] Application startup complete", server.log)))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler of C")
def test_a_handler_of_the_applications_own_is_left_alone(tmp_path: Path) -> None:
    """Some libraries catch SIGSEGV and go on: WebAssembly, the JVM. They do so here, too."""
    source = tmp_path / "catcher.c"
    source.write_text(CATCHER)
    library = tmp_path / "catcher.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "catching.py").write_text(f"""
import ctypes, deaths
catcher = ctypes.CDLL({str(library)!r})
catcher.install()
async def app(scope, receive, send):
    if scope["path"] == "/trap":
        assert catcher.trap() == 7
    await deaths.app(scope, receive, send)
""")
    for preload in (False, True):
        folder = tmp_path / str(preload)
        folder.mkdir()
        with Gunicorn(folder, "catching:app", config=DUMPS + f"preload_app = {preload}\n",
                      environment={"PYTHONPATH": os.pathsep.join(
                          [str(ROOT), str(APPS), str(tmp_path)])}) as server:
            pid = until(server.answering_pid)
            for _ in range(3):
                assert server.get("/trap")[0] == 200
            assert until(server.answering_pid) == pid


CATCHER = """
#include <signal.h>
#include <setjmp.h>
static sigjmp_buf back;
static volatile int trapping;
static void handle(int number, siginfo_t *info, void *context) {
    if (trapping) siglongjmp(back, 7);
    signal(number, SIG_DFL);
}
void install(void) {
    struct sigaction action = {0};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, 0);
}
int trap(void) {
    int caught = sigsetjmp(back, 1);
    if (caught) { trapping = 0; return caught; }
    trapping = 1;
    return *(volatile int *)8;
}
"""


def test_switched_off_and_on_again_by_hup(tmp_path: Path) -> None:
    """Workers that have a recorder are looked after to their end: what was orderly is not told."""
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS) as server:
        for enabled in (False, True, False):
            pid = until(server.answering_pid)
            server.write_config(DUMPS + f"watchdog_enabled = {enabled}\n")
            server.hang_up()
            server.replaced(pid)
            until(lambda: len(recorders(server)) == enabled)
        assert not server.reports()


def test_a_death_beside_reuse_port_is_no_shutdown(tmp_path: Path) -> None:
    """The arbiter has no listeners of its own then."""
    with Gunicorn(tmp_path, "deaths:app", config=DUMPS, arguments=["--reuse-port"]) as server:
        os.kill(until(server.answering_pid), signal.SIGKILL)
        report = server.report("post_mortem")
        assert "by_arbiter" not in report["death"]
        assert "arbiter: it has not sent this signal" in report["diagnosis"]["evidence"]


def test_killed_while_it_is_imported(tmp_path: Path) -> None:
    """The phase says how far it had come."""
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(3600)\n")
    with Gunicorn(tmp_path, "endless:app", config=DUMPS, wait=False) as server:
        found: Any = until(lambda: re.search(r"Booting worker with pid: (\d+)", server.log))
        time.sleep(1)
        os.kill(int(found[1]), signal.SIGKILL)
        report = server.report("post_mortem")
        assert report["death"]["phase"] == "boot"
        assert report["pid"] == int(found[1])
