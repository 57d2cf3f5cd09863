"""Start a real gunicorn on a small application, block its loop on purpose, watch it being killed
and read what the watchdog had to say before. Takes about ten seconds, leaves nothing behind."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import watchdog_worker
from watchdog_worker.cli import CommandError

_TIMEOUT_S = 6
_READY_S = 20.0
_KILL_S = 14.0
_OWN_LINE = "-- "
# gunicorn's control socket has one place for all of a user's gunicorns: theirs is not ours.
_CONFIG = "control_socket_disable = True\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--full", action="store_true", help="show the dumps whole, not their tops")


def run(arguments: argparse.Namespace) -> int:
    """Show it. Raises CommandError if gunicorn does not start or nothing is killed."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what was started is ended
        signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="watchdog-demo-") as folder:
        (Path(folder) / "gunicorn.conf.py").write_text(_CONFIG)
        shutil.copy(Path(__file__).with_name("demo_app.py"), Path(folder) / "shop.py")
        with _gunicorn(Path(folder)) as server:
            log = _LogReader(server, whole=arguments.full)
            _show(server, log)
    return 0


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _show(server: _Server, log: _LogReader) -> None:
    _say(f"gunicorn -k watchdog_worker.Worker -t {_TIMEOUT_S} shop:app   (a real one, on "
         f"127.0.0.1:{server.port})")
    if not _until(lambda: _answers(server.port), _READY_S) or server.process.poll() is not None:
        raise CommandError("gunicorn did not start; what it said is above")
    _say("GET /newsletter awaits, as it should; GET /checkout calls time.sleep in an async def")
    _request(server.port, "/newsletter", print_answer=False)
    time.sleep(0.2)  # so that it awaits before the loop is blocked
    log.blocked_now()
    blocked = _request(server.port, "/checkout", print_answer=True)
    if not _until(lambda: log.timeout_seen.is_set(), _KILL_S):
        raise CommandError("the worker was not killed in time; what gunicorn said is above")
    blocked.join(5.0)
    _until(lambda: log.reborn.is_set() and "post_mortem" in log.at, 3.0)
    _explain(log)


def _explain(log: _LogReader) -> None:
    _say("")
    _say("What you have seen:")
    for event, meaning in (
        ("stall", "one second in: the loop has fallen silent, and where it stands"),
        ("pre_kill", "one second before the arbiter's deadline: the whole picture"),
        ("WORKER TIMEOUT", "gunicorn's own words, all that you would have got without"),
        ("post_mortem", "what it died of, and what was lost with it"),
    ):
        if event in log.at:
            _say(f"  {log.at[event]:5.1f} s  {event:15} {meaning}")
    _say("In the dump, `>` marks your own code: charge() in shop.py holds the loop. The task that")
    _say("awaits in newsletter() is innocent, and lost its request all the same.")
    _say("The fix: an async client, `await asyncio.to_thread(charge, card)`, or a plain def.")
    _say("In your own service: gunicorn -k watchdog_worker.Worker your.module:app")


class _Server:
    """The gunicorn of the demo."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port


@contextmanager
def _gunicorn(folder: Path) -> Iterator[_Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("WATCHDOG_", "GUNICORN_"))}
    # It starts in another folder: a package that is found from this one is to be found there.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (
        str(Path(watchdog_worker.__file__).parents[1]), environment.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-k", "watchdog_worker.Worker",
         "-t", str(_TIMEOUT_S), "-b", f"127.0.0.1:{port}", "--chdir", str(folder),
         "--worker-tmp-dir", str(folder), "shop:app"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
        cwd=folder, env=environment, start_new_session=True)
    try:
        yield _Server(process, port)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End gunicorn and, whatever it left, its workers: they are its process group."""
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(3.0)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class _LogReader(threading.Thread):
    """Prints the log as it comes, the dumps cut to their tops, and notes what it saw when."""

    _HEAD = 12

    def __init__(self, server: _Server, whole: bool) -> None:
        super().__init__(name="demo-log", daemon=True)
        self._lines, self._whole = server.process.stdout, whole
        self._began = time.monotonic()
        self.at: dict[str, float] = {}
        self.timeout_seen = threading.Event()
        self.reborn = threading.Event()
        self.start()

    def blocked_now(self) -> None:
        """What is noted counts from here."""
        self._began = time.monotonic()

    def run(self) -> None:
        assert self._lines is not None
        shown = 0
        for line in self._lines:
            self._note(line)
            shown = 0 if line.startswith("[") else shown + 1
            if self._whole or shown <= self._HEAD:
                _print(line, end="")
            elif shown == self._HEAD + 1:
                _print("  ... (watchdog-worker demo --full shows all of it)")

    def _note(self, line: str) -> None:
        event = re.match(r"  event (\w+),", line)
        word = event.group(1) if event else "WORKER TIMEOUT" if "WORKER TIMEOUT (" in line else ""
        if word:
            self.at.setdefault(word, time.monotonic() - self._began)
        if word == "WORKER TIMEOUT":
            self.timeout_seen.set()
        elif self.timeout_seen.is_set() and "Booting worker" in line:
            self.reborn.set()


def _request(port: int, path: str, print_answer: bool) -> threading.Thread:
    def body() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            words = f"status {connection.getresponse().status}"
        except (http.client.RemoteDisconnected, ConnectionError):
            words = "an empty reply: the worker died under it"
        except OSError as error:
            words = str(error)
        finally:
            connection.close()
        if print_answer:
            _say(f"the client of {path} got {words}")

    thread = threading.Thread(target=body, name=f"demo{path}", daemon=True)
    thread.start()
    return thread


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _say(words: str) -> None:
    _print(_OWN_LINE + words)


def _print(words: str, end: str = "\n") -> None:
    try:
        print(words, end=end, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; the show goes on to its tidy end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
