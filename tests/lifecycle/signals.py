"""Signals: what gunicorn documents of each, whether a worker is idle, busy, stuck or loading."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.clients import Client
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import Witness, blames, words

SOON_S = 10.0
"""What is due in about two seconds has come by then on the busiest machine."""
PATIENT = HOOKS + "graceful_timeout = 25\n"
"""Who waits for requests where nobody is to wait is found out."""
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGQUIT": signal.SIGQUIT, "SIGINT": signal.SIGINT}
ASYNCIO = {True: "watchdog_worker.worker.H11Worker", False: "uvicorn_worker.UvicornH11Worker"}
"""The loop beside uvloop, on which signals take another way: whether it is ours."""
LASTING_S = 3
"""Longer than a silence that makes a loop a blocked one."""
SLOW_HOOK = PATIENT + f"""
import time
def worker_exit(server, worker):
    note("hook begins")
    time.sleep({LASTING_S})
    note("worker_exit")
"""
IN_THE_GAP = HOOKS + """
import os, signal, time
def post_fork(server, worker):
    note("post_fork")
    if worker.age == 1:
        time.sleep(0.3)  # gunicorn 22 loses sight of a worker that ends in the fork itself
        os.kill(os.getpid(), signal.SIGTERM)
"""


def serving(ground: Ground, loop: str = "uvloop", config: str = PATIENT, **options: Any) -> (
        Gunicorn):
    """A server whose worker runs on this loop."""
    if loop == "asyncio":
        ground = ground._replace(worker=ASYNCIO[ground.ours])
    return ground.gunicorn(config=config, **options)


def busy(state: str, seen: Witness) -> tuple[int, list[Client]]:
    """The worker's pid, once it is in this state; and who has brought it there."""
    if state == "idle":
        return seen.server.worker_pid(), []
    if state == "stream":
        client = Client(seen.server, "/stream")
        return client.whose(), [client]
    client = Client(seen.server, "/sleeps")
    return seen.diary.wait("in /sleeps").pid, [client]


def faults(seen: Witness, pid: int, hooks: Sequence[str], shut_down: bool = True) -> list[str]:
    """What this worker has not done once, of what belongs to its end."""
    counts: dict[str, int] = {f"{hook} not run": seen.diary.count(hook, pid) for hook in hooks}
    if shut_down:
        counts["no lifespan shutdown"] = seen.diary.count("lifespan ended", pid)
    seen.silent("post_mortem")
    return [what if not count else f"{what.partition(' not ')[0]} {count} times"
            for what, count in counts.items() if count != 1] + [
        f"{event} told" for event in ("post_mortem", "pre_kill") if seen.server.reports(event)]


def ends(end: str) -> str:
    return "does not end" if end == "none" else end


def quick(name: str, state: str, loop: str, ground: Ground) -> Came:
    """SIGQUIT or SIGINT to a worker: it goes without waiting for requests, and in good order."""
    with serving(ground, loop, timeout=60) as server:
        seen = Witness(ground, server)
        pid, clients = busy(state, seen)
        os.kill(pid, SIGNALS[name])
        end = seen.end(pid, SOON_S)
        if end == "none":
            return Came(False, ends(end))
        wrong = faults(seen, pid, ("worker_int", "worker_exit"), shut_down=state != "blocked")
        if state == "stream" and not seen.diary.count("cancelled /stream", pid):
            wrong.append("the request is not cancelled")
        got = [client.rest() for client in clients]
        if any(b" 500 " in each for each in got):
            wrong.append("the client got a 500")
        if not seen.replaced(pid):
            wrong.append("no other worker")
        return Came(end == "exit 0" and not wrong, words(end, *wrong))


def graceful(to: str, state: str, loop: str, ground: Ground, times: int = 1) -> Came:
    """SIGTERM to a worker or the master: what is in flight is answered, and it goes."""
    with serving(ground, loop, timeout=60) as server:
        seen = Witness(ground, server)
        clients = [Client(server, "/stream?2")] if state == "stream" else []
        pid = clients[0].whose() if clients else server.worker_pid()
        for _ in range(times):
            os.kill(pid if to == "worker" else server.process.pid, signal.SIGTERM)
            if clients:
                server.logged("Waiting for connections to close")
        for client in clients:
            client.rest()
        end = seen.end(pid, SOON_S)
        wrong = faults(seen, pid, ("worker_exit",))
        if not all(client.whole for client in clients):
            wrong.append("the answer is cut off")
        if to == "master":
            wrong += _master_left(server)
        return Came(end == "exit 0" and not wrong, words(ends(end), *wrong))


def _master_left(server: Gunicorn) -> list[str]:
    try:
        status = until(lambda: (server.process.poll(),) if server.process.poll() is not None
                       else None, SOON_S)[0]
    except AssertionError:
        return ["the master stays"]
    return [f"the master exits with {status}"] if status else []


def whole_server(name: str, state: str, ground: Ground) -> Came:
    """SIGQUIT or SIGINT to the master, or Ctrl-C to all: all have gone soon."""
    with serving(ground, timeout=60) as server:
        seen = Witness(ground, server)
        pid, clients = busy(state, seen)
        if name == "Ctrl-C":
            os.killpg(server.process.pid, signal.SIGINT)
        else:
            server.process.send_signal(SIGNALS[name])
        wrong = _master_left(server)
        if wrong:
            return Came(False, words(*wrong, "the worker stays" if runs(pid) else ""))
        wrong += faults(seen, pid, ("worker_int", "worker_exit"), shut_down=state != "blocked")
        end = seen.end(pid, SOON_S)
        for client in clients:
            client.close()
        return Came(end == "exit 0" and not wrong, words(end, *wrong))


def lasting(name: str, what: str, ground: Ground) -> Came:
    """What belongs to an orderly end and takes some seconds is not cut off: gunicorn's hook, or a
    lifespan shutdown that even blocks."""
    environment = {"LIFE_S": str(LASTING_S), "LIFE_SHUTDOWN": "shutdown_blocks"}
    with serving(ground, config=SLOW_HOOK if what == "hook" else PATIENT, timeout=60,
                 environment={} if what == "hook" else environment) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        os.kill(pid, SIGNALS[name])
        end = seen.end(pid, LASTING_S + SOON_S)
        wrong = faults(seen, pid, ("worker_exit",))
        return Came(end == "exit 0" and not wrong, words(ends(end), *wrong))


def importing(ground: Ground) -> Came:
    """SIGTERM to a worker that is importing the application: it goes, and another comes."""
    environment = {"LIFE_IMPORT": "import_blocks", "LIFE_ONCE": "1"}
    with serving(ground, timeout=60, environment=environment, wait=False) as server:
        seen = Witness(ground, server)
        pid = seen.diary.wait("import_blocks").pid
        os.kill(pid, signal.SIGTERM)
        end = seen.end(pid, SOON_S)
        wrong = faults(seen, pid, ("worker_exit",), shut_down=False)
        if end != "none" and not seen.replaced(pid):
            wrong.append("no other worker")
        if server.reports():
            wrong.append(f"{server.reports()[0]['event']} told")
        return Came(end == "exit 0" and not wrong, words(ends(end), *wrong))


def in_the_gap(ground: Ground) -> Came:
    """SIGTERM before the worker has set up its own signals: it does not live on."""
    with serving(ground, config=IN_THE_GAP, wait=False) as server:
        seen = Witness(ground, server)
        pid = seen.diary.wait("post_fork").pid
        until(lambda: seen.diary.count("end ", pid) or seen.server.answering_pid())
        if not seen.diary.count("end ", pid):
            return Came(False, "the signal is lost")
        other = seen.replaced(pid)
        wrong = [] if other else ["no other worker"]
        if not seen.silent("post_mortem"):
            wrong.append("post_mortem told")
        return Came(not wrong, words("ends", "another serves" if other else "", *wrong))


def reopened(ground: Ground) -> Came:
    """SIGUSR1 once the error log has been renamed: what comes later is in the new file."""
    log, old = ground.folder / "error.log", ground.folder / "error.log.1"
    with serving(ground, config=HOOKS + "errorlog = 'error.log'\n",
                 environment={"LIFE_S": "2"}) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        log.rename(old)
        server.process.send_signal(signal.SIGUSR1)

        def written() -> bool:
            server.get("/no-such-way")  # a KeyError of the application: its traceback is logged
            return log.exists() and "KeyError" in log.read_text()

        until(written, what="the worker to write to the new file")
        server.get("/sleeps")
        report = seen.told("stall")
        told = bool(report) and until(lambda: report["headline"] in log.read_text())
        left_behind = "watchdog " in old.read_text()
        stays = server.worker_pid() == pid
        return Came(
            stays and not left_behind and (not ground.ours or blames(report, "sleeps") and told),
            words("the new file has it", "" if stays else "the worker has gone",
                  "a report in the old one" if left_behind else ""))


def by_hand(ground: Ground) -> Came:
    """SIGABRT to an idle worker, from whoever: the hook runs, and it ends without a core file."""
    with serving(ground) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        os.kill(pid, signal.SIGABRT)
        end = seen.end(pid, SOON_S)
        counts = {hook: seen.diary.count(hook, pid) for hook in ("worker_abort", "worker_exit")}
        wrong = [f"{hook} {count or 'not'} run" for hook, count in counts.items() if count != 1]
        if not seen.replaced(pid):
            wrong.append("no other worker")
        return Came(end == "exit 1" and not wrong, words(ends(end), *wrong))


def runs(pid: int) -> bool:
    """A process does that is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left(pid: int, seconds: float) -> bool:
    """Wait for the end of a process that is not ours to wait for; whether it came."""
    deadline = time.monotonic() + seconds
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not runs(pid)


def orphaned(state: str, ground: Ground) -> Came:
    """The master dies of SIGKILL: the worker goes by itself; what is in flight is answered."""
    environment = {"LIFE_IMPORT": "import_blocks"} if state == "importing" else {}
    with serving(ground, config=HOOKS + "graceful_timeout = 4\n", timeout=4, wait=not environment,
                 environment=environment) as server:
        seen = Witness(ground, server)
        if state == "importing":
            pid, clients = seen.diary.wait("import_blocks").pid, []
        elif state == "request":
            clients = [Client(server, "/stream?2")]
            pid = clients[0].whose()
        else:
            pid, clients = busy(state, seen)
        server.process.kill()
        server.process.wait()
        gone = left(pid, 4 + SOON_S)
        wrong = [] if gone else ["stays for ever"]
        if state == "request" and not (clients[0].rest() and clients[0].whole):
            wrong.append("the answer is cut off")
        if gone:
            wrong += faults(seen, pid, ("worker_exit",), shut_down=state in ("idle", "request"))
            wrong += ["leaves its recorder behind"] if any(server.recorders.glob("*")) else []
        if state == "blocked" and gone:  # it is told of, as at any kill
            wrong = [each for each in wrong if each != "pre_kill told"]
        for client in clients:
            client.close()
        return Came(not wrong, words("leaves" if gone else "", *wrong))


def _on(loop: str) -> str:
    return "" if loop == "uvloop" else f", {loop}"


LOOPS = ("uvloop", "asyncio")
REQUESTS = {"idle": "idle", "stream": "with a request in flight"}
STATES = {"idle": "idle", "stream": "with an open stream", "blocked": "with a blocked loop"}
CASES: tuple[Case, ...] = (
    *(Case(f"SIGTERM {REQUESTS[state]}{_on(loop)}", partial(graceful, "worker", state, loop))
      for state in REQUESTS for loop in LOOPS),
    Case("SIGTERM twice", partial(graceful, "worker", "stream", "uvloop", times=2)),
    Case("SIGTERM to master, request in flight", partial(graceful, "master", "stream", "uvloop")),
    *(Case(f"{name}, {title}", partial(lasting, name, what)) for name in SIGNALS
      for what, title in (("hook", "worker_exit takes seconds"),
                          ("lifespan", "lifespan shutdown blocks for seconds"))),
    Case("SIGTERM while importing", importing),
    Case("SIGTERM in the gap after the fork", in_the_gap),
    *(Case(f"{name} {STATES[state]}{_on(loop)}", partial(quick, name, state, loop))
      for name in ("SIGQUIT", "SIGINT") for state in STATES for loop in LOOPS),
    *(Case(f"{name} to master, {STATES[state]}", partial(whole_server, name, state))
      for name in ("SIGQUIT", "SIGINT") for state in STATES),
    Case("Ctrl-C, with an open stream", partial(whole_server, "Ctrl-C", "stream")),
    Case("SIGUSR1 reopens", reopened),
    Case("SIGABRT by hand, idle", by_hand),
    Case("master killed, idle", partial(orphaned, "idle")),
    Case("master killed, request in flight", partial(orphaned, "request")),
    Case("master killed, loop blocked", partial(orphaned, "blocked")),
    Case("master killed, importing", partial(orphaned, "importing")),
)
