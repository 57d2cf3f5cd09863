"""A real gunicorn for tests: started on a free port, its log read as it comes, ended by pid."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
APPS = ROOT / "tests" / "apps"
PATIENCE_S = 60.0
"""How long anything may take on a machine that is busy with other things."""


def until(true: Callable[[], Any], seconds: float = PATIENCE_S, what: str = "") -> Any:
    """Poll until `true()` gives something true, and give that; AssertionError after the time."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what or true}"
        time.sleep(0.02)


def drained(reader: int) -> bytes:
    """What is in a pipe that is read without blocking."""
    try:
        return os.read(reader, 65536)
    except BlockingIOError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gunicorn:
    """`with Gunicorn(folder, …) as server:` runs gunicorn with one worker in `folder`."""

    def __init__(
        self,
        folder: Path,
        app: str = "stalls:app",
        worker: str = "watchdog_worker.Worker",
        timeout: int = 30,
        config: str = "",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        config_argument: str | None = None,
        python: str = sys.executable,
        wait: bool = True,
        wait_path: str = "/",
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder, self.port, self._wait = folder, free_port(), wait
        self._wait_path = wait_path
        self.dumps, self.recorders = folder / "dumps", folder / "recorders"
        self.config_file = folder / "gunicorn.conf.py"
        self.write_config(config)
        self._command = [
            *prefix, python, "-m", "gunicorn", app, "-k", worker, "-t", str(timeout),
            "-b", f"127.0.0.1:{self.port}", "-c", config_argument or str(self.config_file),
            *arguments,
        ]
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("WATCHDOG_", "GUNICORN_", "STALL_", "COV_"))}
        self._environment = {
            **inherited, "PYTHONPATH": os.pathsep.join([str(ROOT), str(APPS), str(folder)]),
            "STALL_FOLDER": str(folder),
            # Recorders of its own: what another test has left behind is not its business.
            "WATCHDOG_RUN_DIR": str(self.recorders), **(environment or {}),
        }
        self.lines: list[tuple[float, str]] = []
        """The log so far: when each line arrived (time of day), and the line."""
        self.process: subprocess.Popen[bytes]

    def write_config(self, config: str) -> None:
        self.config_file.write_text(
            "control_socket_disable = True\n" + config)

    def __enter__(self) -> Gunicorn:
        # A session of its own: what it leaves is found by its process group.
        self.process = subprocess.Popen(
            self._command, cwd=self.folder, env=self._environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self._wait:
            try:
                until(self.answers, what="gunicorn to answer")
            except BaseException:  # a `with` whose beginning fails never comes to its end
                self._end()
                raise
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.time(), line.decode("utf-8", "replace").rstrip("\n")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._reader.join(10.0)
        assert self.process.stdout is not None
        self.process.stdout.close()
        # pytest shows this where the test fails.
        if "PYTEST_CURRENT_TEST" in os.environ:
            print("\n".join(f"{at % 1000:7.3f} {line}" for at, line in self.lines))

    @property
    def log(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def logged(self, pattern: str, seconds: float = PATIENCE_S) -> re.Match[str]:
        """Wait for the log to match."""
        found = until(lambda: re.search(pattern, self.log, re.MULTILINE), seconds,
                      f"{pattern!r} in the log")
        assert isinstance(found, re.Match)
        return found

    def arrived(self, pattern: str) -> float:
        """When the first line that matches arrived (time of day)."""
        return next(at for at, line in self.lines if re.search(pattern, line))

    def reports(self, event: str | None = None) -> list[dict[str, Any]]:
        """The reports in the dump folder so far, oldest first."""
        files = sorted(self.dumps.glob("watchdog-*.json")) if self.dumps.is_dir() else []
        found = [json.loads(file.read_text()) for file in files]
        return [report for report in found if event in (None, report["event"])]

    def report(self, event: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the first report of this event."""
        found = until(lambda: self.reports(event), seconds, f"a {event} report")
        assert isinstance(found, list)
        first: dict[str, Any] = found[0]
        return first

    def get(self, path: str, seconds: float = PATIENCE_S) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def send(self, path: str, headers: bytes = b"") -> socket.socket:
        """Send a request and do not wait for its answer."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n".encode() + headers + b"\r\n")
        return connection

    def answers(self) -> bool:
        assert self.process.poll() is None, "gunicorn has ended:\n" + self.log
        try:
            return self.get(self._wait_path, 5.0)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def worker_pid(self) -> int:
        return int(self.get(self._wait_path)[1])

    def answering_pid(self) -> int | None:
        """Who answers now; None while a connection falls to a worker that is just leaving."""
        try:
            return self.worker_pid()
        except (OSError, http.client.HTTPException):
            return None

    def replaced(self, old: int) -> int:
        """Wait until the worker `old` has gone and another answers; its pid."""
        until(lambda: not Path(f"/proc/{old}").exists(), what="the old worker to go")
        found = until(self.answering_pid, what="the new worker to answer")
        assert isinstance(found, int)
        return found

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)
