"""Forks inside the application: a child is a process like any other, and its parent serves on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from functools import partial
from typing import Any
from urllib.parse import quote

from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import Witness, blames, words

WAYS = ("os.fork", "os.fork in a thread", "multiprocessing fork", "multiprocessing spawn",
        "multiprocessing forkserver", "subprocess", "asyncio subprocess")
ANEW = ("multiprocessing spawn", "multiprocessing forkserver", "subprocess", "asyncio subprocess")
"""Their children run another program: nothing is left open in them."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)
SOON_S = 10.0
"""The end of a child that has nothing more to do, on the busiest machine."""


class Family:
    """A worker, and the children that it is told to have in one way."""

    def __init__(self, seen: Witness, way: str) -> None:
        self._seen, self._way = seen, way
        self.pid = seen.server.worker_pid()
        """The parent's."""

    def born(self, act: str) -> int:
        """Have a child, and wait until it has begun: its pid."""
        path = "/fork?" + quote(f"{self._way} {act}")
        pid = int(self._seen.server.get(path)[1])
        self._seen.diary.wait("child ", pid)
        return pid

    def found(self, child: int) -> dict[str, Any]:
        """What it has found itself to be."""
        told = json.loads(self._seen.diary.wait("child ", child).what.partition(" ")[2])
        assert isinstance(told, dict)
        return told

    def ended(self, child: int) -> int | None:
        """Wait for its end: the exit code, or the signal's number with a minus. Where it does not
        come, it is brought about."""
        try:
            return int(self._seen.diary.wait("ended", child, SOON_S).what.split()[1])
        except AssertionError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            return None


def strange(family: Family, way: str) -> list[str]:
    """What is not as in any process, in a child that leaves at once."""
    child = family.born("leave")
    found = family.found(child)
    wrong = []
    if found["mask"]:
        wrong.append("blocks " + ", ".join(found["mask"]))
    if found["threads"]:
        wrong.append("has threads " + ", ".join(found["threads"]))
    elif found["native_threads"] != 1:
        wrong.append(f"has {found['native_threads']} threads")
    if way in ANEW and found["recorders"]:
        wrong.append("has a recorder open")
    status = family.ended(child)
    if status != 0:
        wrong.append("hangs as it exits" if status is None else f"exits with {status}")
    return wrong


def deaf(family: Family) -> list[str]:
    """The signals that do not end a child as they would end any process."""
    wrong = []
    for number in SIGNALS:
        child = family.born("sleep")
        os.kill(child, number)
        status = family.ended(child)
        if status is None:
            wrong.append(f"{number.name} does not end it")
        elif status != -number and number != signal.SIGINT:  # which is an exception in Python
            wrong.append(f"exits with {status} of {number.name}")
    return wrong


def crashed(family: Family) -> list[str]:
    """What is wrong with how a child crashes."""
    status = family.ended(family.born("crash"))
    return [] if status == -signal.SIGSEGV else [f"exits with {status} of a crash"]


def bereaved(seen: Witness, pid: int) -> list[str]:
    """What the parent has of its children: it serves on, nothing was told, nor is after it."""
    wrong = []
    if seen.diary.count("end ", pid) or seen.server.answering_pid() != pid:
        wrong.append("the parent has gone")
    seen.silent("stall")
    wrong += [f"{report['event']} told" for report in seen.server.reports()]
    if wrong or not seen.ground.ours:
        return wrong
    os.kill(pid, signal.SIGKILL)
    seen.replaced(pid)
    death = seen.told("post_mortem").get("death", {})
    stacks = str(death.get("raw_stacks", ""))
    if death.get("reason") != "killed" or "Fatal" in stacks or "egmentation" in stacks:
        wrong.append("the parent's post-mortem is its child's")
    return wrong


def child_of(way: str, ground: Ground) -> Came:
    """Children that leave, that are signalled, and that crash."""
    with ground.gunicorn("whole_life_forks:app", config=HOOKS) as server:
        seen = Witness(ground, server)
        family = Family(seen, way)
        wrong = [*strange(family, way), *deaf(family), *crashed(family)]
        wrong += bereaved(seen, family.pid)
        return Came(not wrong, words("" if wrong else "as any process", *wrong))


def outlived(ground: Ground) -> Came:
    """A child sleeps on while its parent's loop blocks: the parent is dumped and killed."""
    with ground.gunicorn("whole_life_forks:app", config=HOOKS, timeout=3) as server:
        seen = Witness(ground, server)
        family = Family(seen, "os.fork")
        child = family.born("sleep")
        client = server.send("/sleeps")
        seen.diary.wait("in /sleeps", family.pid)
        end = seen.end(family.pid, 30)
        told = blames(seen.told("pre_kill"), "sleeps")
        os.kill(child, signal.SIGKILL)
        client.close()
        other = seen.replaced(family.pid)
        return Came(end != "none" and seen.timed_out and other and (told or not ground.ours),
                    words("the parent is killed" if seen.timed_out else "the parent is not killed",
                          ground.ours and (told and "and dumped" or "not dumped"),
                          "" if other else "no other worker"))


def comes_out(way: str, status: int, ground: Ground) -> Came:
    """A child leaves the request in which it was forked: it ends, and nothing else does."""
    with ground.gunicorn("whole_life_forks:app", config=HOOKS, timeout=5) as server:
        seen = Witness(ground, server)
        family = Family(seen, "os.fork")
        with server.send("/fork_out?" + quote(way), b"Connection: close\r\n") as client:
            client.settimeout(SOON_S)
            got = b"".join(iter(lambda: client.recv(65536), b""))
        child = seen.diary.wait("child ", seconds=SOON_S).pid
        ended = family.ended(child)
        wrong = [] if ended == status else [
            "the child goes on" if ended is None else f"the child exits with {ended}"]
        answers = got.count(b"HTTP/1.1 ")
        if answers != 1 or str(child).encode() not in got:
            wrong.append(f"{answers} answers")
        if seen.diary.count("worker_exit"):
            wrong.append("worker_exit runs in the child")
        try:
            server.get("/", SOON_S)
        except OSError:
            return Came(False, words(*wrong, "the parent answers nobody"))
        wrong += bereaved(seen, family.pid)
        return Came(not wrong, words("" if wrong else "as any process", *wrong))


CASES: tuple[Case, ...] = (
    *(Case(f"child of {way}", partial(child_of, way)) for way in WAYS),
    Case("a child sleeps while the parent blocks", outlived),
    Case("sys.exit() in a forked child", partial(comes_out, "sys.exit(3)", 3)),
    Case("an exception in a forked child", partial(comes_out, "an error", 1)),
)
