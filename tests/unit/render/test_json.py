"""The report of schema 1 on one line."""

from __future__ import annotations

import json

from tests.unit import reports
from watchdog_worker.render.json import line


def test_the_line_is_the_report() -> None:
    """ASCII without control characters, and the keys of the contract."""
    text = line(reports.pre_kill())
    assert text.isascii() and text.isprintable()
    told = json.loads(text)
    assert told == reports.pre_kill().to_dict()
    assert {"schema", "event", "severity", "time", "pid", "worker_age", "app", "headline", "stall",
            "diagnosis", "threads", "threads_total", "tasks", "process", "profile"} <= set(told)
    assert told["time"] == "2026-01-02T12:00:00.123Z"
    assert told["severity"] == "critical"
    assert told["stall"] == {"blocked_s": 5.0, "phase": "serving", "timeout_s": 6.0,
                             "kill_in_s": 1.0, "gil_held": None, "withheld": 2,
                             "silent": True, "running": True}
    assert told["threads"][0]["frames"][-1] == {
        "file": "/lib/socket.py", "line": 705, "function": "readinto",
        "code": "return self._sock.recv_into(b)", "module": "socket",
        "qualname": "SocketIO.readinto", "calls": "socket.socket.recv_into"}
    assert "locals" not in told["threads"][0]["frames"][0]
