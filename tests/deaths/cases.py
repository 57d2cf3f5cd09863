"""Ways in which a worker dies with a request in flight, and what is to be told of each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.gunicorn_server import Gunicorn, until

WITHIN_S = 3.0
_MEMORY_LIMIT = 150 * 2 ** 20
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class Case(NamedTuple):
    """One way to die."""

    name: str
    path: str
    """Of the request that brings it about, or that is there when it comes from outside."""
    reason: str
    signal: str | None = None
    exit_code: int | None = None
    function: str | None = None
    """The function of the application that is to be named; None where no stack can exist."""
    cause: str | None = None
    outside: signal.Signals | None = None
    """What is sent to the worker once the request is in."""
    limited: bool = False
    """In a control group with little memory."""
    timeout: int = 2
    """gunicorn's, in seconds."""
    loop: bool = True
    """It is the loop's thread that is to blame."""


CASES = (
    Case("killed from outside", "wait", "killed", "SIGKILL", outside=signal.SIGKILL),
    Case("segmentation fault", "segfault", "crash", "SIGSEGV", function="segfault"),
    Case("segmentation fault in a thread", "segfault_in_thread", "crash", "SIGSEGV",
         function="crash_here", loop=False),
    Case("abort in C", "abort", "crash", "SIGABRT", function="abort"),
    Case("os._exit(7)", "leave", "exit", exit_code=7),
    Case("os._exit(0) while serving", "leave_in_peace", "exit", exit_code=0),
    Case("memory limit", "eat", "oom_suspected", "SIGKILL", limited=True),
    Case("GIL held until the kill", "hold_gil", "timeout", "SIGKILL", function="hold_gil",
         cause="gil_held"),
    Case("GIL held by another thread", "hold_gil_in_thread", "timeout", "SIGKILL",
         function="hold_here", cause="gil_held", loop=False),
    Case("GIL held, 120 threads", "hold_gil_among_many", "timeout", "SIGKILL",
         function="hold_gil_among_many", cause="gil_held"),
    Case("deadlock with the GIL held", "deadlock", "timeout", "SIGABRT", 1, function="deadlock",
         cause="gil_held"),
    Case("time.sleep until the kill", "sleep", "timeout", "SIGABRT", 1, function="sleep",
         cause="sleep"),
    Case("told of, then the GIL held", "sleep_then_deadlock", "timeout", "SIGABRT", 1,
         function="deadlock_here", cause="gil_held", timeout=4),
    Case("stopped until the kill", "wait", "timeout", "SIGKILL", cause="suspended",
         outside=signal.SIGSTOP),
)


class Told(NamedTuple):
    """What was told of one death."""

    wrong: tuple[str, ...]
    """What is not as it is to be, a sentence each."""
    took_s: float
    """From gunicorn's own word of the death to ours."""


def possible(case: Case) -> bool:
    """Whether this machine lets us bring it about."""
    return not case.limited or (os.geteuid() == 0 and (
        os.access(_V1 / "cgroup.procs", os.W_OK) or (
            "memory" in _text(_V2 / "cgroup.subtree_control")
            and os.access(_V2 / "cgroup.procs", os.W_OK))))


@contextlib.contextmanager
def serving(case: Case, folder: Path) -> Iterator[Gunicorn]:
    """A gunicorn in which it can happen, again and again."""
    config = 'watchdog_dump_dir = "dumps"\nwatchdog_dump_keep = 1000\n'
    with contextlib.ExitStack() as stack:
        prefix = stack.enter_context(_limited()) if case.limited else ()
        yield stack.enter_context(Gunicorn(
            folder, "deaths:app", timeout=case.timeout, config=config, prefix=prefix))


def die(case: Case, server: Gunicorn, told_before: int) -> Told:
    """Have the worker die once, and hold the report against what is so."""
    pid = until(server.answering_pid)
    beside = server.send("/beside")  # is answered at once: nobody may say that it was lost
    beside.recv(1)
    with server.send(f"/{case.path}", b"X-Request-ID: abc\r\n"):
        if case.outside is not None:
            time.sleep(0.1)
            os.kill(pid, case.outside)
        reports = until(lambda: _of(server, told_before), what=f"a post_mortem of {case.name}")
        beside.close()
    logged = rf"post_mortem, worker {pid} "
    server.logged(logged)
    took_s = _when(server, logged) - _when(
        server, rf"Worker \(pid:{pid}\) (was sent SIG|exited with code)|"
                rf"watchdog worker {pid} exited with status 0")
    wrong = [*_wrong(case, reports[0], pid)]
    if len(reports) > 1:
        wrong.append(f"{len(reports)} reports of it")
    if took_s > WITHIN_S:
        wrong.append(f"told after {took_s:.1f} s")
    return Told(tuple(wrong), took_s)


def _of(server: Gunicorn, told_before: int) -> list[dict[str, Any]]:
    return server.reports("post_mortem")[told_before:]


def _when(server: Gunicorn, pattern: str) -> float:
    return next(at for at, line in server.lines if re.search(pattern, line))


def _wrong(case: Case, report: dict[str, Any], pid: int) -> Iterator[str]:
    death, diagnosis = report["death"], report["diagnosis"]
    requests = [(each["path"], each["blocking"]) for each in report["requests"]]
    to_blame = case.function is not None and case.loop
    found = {
        "worker": (report["pid"], pid),
        "reason": (death["reason"], case.reason),
        "signal": (death.get("signal"), case.signal),
        "exit code": (death.get("exit_code"), case.exit_code),
        "requests": (requests, [(f"/{case.path}", to_blame)]),
        "cause": (diagnosis.get("cause"), case.cause),
        "function": (diagnosis.get("culprit", {}).get("function"), case.function),
    }
    for what, (told, so) in found.items():
        if told != so:
            yield f"{what} is {told}, not {so}"
    if case.function is not None and case.function not in _functions(report, case):
        yield "its stack is not there"


def _functions(report: dict[str, Any], case: Case) -> list[str]:
    return [frame["function"] for thread in report["threads"] if thread["loop"] is case.loop
            for frame in thread["frames"]]


@contextlib.contextmanager
def _limited() -> Iterator[tuple[str, ...]]:
    """A control group with little memory; what starts a command in it."""
    root, files = (_V1, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")) if (
        _V1.exists()) else (_V2, ("memory.max", "memory.swap.max"))
    group = root / f"watchdog-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        (group / files[0]).write_text(str(_MEMORY_LIMIT))
        with contextlib.suppress(OSError):  # no swap, no limit of it
            (group / files[1]).write_text(str(_MEMORY_LIMIT if root == _V1 else 0))
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    def removed() -> bool:
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    until(removed, what="the control group to become empty")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
