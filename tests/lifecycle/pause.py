"""Pause: the whole process stands still, or hardly runs, and nothing in it is to blame."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.causes import throttle
from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.clients import Client
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import Witness, words

TIMEOUT_S = 4
FREEZER = Path("/sys/fs/cgroup/freezer")


def stop(seconds: float, *pids: int) -> None:
    """Have them stand still for so long, the first of them first to stop and last to go on."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


def told(seen: Witness, settle_s: float = 4.0) -> dict[str, int]:
    """How many reports there are of each event, once those that follow on a pause are there."""
    end = time.monotonic() + (settle_s if seen.ground.ours else 0.0)
    while time.monotonic() < end:  # what is not to come is waited for for longer than it takes
        time.sleep(0.1)
    counts: dict[str, int] = {}
    for report in seen.server.reports():
        counts[report["event"]] = counts.get(report["event"], 0) + 1
    return counts


def listed(counts: dict[str, int]) -> str:
    """In words."""
    return ", ".join(f"{count} {event}" for event, count in sorted(counts.items()))


def worker_paused(ground: Ground) -> Came:
    """SIGSTOP of a worker for 3 s, with a request in flight: shorter than `timeout`."""
    with ground.gunicorn(config=HOOKS) as server:
        seen = Witness(ground, server)
        client = Client(server, "/stream?5")
        pid = client.whose()
        stop(3.0, pid)
        seen.told("suspended")
        client.rest()
        counts = told(seen)
        stays = server.answering_pid() == pid
        return Came(
            stays and client.whole and counts == ({"suspended": 1} if ground.ours else {}),
            words("serves on" if stays else "the worker has gone", listed(counts),
                  not client.whole and "the answer is cut off"))


def boot_paused(way: str, ground: Ground) -> Came:
    """SIGSTOP for longer than `watchdog_startup_timeout` of a worker that boots for less."""
    moment = "LIFE_IMPORT" if way.startswith("import") else "LIFE_STARTUP"
    config = HOOKS + "watchdog_startup_threshold = 4\nwatchdog_startup_timeout = 5\n"
    with ground.gunicorn(config=config, environment={moment: way, "LIFE_S": "2"},
                         wait=False) as server:
        seen = Witness(ground, server)
        pid = seen.diary.wait(way).pid
        until(lambda: time.time() > seen.diary.wait(way).at + 0.5, what="the boot to be under way")
        stop(6.0, pid)
        until(server.answers, what="the worker to serve")
        counts = told(seen)
        stays = server.answering_pid() == pid and not seen.diary.notes("end ")
        return Came(
            stays and counts == ({"suspended": 1} if ground.ours else {}),
            words("serves" if stays else "the worker has been ended", listed(counts)))


def drain_paused(ground: Ground) -> Came:
    """SIGSTOP for longer than half of `graceful_timeout` of a worker that drains: it is told what
    the drain waits for, and not that the loop was blocked."""
    with ground.gunicorn(config=HOOKS + "graceful_timeout = 12\n") as server:
        seen = Witness(ground, server)
        client = Client(server, "/stream?9")
        pid = client.whose()
        os.kill(pid, signal.SIGTERM)
        server.logged(r"Shutting down$")  # uvicorn's; a signal that is not seen to would wait
        stop(7.0, pid)
        report = seen.told("slow_shutdown")
        client.rest()
        holder = report.get("stage", {}).get("holder")
        counts = told(seen)
        calm = counts == ({"suspended": 1, "slow_shutdown": 1} if ground.ours else {})
        return Came(client.whole and calm and (holder == "requests" or not ground.ours), words(
            "the answer is whole" if client.whole else "the answer is cut off", listed(counts),
            holder and f"waits for {holder}"))


def all_paused(ground: Ground) -> Came:
    """SIGSTOP of master and worker for longer than `timeout`."""
    with ground.gunicorn(config=HOOKS, timeout=TIMEOUT_S) as server:
        pid = server.worker_pid()
        stop(TIMEOUT_S + 3.0, server.process.pid, pid)
        return _returned(server, ground, pid)


def _returned(server: Gunicorn, ground: Ground, pid: int) -> Came:
    """After a pause of all for longer than `timeout`: `suspended` at most once, and no more.
    gunicorn itself may kill, if it looks before the worker has had its turn: that is told, once."""
    seen = Witness(ground, server)
    time.sleep(2.0)  # the arbiter looks once a second
    until(server.answering_pid)
    counts = told(seen)
    ends = [note.what.partition(" ")[2] for note in seen.diary.notes("end ", pid)]
    calm = counts.pop("suspended", 0) <= 1 and counts == ({"post_mortem": 1} if (
        ends and ground.ours) else {})
    counts = {} if calm else told(seen, 0.0)
    return Came(calm, words(f"killed: {ends[0]}" if ends else "serves on", listed(counts),
                            calm and ground.ours and "no dump storm"))


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """All processes of this one's group, as a container that is paused; for so long."""
    group = FREEZER / f"watchdog-{os.getpid()}-{pid}"
    group.mkdir()
    members = [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat")
               if _group(stat) == pid]
    try:
        for member in members:
            (group / "cgroup.procs").write_text(str(member))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        for member in members:
            with contextlib.suppress(OSError):
                (FREEZER / "cgroup.procs").write_text(str(member))
        until(lambda: _removed(group), what="the control group to become empty")


def _group(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def _removed(group: Path) -> bool:
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (FREEZER / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def container_paused(ground: Ground) -> Came:
    """The same by a control group, where all go on at the same moment."""
    with ground.gunicorn(config=HOOKS, timeout=TIMEOUT_S) as server:
        pid = server.worker_pid()
        with frozen(server.process.pid):
            time.sleep(TIMEOUT_S + 3.0)
        return _returned(server, ground, pid)


def throttled(ground: Ground) -> Came:
    """A twentieth of a processor while a request computes for what would be a third of a second:
    neither it nor anything else of the application is blamed, and nobody is killed."""
    with ground.gunicorn("whole_life_load:app", config=HOOKS) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        answers: list[int] = []
        client = threading.Thread(target=lambda: answers.append(server.get("/compute?0.3")[0]))
        with throttle.throttled(pid):
            client.start()
            client.join()
        counts = told(seen)
        blamed = [report for report in server.reports() if report["event"] != "stall_ended"
                  and report["diagnosis"]["cause"] != "suspended"]
        stays = server.answering_pid() == pid and answers == [200]
        return Came(stays and not blamed and (bool(counts) or not ground.ours), words(
            "serves on" if stays else "the worker has gone", listed(counts),
            blamed and f"blames: {blamed[0]['headline']}"))


CASES: tuple[Case, ...] = (
    Case("worker stopped for 3 s", worker_paused),
    Case("worker stopped at import, startup_timeout", partial(boot_paused, "import_computes")),
    Case("worker stopped in lifespan startup, startup_timeout",
         partial(boot_paused, "startup_awaits")),
    Case("worker stopped in its drain", drain_paused),
    Case("all stopped for longer than timeout", all_paused),
    *((Case("container paused for longer than timeout", container_paused),)
      if os.access(FREEZER / "cgroup.procs", os.W_OK) else ()),
    *((Case("CPU throttled", throttled),) if throttle.possible() else ()),
)
