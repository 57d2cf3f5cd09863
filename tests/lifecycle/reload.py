"""Reload and upgrade: --reload, HUP, USR2, --preload, TTIN and TTOU."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.clients import Client
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import KILL, Witness, blames, words

CODE = '''"""An application that is edited while it serves."""

from whole_life import answer, app as rest

WORDS = "{words}"
{more}

async def app(scope, receive, send):
    if scope.get("path") == "/words":
        await answer(send, WORDS)
    else:
        await rest(scope, receive, send)
'''
SOON_S = {True: 40.0, False: 12.0}
"""How long new code may take: whether it is ours. The reloader looks once a second; uvicorn's
worker is known not to hear of it."""
RELOADER = HOOKS + "reload = True\nreload_engine = 'poll'\ngraceful_timeout = 60\n"
ORDERLY = ("exit 0", "SIGTERM")
DUMPS = 'watchdog_dump_dir = "dumps"\n'
BLOCK_S, LONG_BLOCK_S = "2.5", "8"
"""Longer than the threshold of a stall, whether it is the default or what a case sets; longer
than a timeout of 2 s, by so much that any arbiter has seen it."""
NO_TIMEOUT = (sys.executable, "-c", "import os, sys; words = sys.argv[1:]; at = words.index('-t');"
              "os.execv(words[0], words[:at] + words[at + 2:])")
"""Starts a command without its `-t`, which goes before what a config says."""


def edit(ground: Ground, text: str, more: str = "") -> None:
    """Save the application anew. The length is another each time: what Python has compiled of a
    source of the same second and length would be taken for it."""
    (ground.folder / "edited.py").write_text(CODE.format(words=text, more=more))


def seen_code(server: Gunicorn) -> str:
    """What is served now."""
    try:
        return server.get("/words", 5.0)[1].decode()
    except OSError:
        return ""


def served(ground: Ground, server: Gunicorn, text: str) -> bool:
    """Wait for this code to be served. It is saved again now and then: gunicorn's reloader misses
    what is saved before its first look at the file, which nobody can see from outside."""
    end = time.monotonic() + SOON_S[ground.ours]
    saved = time.monotonic()
    while seen_code(server) != text and time.monotonic() < end:
        time.sleep(0.1)
        if time.monotonic() > saved + 5.0:
            edit(ground, text)
            saved = time.monotonic()
    return seen_code(server) == text


def reloading(ground: Ground) -> Gunicorn:
    edit(ground, "old")
    return ground.gunicorn("edited:app", config=RELOADER, timeout=60)


def unwanted(seen: Witness, *events: str) -> list[str]:
    """The reports of these kinds that were made, in words."""
    seen.silent(events[0])
    return [f"{event} told" for event in events if seen.server.reports(event)]


def new_code(state: str, ground: Ground) -> Came:
    """The application is saved anew: it is served soon, whether a stream is open or not."""
    with reloading(ground) as server:
        seen = Witness(ground, server)
        assert seen_code(server) == "old"
        clients = [Client(server, "/stream")] if state == "stream" else []
        pid = clients[0].whose() if clients else server.worker_pid()
        edit(ground, "newer")
        if not served(ground, server, "newer"):
            return Came(False, f"serves the {seen_code(server)} code for ever")
        end = seen.end(pid)
        wrong = unwanted(seen, "post_mortem", "stall", "pre_kill")
        if seen.diary.count("worker_exit", pid) != 1:
            wrong.append("worker_exit not run")
        for client in clients:
            client.close()
        return Came(end == "exit 0" and not wrong, words("serves the new code", end, *wrong))


def repaired(ground: Ground) -> Came:
    """A syntax error is saved, and then its repair."""
    with reloading(ground) as server:
        seen = Witness(ground, server)
        edit(ground, "old", more="this is no Python")
        end = time.monotonic() + SOON_S[ground.ours]
        while "SyntaxError" not in server.log and time.monotonic() < end:
            time.sleep(0.1)
        if "SyntaxError" not in server.log:
            return Came(False, "the error is never seen")
        page = _page(server)
        edit(ground, "repaired")
        if not served(ground, server, "repaired"):
            return Came(False, words("the repair is never served", not seen.lives() and
                                     "the master has gone"))
        wrong = unwanted(seen, "post_mortem", "stall", "pre_kill")
        if not page:
            wrong.append("a TypeError in the place of gunicorn's page about the error")
        return Came(not wrong, words("serves the repair", *wrong))


def _page(server: Gunicorn) -> bool:
    """Whether gunicorn's page with the traceback is served until the file is mended."""
    try:
        return bool(until(lambda: b"File " in server.get("/")[1], 10.0))
    except AssertionError:
        return False


def hung_up(server: Gunicorn, config: str) -> int:
    """HUP with this config: the pid of a worker that it has brought."""
    old = server.worker_pid()
    server.write_config(DUMPS + config)
    server.hang_up()
    return server.replaced(old)


def stalls(server: Gunicorn, seen: Witness, seconds: float = 20.0) -> bool:
    """Block a worker for a while: whether that is told of, with the line."""
    before = len(server.reports("stall"))
    server.get("/sleeps")
    end = time.monotonic() + (seconds if seen.ground.ours else 0.0)
    while len(server.reports("stall")) == before and time.monotonic() < end:
        time.sleep(0.05)
    reports = server.reports("stall")[before:]
    return len(reports) == 1 and blames(reports[0], "sleeps")


def blocking(ground: Ground, config: str, seconds: str = BLOCK_S, **options: Any) -> Gunicorn:
    return ground.gunicorn(config=HOOKS + config, environment={"LIFE_S": seconds}, **options)


def changed(ground: Ground) -> Came:
    """HUP with another `watchdog_stall_threshold`: new workers have it."""
    with blocking(ground, "watchdog_stall_threshold = 30\n") as server:
        seen = Witness(ground, server)
        server.get("/sleeps")
        early = not seen.silent("stall")
        hung_up(server, HOOKS + "watchdog_stall_threshold = 0.5\n")
        told = stalls(server, seen)
        if not ground.ours:
            return Came(True, "no such setting")
        return Came(told and not early, words("takes effect" if told else "no effect",
                                              early and "stall told before"))


def invalid(ground: Ground) -> Came:
    """HUP with a wrong watchdog setting: one line of ERROR, and all settings stay."""
    start = "workers = 2\nwatchdog_stall_threshold = 1.5\n"
    with blocking(ground, start) as server:
        seen = Witness(ground, server)
        hung_up(server, HOOKS + start + "watchdog_stall_threshold = 'soon'\n"
                "watchdog_heartbeat_interval = 100000\n")
        until(lambda: seen.diary.count("post_worker_init") == 4, what="all new workers")
        told = stalls(server, seen)
        if not ground.ours:
            return Came(True, "no such setting")
        lines = [line for _, line in server.lines if "[ERROR] watchdog" in line]
        once = len(lines) == 1 and "watchdog_stall_threshold" in lines[0]
        return Came(told and once, words(f"{len(lines)} line of ERROR", "settings stay" if told
                                         else "stalls are not told of any more"))


def unrelated(ground: Ground) -> Came:
    """HUP with another `timeout`: a block that was survived before is killed, and dumped."""
    with blocking(ground, "timeout = 30\n", seconds=LONG_BLOCK_S, prefix=NO_TIMEOUT) as server:
        seen = Witness(ground, server)
        server.get("/sleeps")
        assert not seen.timed_out
        pid = hung_up(server, HOOKS + "timeout = 2\n")
        client = server.send("/sleeps")
        server.logged(KILL)
        client.close()
        report = seen.told("pre_kill")
        told = report.get("stall", {}).get("timeout_s") == 2 and blames(report, "sleeps")
        wrong = [] if seen.replaced(pid) else ["no other worker"]
        if ground.ours and not told:
            wrong.append("the dump does not have it")
        return Came(not wrong, words("killed by the new timeout", *wrong))


def parent(pid: int) -> int:
    """Of a process; 0 where it has gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def upgradable(ground: Ground) -> Gunicorn:
    """Started by gunicorn's own script: from `python -m gunicorn`, USR2 brings no second master."""
    script = Path(ground.python).with_name("gunicorn")
    prefix = (ground.python, "-c", "import os, sys; os.execv(sys.argv[1], "
              "[sys.argv[1], *sys.argv[5:]])", str(script))
    return ground.gunicorn(config=HOOKS + "graceful_timeout = 4\n", prefix=prefix)


def second_master(server: Gunicorn, seen: Witness) -> tuple[int, int]:
    """USR2: the pid of the master that it brings, and of its worker."""
    def pids(what: str, by: int) -> list[int]:
        return [note.pid for note in seen.diary.notes(what)
                if note.pid != server.process.pid and by in (0, parent(note.pid))]

    server.process.send_signal(signal.SIGUSR2)
    master = until(lambda: pids("when_ready", 0), what="the second master")[0]
    worker = until(lambda: pids("post_worker_init", master), what="its worker")[0]
    return master, worker


def in_hand(server: Gunicorn, seen: Witness, master: int) -> list[str]:
    """What is wrong with the master that is left: it has one worker, and sees to its death."""
    pid = until(server.answering_pid)
    if parent(pid) != master:
        return ["another master's worker answers"]
    os.kill(pid, signal.SIGKILL)
    if not seen.replaced(pid):
        return ["a dead worker is not replaced"]
    if not seen.ground.ours:
        return []
    seen.told("post_mortem")
    seen.silent("stall")  # a while for what may be told of others
    told = [report["pid"] for report in server.reports("post_mortem")]
    wrong = [] if told == [pid] else [f"{len(told)} post-mortems" if pid in told else
                                      "no post-mortem of a dead worker"]
    try:
        until(lambda: len(list(server.recorders.iterdir())) == 1, 10.0)
    except AssertionError:
        wrong.append("recorders are left behind")
    return wrong


def upgraded(ground: Ground) -> Came:
    """USR2, then QUIT to the old master: the new one goes on alone."""
    with upgradable(ground) as server:
        seen = Witness(ground, server)
        old = server.worker_pid()
        master, _ = second_master(server, seen)
        server.process.send_signal(signal.SIGQUIT)
        end = seen.end(old)
        server.process.wait(30)
        server.logged("Master has been promoted")
        wrong = in_hand(server, seen, master)
        return Came(end == "exit 0" and not wrong, words(
            "" if wrong else "the new one serves", f"old worker: {end}", *wrong))


def backed_out(ground: Ground) -> Came:
    """USR2, then TERM to the new master: the old one serves as before."""
    with upgradable(ground) as server:
        seen = Witness(ground, server)
        master, worker = second_master(server, seen)
        os.kill(master, signal.SIGTERM)
        end = seen.end(worker)
        until(lambda: parent(master) == 0, what="the new master to go")
        wrong = in_hand(server, seen, server.process.pid)
        return Came(end in ORDERLY and not wrong, words(
            "" if wrong else "the old one serves", f"new worker: {end}", *wrong))


def preloaded(ground: Ground) -> Came:
    """The application is imported by the master: it serves, before a HUP and after it."""
    with blocking(ground, "preload_app = True\n") as server:
        seen = Witness(ground, server)
        assert seen.diary.notes("import")[0].pid == server.process.pid
        first = stalls(server, seen)
        hung_up(server, HOOKS + "preload_app = True\n")
        second = stalls(server, seen)
        wrong = unwanted(seen, "post_mortem", "pre_kill")
        if ground.ours and not (first and second):
            wrong.append("stalls are not told of" if not first else
                         "stalls are not told of after the HUP")
        return Came(not wrong, words("serves", *wrong))


def children(server: Gunicorn) -> list[int]:
    """The workers there are."""
    pid = server.process.pid
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def more_and_fewer(ground: Ground) -> Came:
    """TTIN twice, TTOU twice: three workers, then one; those that go do so in good order."""
    with ground.gunicorn(config=HOOKS) as server:
        seen = Witness(ground, server)
        for number, count in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2),
                              (signal.SIGTTOU, 1)):
            server.process.send_signal(number)
            until(lambda: len(children(server)) == count, what=f"{count} workers")
            if number == signal.SIGTTIN:
                until(lambda: seen.diary.count("lifespan started") == count)
        until(lambda: seen.diary.count("end ") == 2, what="their ends to be seen")
        ends = [note.what for note in seen.diary.notes("end ")]
        wrong = unwanted(seen, "post_mortem", "stall", "pre_kill")
        if not {each.partition(" ")[2] for each in ends} <= {*ORDERLY}:
            wrong.append(f"the ends are {ends}")
        if server.answering_pid() not in children(server):
            wrong.append("the one that is left does not serve")
        return Came(not wrong, words("come and go", *wrong))


CASES: tuple[Case, ...] = (
    Case("--reload, new code", partial(new_code, "idle")),
    Case("--reload, new code, a stream open", partial(new_code, "stream")),
    Case("--reload, syntax error and repair", repaired),
    Case("HUP, changed watchdog setting", changed),
    Case("HUP, invalid watchdog setting", invalid),
    Case("HUP, changed timeout", unrelated),
    Case("USR2, QUIT to the old master", upgraded),
    Case("USR2, TERM to the new master", backed_out),
    Case("--preload, HUP", preloaded),
    Case("TTIN, TTOU", more_and_fewer),
)
