"""Who holds the loop, and who waits behind it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.gunicorn_server import Gunicorn, until
from tests.stall_case import PAIRS

DUMPS = 'watchdog_dump_dir = "dumps"\n'


@pytest.mark.smoke
@pytest.mark.parametrize("pair", PAIRS)
def test_a_report_lists_the_requests(tmp_path: Path, pair: str) -> None:
    """The one that blocks is marked, the others go by age; a stream has begun its answer."""
    with Gunicorn(tmp_path, "life:app", worker=f"workers.{pair}", config=DUMPS) as server:
        stream = server.send("/stream?s=1000")
        until(lambda: b"200 OK" in stream.recv(65536))
        server.get("/block?s=2")
        stream.close()
        report = server.report("stall")
        assert report["requests_total"] == 2
        waits, blocks = report["requests"]
        assert (waits["path"], waits["blocking"], waits["response_started"]) == (
            "/stream", False, True)
        assert (blocks["path"], blocks["blocking"], blocks["response_started"]) == (
            "/block", True, False)
        assert (blocks["method"], blocks["type"]) == ("GET", "http")
        assert re.fullmatch(r"127\.0\.0\.1:\d+", blocks["client"])
        assert waits["task"] != blocks["task"]
        assert waits["age_s"] >= blocks["age_s"] > 0.9
        server.logged(r"watchdog loop blocked .*, handling GET /block; WORKER TIMEOUT in ")
        server.logged(r"> GET /block, \d+\.\d\d s, holds the loop, no response yet, from 127")


def test_a_client_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    """Neither by its path nor by a header."""
    with Gunicorn(tmp_path, "life:app", config=DUMPS) as server:
        hostile = server.send("/block%0a[CRITICAL]%1b[31mforged?s=2")
        until(lambda: "KeyError" in server.log)  # there is no such page, but the path is read
        hostile.close()
        evil = server.send(
            "/stream%0a[CRITICAL]?s=1", b"x-request-id: a\xc2\x9b31m\r\n")
        evil.close()
        blocked = server.send(
            "/block?s=2&token=hunter2", b"x-request-id: a\xc2\x9b31mb\r\ncookie: c=hunter2\r\n")
        report = server.report("stall")
        blocked.close()
        assert report["requests"][0]["headers"] == {"x-request-id": "a\xc2\x9b31mb"}
        assert "hunter2" not in server.log
        server.logged(r"x-request-id: a\xc2\\x9b31mb")
        assert not re.search(r"^\[CRITICAL\]", server.log, re.MULTILINE)


def test_the_query_is_kept_where_it_is_wanted(tmp_path: Path) -> None:
    """watchdog_capture_query."""
    with Gunicorn(tmp_path, "life:app", config=DUMPS + "watchdog_capture_query = True\n") as server:
        server.get("/block?s=1.5")
        assert server.report("stall")["requests"][0]["path"] == "/block?s=1.5"
