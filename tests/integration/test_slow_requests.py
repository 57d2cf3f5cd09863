"""A request that is slow although the loop is free is told once, with what it waits for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.gunicorn_server import Gunicorn, until
from tests.raw_client import RawClient, request
from tests.stall_case import PAIRS

CONFIG = 'watchdog_dump_dir = "dumps"\nwatchdog_slow_request_threshold = 0.5\n'


def slow_paths(report: dict[str, Any]) -> list[str]:
    return [request["path"] for request in report["requests"] if request.get("slow")]


@pytest.mark.smoke
@pytest.mark.parametrize("pair", PAIRS)
def test_a_slow_request_is_told_once_with_its_await_chain(tmp_path: Path, pair: str) -> None:
    """It is not ended, and a quick one beside it is not told."""
    with Gunicorn(tmp_path, "slow:app", worker=f"workers.{pair}", config=CONFIG) as server:
        pid = server.worker_pid()
        assert server.get("/wait?s=3") == (200, str(pid).encode())
        server.get("/")
        report = server.report("slow_request")
        assert len(server.reports()) == 1
        assert slow_paths(report) == ["/wait"]
        (slow,) = report["requests"]
        assert 0.5 <= slow["age_s"] < 2.5 and not slow["blocking"]
        assert slow["waits_at"]["function"] == "deeper"
        assert slow["waits_at"]["code"] == "await asyncio.sleep(seconds)"
        (group,) = report["tasks"]["groups"]
        functions = [frame["function"] for frame in group["await_chain"] if frame.get("app")]
        assert functions == ["app", "on_wait", "deeper"]
        assert group["names"] == [slow["task"]]
        assert report["severity"] == "warning"
        assert "stall" not in report and "threads" not in report
        server.logged(r"WARNING\] watchdog slow request: GET /wait, \d\.\d s, waiting at "
                      r".*slow\.py:\d+ in deeper: await asyncio\.sleep\(seconds\)$")


@pytest.mark.parametrize("path, function", [
    ("/started", "deeper"),  # a task that the handler has started and waits for
    ("/joined", "deeper"),  # one in a task group that it waits for
    ("/gathered", "deeper"), ("/timed", "deeper"), ("/shielded", "deeper"),
    ("/beside", "on_beside"),  # not a task that it has only started
    ("/busy", "on_busy"),  # one that is running just then, or about to
    ("/timed_thread", "work"),
    ("/anyio", "work"), ("/to_thread", "work"),  # in the thread that works for it
])
def test_the_line_that_tells_most_is_told(tmp_path: Path, path: str, function: str) -> None:
    """Where the request's own task only waits for another, that one's line."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        assert_told(server, path, function)


def assert_told(server: Gunicorn, path: str, function: str) -> None:
    told = len(server.reports())
    server.get(path + "?s=1.5")
    until(lambda: len(server.reports("slow_request")) > told)
    (slow,) = server.reports("slow_request")[-1]["requests"]
    assert slow["path"] == path
    assert slow["waits_at"]["function"] == function
    assert slow["waits_at"]["file"].endswith("slow.py")


@pytest.mark.parametrize("app", ["slow:starlette()", "slow:starlette(True)"])
def test_the_line_is_told_through_starlettes_own_tasks(tmp_path: Path, app: str) -> None:
    """Middlewares, responses that stream, and endpoints in threads have task groups and pools."""
    with Gunicorn(tmp_path, app, config=CONFIG) as server:
        for path, function in (("/endpoint", "deeper"), ("/in_thread", "work"),
                               ("/stream", "deeper"), ("/stream_in_thread", "work")):
            assert_told(server, path, function)


def test_blocks_one_after_the_other_are_not_the_requests_fault(tmp_path: Path) -> None:
    """Each too short for a stall, with a request that enters between: a sign of life, no beat."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        clients = [RawClient(server.port) for _ in range(5)]
        for client in clients:
            client.send(request("/"))
            client.response()
        clients[0].send(request("/block?s=0.9"))
        time.sleep(0.2)
        clients[1].send(request("/wait?s=0.05"))
        for client in clients[2:]:
            client.send(request("/block?s=0.9"))
        for client in clients:
            client.response()
            client.__exit__(None, None, None)
        time.sleep(1.0)
        assert server.reports("slow_request") == []


def test_one_odd_object_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    """What cannot be read is told without its place."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        paths = ["/hostile", "/empty_cell", "/wait", "/leader", "/follower"]
        connections = [server.send(path + "?s=4") for path in paths]

        def told() -> list[str]:
            return sorted(path for report in server.reports("slow_request")
                          for path in slow_paths(report))

        until(lambda: len(told()) >= len(paths))
        for connection in connections:
            connection.close()
        assert told() == sorted(paths)


def test_the_slow_ones_are_listed_before_the_others(tmp_path: Path) -> None:
    """However many old ones there are."""
    config = CONFIG + "watchdog_max_requests = 3\n"
    with Gunicorn(tmp_path, "slow:app", config=config) as server:
        old = [server.send("/wait?s=20") for _ in range(10)]
        until(lambda: sum(len(slow_paths(report)) for report in server.reports()) >= 3)
        time.sleep(1.5)
        count = len(server.reports())
        late = server.send("/anyio?s=5")
        until(lambda: len(server.reports()) > count)
        report = server.reports()[-1]
        for connection in (*old, late):
            connection.close()
        assert slow_paths(report) == ["/anyio"] and len(report["requests"]) == 3
        assert "GET /anyio" in report["headline"]


def test_a_pool_without_a_free_thread_is_told(tmp_path: Path) -> None:
    """How full it is, and what its threads are at; the loop is fine meanwhile."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        began = time.monotonic()
        connections = [server.send("/anyio?s=3") for _ in range(45)]
        assert server.get("/")[0] == 200
        report = until(lambda: next((report for report in server.reports("slow_request")
                                     if slow_paths(report).count("/anyio") > 10), None))
        for connection in connections:
            connection.close()
        (pool,) = report["pools"]
        assert pool == {"name": "anyio", "borrowed": 40, "total": 40, "waiting": 5}
        assert report["threads_total"] == len(report["threads"]) == 40
        for thread in report["threads"]:
            assert thread["frames"][-1]["function"] == "work" and not thread["loop"]
        assert "no thread free: 40 of 40 at work" in report["diagnosis"]["summary"]
        assert "; thread pool anyio exhausted (40 of 40 at work, 5 waiting)" in report["headline"]
        assert time.monotonic() - began < 60
        assert server.reports("stall") == []


def test_an_executor_without_a_free_thread_is_told(tmp_path: Path) -> None:
    """The application's own, by its name; another one beside it is not."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        other = server.send("/to_thread?s=3")
        connections = [server.send("/executor?s=3") for _ in range(5)]

        def slow() -> list[dict[str, Any]]:
            return [request for report in server.reports("slow_request")
                    for request in report["requests"]
                    if request.get("slow") and request["path"] == "/executor"]

        until(lambda: len(slow()) == 5)
        for connection in (other, *connections):
            connection.close()
        waits = [request["waits_at"]["function"] for request in slow()]
        assert sorted(waits) == ["on_executor"] * 3 + ["work"] * 2
        assert {request["pool"] for request in slow()} == {"reports"}
        pools = [pool for report in server.reports("slow_request") for pool in report["pools"]]
        assert {"name": "reports", "borrowed": 2, "total": 2, "waiting": 3} in pools
        assert all(pool["waiting"] == 0 for pool in pools if pool["name"] != "reports")


def test_what_a_stall_took_is_not_the_requests_fault(tmp_path: Path) -> None:
    """It waited for the loop; there is a `stall` about that."""
    with Gunicorn(tmp_path, "slow:app", config=CONFIG) as server:
        waits = server.send("/wait?s=0.4")
        blocks = server.send("/block?s=2.5")
        assert waits.recv(1) and blocks.recv(1)
        waits.close()
        blocks.close()
        server.report("stall_ended")
        time.sleep(1)
        assert server.reports("slow_request") == []


def test_a_websocket_is_not_slow(tmp_path: Path) -> None:
    """It is there to stay."""
    with Gunicorn(tmp_path, "contexts:app", config=CONFIG, wait_path="/pid") as server:
        with RawClient(server.port) as client:
            client.websocket("/")
            time.sleep(1.5)
            assert server.reports("slow_request") == []
