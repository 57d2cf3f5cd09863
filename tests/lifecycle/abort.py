"""Abort: the arbiter's SIGABRT at WORKER TIMEOUT, and what comes of it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.clients import Client
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import APP, KILL, Witness, words

TIMEOUT_S, BUSY_TURNS = 2, 5
CORE = HOOKS + "watchdog_core_dumps = True\n"
RAISES = HOOKS + """
def worker_abort(worker):
    note("worker_abort")
    raise LookupError("the hook has failed")
"""
HANGS = HOOKS + """
import time
def worker_abort(worker):
    note("worker_abort")
    time.sleep(3600)
"""
LOGS = HOOKS + """
def worker_abort(worker):
    note("worker_abort")
    worker.log.error("the hook says goodbye")
"""


def killed(way: str, ground: Ground, config: str, beside: str = "") -> tuple[
        Witness, int, str, list[bytes]]:
    """Block a worker this way until the arbiter kills it, a request `beside` it: who saw it, its
    pid, how it ended, and what the clients got, the guilty one last."""
    with ground.gunicorn(config=config, timeout=TIMEOUT_S) as server:
        seen = Witness(ground, server)
        clients = [Client(server, beside)] if beside else []
        if beside:
            seen.diary.wait(f"in {beside}")
        clients.append(Client(server, f"/{way}"))
        pid = seen.diary.wait(f"in /{way}").pid
        server.logged(KILL)
        end = seen.end(pid)
        got = [client.rest() for client in clients]
        assert seen.replaced(pid), "no other worker answers"
        seen.told("post_mortem")
    return seen, pid, end, got


def hooks(seen: Witness, pid: int) -> str:
    """How often each was run in it."""
    counts = {hook: seen.diary.count(hook, pid) for hook in ("worker_abort", "worker_exit")}
    if set(counts.values()) == {1}:
        return "both hooks once"
    return ", ".join(ran(hook, count) for hook, count in counts.items())


def ran(hook: str, count: int) -> str:
    """How often it was, in words."""
    return f"{hook} run {count} times" if count > 1 else f"{hook} {'run' if count else 'not run'}"


def told(seen: Witness, function: str) -> str:
    """What the log said of it before the kill and after it; each is due once."""
    before = [at for at, line in seen.server.lines
              if re.search(rf"CRITICAL\] watchdog loop blocked .*{APP}{function}\b", line)]
    after = [line for _, line in seen.server.lines if "ERROR] watchdog worker" in line]
    if not before and not after:
        return "says nothing"
    if len(before) == len(after) == 1 and before[0] <= seen.server.arrived(KILL):
        return f"names {function}"
    return f"told {len(before)} times before and {len(after)} times after"


def aborted(way: str, function: str, ground: Ground) -> Came:
    """Told of before, both hooks run, and it ends with status 1; it does not live on, nor leave a
    core file."""
    seen, pid, end, got = killed(way, ground, HOOKS)
    hooked, said = hooks(seen, pid), told(seen, function)
    return Came(
        end == "exit 1" and hooked == "both hooks once" and said == f"names {function}"
        and got == [b""],
        words(end, hooked, said, got != [b""] and f"the client got {got[0][:40]!r}"))


def busy(ground: Ground) -> Came:
    """Again and again, as it is a matter of the moment: C reads the stack of a thread that runs."""
    came = [aborted("sleeps_beside_a_thread", "sleeps_beside_a_thread",
                    ground._replace(folder=_folder(ground, turn))) for turn in range(BUSY_TURNS)]
    return next((each for each in came if not each.right), came[0])


def _folder(ground: Ground, turn: int) -> Path:
    folder = ground.folder / str(turn)
    folder.mkdir()
    return folder


def gil_held(way: str, ground: Ground) -> Came:
    """No hook can run: SIGKILL ends it, and its stack is told afterwards."""
    seen, pid, end, got = killed(way, ground, HOOKS)
    reports = seen.server.reports("post_mortem")
    stacks = reports[0]["death"].get("raw_stacks", "") if reports else ""
    found = f"in {way}" in str(stacks)
    return Came(end == "SIGKILL" and len(reports) == 1 and found and got == [b""],
                words(end, "says nothing" if not reports else "tells its stack" if found else
                      "does not tell its stack"))


def innocent(ground: Ground) -> Came:
    """Neither the request that blocks nor one beside it gets an answer that nobody gave."""
    seen, pid, end, got = killed("sleeps", ground, HOOKS, beside="/wait")
    return Came(got == [b"", b""],
                "both connections close" if got == [b"", b""] else f"clients got {got!r}")


def core(ground: Ground) -> Came:
    """With `watchdog_core_dumps` it dies of SIGABRT, once `worker_abort` has run."""
    seen, pid, end, got = killed("sleeps", ground, CORE)
    count = seen.diary.count("worker_abort", pid)
    return Came(end == "SIGABRT" and count == 1, words(end, ran("worker_abort", count)))


def bad_hook(config: str, way: str, function: str, ground: Ground) -> Came:
    """`worker_abort` runs once, and the worker has gone soon after it, whatever the hook does."""
    seen, pid, end, got = killed(way, ground, config)
    count = seen.diary.count("worker_abort", pid)
    killed_at = seen.server.arrived(KILL)
    took = seen.diary.notes("end ", pid)[0].at - killed_at
    soon, said = took < 15, told(seen, function)
    return Came(
        count == 1 and soon and end in ("exit 1", "SIGKILL") and said == f"names {function}"
        and got == [b""],
        words(end, ran("worker_abort", count), said, not soon and f"after {took:.0f} s"))


CASES: tuple[Case, ...] = (
    Case("sleeps", partial(aborted, "sleeps", "sleeps")),
    Case("sleeps, a thread computes", busy),
    Case("waits in C, GIL free", partial(aborted, "waits_in_c", "deadlock")),
    Case("loops in Python", partial(aborted, "loops", "loops")),
    Case("swallows BaseException", partial(aborted, "swallows", "swallows")),
    Case("waits in C, GIL held", partial(gil_held, "holds_gil")),
    Case("computes in C, GIL held", partial(gil_held, "computes_in_c")),
    Case("an innocent request beside", innocent),
    Case("watchdog_core_dumps", core),
    Case("worker_abort raises", partial(bad_hook, RAISES, "sleeps", "sleeps")),
    Case("worker_abort hangs", partial(bad_hook, HANGS, "sleeps", "sleeps")),
    Case("worker_abort logs, log held by a thread",
         partial(bad_hook, LOGS, "log_held", "log_held")),
    Case("worker_abort logs, log held, in C", partial(bad_hook, LOGS, "log_held_in_c", "deadlock")),
)
