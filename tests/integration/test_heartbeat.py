"""The configured timeout is the timeout that the user gets."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.gunicorn_server import Gunicorn, until
from tests.stall_case import KILL, PAIRS

DUMPS = 'watchdog_dump_dir = "dumps"\n'


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.7, 2.9])
def test_a_block_shorter_than_the_timeout_never_kills(tmp_path: Path, offset: float) -> None:
    """With -t 6 a block of 4.5 s is survived, whenever it starts."""
    with Gunicorn(tmp_path, "life:app", timeout=6) as server:
        pid = server.worker_pid()
        time.sleep(offset)
        assert server.get("/block?s=4.5")[0] == 200
        time.sleep(1.5)
        assert server.worker_pid() == pid
        assert "WORKER TIMEOUT (pid" not in server.log


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("clients", [1, 8])
def test_a_worker_that_keeps_answering_is_never_killed(
    tmp_path: Path, clients: int, pair: str
) -> None:
    """Requests that each block for 0.95 s, for three timeouts on end, alone and eight at once.

    Eight ready callbacks run before any timer does: the loop's own timers wait for 7.6 s.
    """
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{pair}", timeout=3) as server:
        pid = server.worker_pid()
        end = time.monotonic() + 9
        failures: list[object] = []

        def keep_asking() -> None:
            while time.monotonic() < end and not failures:
                try:
                    status, body = server.get("/block?s=0.95")
                    if (status, int(body)) != (200, pid):
                        failures.append((status, body))
                except OSError as error:
                    failures.append(error)

        threads = [threading.Thread(target=keep_asking) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert "WORKER TIMEOUT (pid" not in server.log


@pytest.mark.parametrize("pair", PAIRS)
def test_a_loop_that_is_busy_with_many_callbacks_is_not_killed(tmp_path: Path, pair: str) -> None:
    """Eight requests that await, block for 0.95 s and await again: none enters or leaves, and
    no timer gets its turn, for longer than the timeout."""
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{pair}", timeout=3) as server:
        pid = server.worker_pid()
        answers: list[tuple[int, bytes]] = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.get("/slices?n=2&s=0.95")))
            for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [(200, str(pid).encode())] * 8
        assert "WORKER TIMEOUT (pid" not in server.log


def test_a_stuck_loop_gets_no_time_beyond_its_own(tmp_path: Path) -> None:
    """A second block in one worker is killed as early as a first one."""
    config = DUMPS + "watchdog_stall_threshold = 0.5\n"
    with Gunicorn(tmp_path, "life:app", timeout=4, config=config) as server:
        assert server.get("/block?s=1.5")[0] == 200
        server.report("stall_ended")
        blocked = server.send("/block?s=60")
        server.logged(KILL)
        blocked.close()
        told = server.report("pre_kill")["stall"]
        assert abs(told["blocked_s"] + told["kill_in_s"] - 4.0) < 0.6  # timeout and a heartbeat


@pytest.mark.smoke
@pytest.mark.parametrize("pair", PAIRS)
def test_the_heartbeat_survives_an_application_that_cancels_all_tasks(
    tmp_path: Path, pair: str
) -> None:
    """Nothing that a task can be told reaches it."""
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{pair}", timeout=2) as server:
        pid = server.worker_pid()
        assert server.get("/cancel_all")[0] == 200
        time.sleep(4.5)
        assert server.worker_pid() == pid
        assert "WORKER TIMEOUT (pid" not in server.log


@pytest.mark.smoke
def test_a_lifespan_that_blocks_while_it_loads_is_not_killed(tmp_path: Path) -> None:
    """As on uvicorn's worker; but the log says where it stands."""
    with Gunicorn(tmp_path, "life:app", timeout=1, config=DUMPS,
                  environment={"LIFE_STARTUP_S": "4"}) as server:
        assert "WORKER TIMEOUT (pid" not in server.log
        report = server.report("stall")
        assert report["stall"]["phase"] == "startup"
        assert "kill_in_s" not in report["stall"]
        assert report["diagnosis"]["culprit"]["function"] == "lifespan"
        assert not server.reports("pre_kill")


@pytest.mark.smoke
def test_an_open_stream_outlives_a_reload(tmp_path: Path) -> None:
    """The drain goes on notifying, so the old worker is not killed under its client."""
    with Gunicorn(tmp_path, "life:app", timeout=1) as server:
        old = server.worker_pid()
        answer: list[tuple[int, bytes]] = []
        client = threading.Thread(target=lambda: answer.append(server.get("/stream?s=5")))
        client.start()
        time.sleep(0.3)
        server.hang_up()
        until(lambda: server.answering_pid() not in (None, old), what="the new worker")
        client.join()
        assert answer == [(200, b"." * 50 + b"end")]
        assert "WORKER TIMEOUT (pid" not in server.log


def test_an_endless_stream_does_not_keep_the_old_worker(tmp_path: Path) -> None:
    """graceful_timeout ends a drain, with the client's connection."""
    with Gunicorn(tmp_path, "life:app", timeout=4,
                  arguments=["--graceful-timeout", "2"]) as server:
        old = server.worker_pid()
        stream = server.send("/stream?s=1000")
        server.hang_up()
        until(lambda: not alive(old), 30, "the old worker's end")
        stream.close()
        assert "WORKER TIMEOUT (pid" not in server.log


def test_a_drain_that_does_not_end_is_killed_in_the_end(tmp_path: Path) -> None:
    """A lifespan that waits for ever is notified for until graceful_timeout, then dumped."""
    with Gunicorn(tmp_path, "life:app", timeout=2, config=DUMPS,
                  environment={"LIFE_SHUTDOWN_WAIT_S": "1000"},
                  arguments=["--graceful-timeout", "2"]) as server:
        server.hang_up()
        server.logged(r"watchdog loop alive, but the drain has outlasted graceful_timeout, "
                      r"waiting for lifespan shutdown at .*life.py:\d+ in lifespan: .*; WORKER")
        server.logged(KILL)
        report = server.report("pre_kill")
        chains = [group["await_chain"] for group in report["tasks"]["groups"]]
        assert any(frame["function"] == "lifespan" for chain in chains for frame in chain)
        assert report["diagnosis"]["culprit"]["function"] == "lifespan"
        assert report["stage"]["holder"] == "lifespan shutdown"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_block_in_lifespan_shutdown_is_dumped_and_killed(tmp_path: Path) -> None:
    """The last phase is watched like the others."""
    with Gunicorn(tmp_path, "life:app", timeout=2, config=DUMPS,
                  environment={"LIFE_SHUTDOWN_S": "60"}) as server:
        server.hang_up()
        server.logged(KILL)
        report = server.report("pre_kill")
        assert report["stall"]["phase"] == "shutdown"
        assert report["diagnosis"]["culprit"]["function"] == "lifespan"
