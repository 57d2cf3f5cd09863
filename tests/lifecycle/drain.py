"""Drain: from the request to leave until the process has gone."""

from __future__ import annotations

import re
import signal
from functools import partial
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.clients import Client
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import KILL, Witness, awaits, blames, lists, names, words
from tests.raw_client import UPGRADE

TIMEOUT_S, GRACEFUL_S = 2, 4
LONG_GRACEFUL_S = 20
STREAM_S = 6
"""Longer than the one, shorter than the other."""
ORDERLY = ("exit 0", "SIGTERM")
"""How a worker ends that leaves when it is told: uvicorn's of the signal, raised anew."""
TELL = {"TERM": signal.SIGTERM, "HUP": signal.SIGHUP, "TTOU": signal.SIGTTOU}


def draining(ground: Ground, how: str, graceful: int = GRACEFUL_S, **environment: str) -> Gunicorn:
    """A server whose worker will be told to leave in this way."""
    config = HOOKS + f"graceful_timeout = {graceful}\n"
    if how == "max_requests":
        config += "max_requests = 2\n"  # the first is the one that looks whether it answers
    if how == "TTOU":
        config += "workers = 2\n"
    return ground.gunicorn(config=config, timeout=TIMEOUT_S, environment=environment)


def tell(server: Gunicorn, how: str) -> None:
    """Have the worker leave."""
    if how == "max_requests":
        server.get("/")
    else:
        server.process.send_signal(TELL[how])


def stream(how: str, ground: Ground) -> Came:
    """A stream longer than `timeout` and shorter than `graceful_timeout`: the client gets all."""
    with draining(ground, how, LONG_GRACEFUL_S) as server:
        seen = Witness(ground, server)
        clients = [Client(server, f"/stream?{STREAM_S}")]
        served = {clients[0].whose()}
        while how == "TTOU" and len(served) < 2:  # one on each: one of them is to leave
            clients.append(Client(server, f"/stream?{STREAM_S}"))
            served.add(clients[-1].whose())
        tell(server, how)
        whole = 0
        for client in clients:
            client.rest()
            whole += client.whole
        left = until(lambda: [pid for pid in served if seen.end(pid, 0.1) != "none"],
                     what="the worker to leave")[0]
        end = seen.end(left)
        return Came(
            whole == len(clients) and end in ORDERLY and not seen.timed_out,
            words("whole stream" if whole == len(clients) else "stream cut off", end,
                  seen.timed_out and "WORKER TIMEOUT"))


def endless(how: str, ground: Ground) -> Came:
    """A stream that never ends: cancelled in time, and the worker leaves in good order."""
    with draining(ground, how) as server:
        seen = Witness(ground, server)
        client = Client(server, "/stream")
        pid = client.whose()
        tell(server, how)
        end = seen.end(pid)
        client.rest()
        report = seen.told("slow_shutdown")
        found = lists(report, "/stream") and len(server.reports("slow_shutdown")) == 1 and (
            not any("slow" in request for request in report["requests"]))
        cancelled = seen.diary.count("cancelled /stream", pid) == 1
        shut_down = seen.diary.count("lifespan ended", pid) == 1
        return Came(
            end == "exit 0" and cancelled and shut_down and found and not seen.timed_out,
            words(end, seen.timed_out and "WORKER TIMEOUT",
                  cancelled and "cancelled", "lifespan shut down" if shut_down else
                  "no lifespan shutdown", _told(report, found, "the request")))


def _told(report: dict[str, object], found: bool, what: str) -> str:
    if not report:
        return "says nothing"
    return f"names {what}" if found else f"says only: {report['headline']}"


def _false(seen: Witness) -> str:
    """What blames the loop, which has not blocked."""
    said = [line for _, line in seen.server.lines
            if re.search(r"\] watchdog .*loop (was )?blocked", line)]
    return f"but says {said[0].partition('] watchdog')[2]}" if said else ""


def websocket(ground: Ground) -> Came:
    """A WebSocket whose client answers: closed with a code that says why."""
    with draining(ground, "TERM") as server:
        seen = Witness(ground, server)
        with connect(f"ws://127.0.0.1:{server.port}/ws") as client:
            pid = int(client.recv())
            tell(server, "TERM")
            try:
                client.recv(30)
                code = 0
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd is not None else 0
        end = seen.end(pid)
        left = seen.diary.count("websocket left", pid) == 1
        shut_down = seen.diary.count("lifespan ended", pid) == 1
        return Came(end in ORDERLY and code == 1012 and left and shut_down,
                    words(f"closed with {code}" if code else "cut off", end,
                          "lifespan shut down" if shut_down else "no lifespan shutdown"))


def silent_websocket(ground: Ground) -> Came:
    """A WebSocket whose client has stopped answering does not keep the worker."""
    with draining(ground, "TERM") as server:
        seen = Witness(ground, server)
        client = Client(server, "/ws", UPGRADE)
        pid = seen.diary.wait("in websocket").pid
        tell(server, "TERM")
        end = seen.end(pid)
        client.close()
        shut_down = seen.diary.count("lifespan ended", pid) == 1
        return Came(end in ORDERLY and shut_down,
                    words(end, "lifespan shut down" if shut_down else "no lifespan shutdown"))


def stubborn(ground: Ground) -> Came:
    """A task that ignores its cancellation: it is named, and the worker goes all the same."""
    with draining(ground, "HUP") as server:
        seen = Witness(ground, server)
        client = Client(server, "/ignores_cancellation")
        pid = client.whose()
        tell(server, "HUP")
        end = seen.end(pid)
        client.rest()
        report = seen.told("slow_shutdown")
        found = lists(report, "/ignores_cancellation") and awaits(report, "ignores_cancellation")
        shut_down = seen.diary.count("lifespan ended", pid) == 1
        return Came(
            end != "none" and found and shut_down and not _false(seen) and seen.replaced(pid),
            words(end, seen.timed_out and "WORKER TIMEOUT", "lifespan shut down" if shut_down else
                  "no lifespan shutdown", _told(report, found, "the request"), _false(seen)))


def lifespan_awaits(how: str, ground: Ground) -> Came:
    """A lifespan shutdown that never ends: its line is named, and the worker goes."""
    with draining(ground, how, LIFE_SHUTDOWN="shutdown_awaits") as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        tell(server, how)
        end = seen.end(pid)
        report = seen.told("slow_shutdown")
        found = names(report, "shutdown_awaits") and awaits(report, "shutdown_awaits")
        return Came(end != "none" and found and not _false(seen),
                    words(end, seen.timed_out and "WORKER TIMEOUT",
                          _told(report, found, "shutdown_awaits"), _false(seen)))


def lifespan_blocks(ground: Ground) -> Came:
    """A lifespan shutdown that blocks the loop: dumped, and killed."""
    with draining(ground, "HUP", LIFE_SHUTDOWN="shutdown_blocks") as server:
        pid = server.worker_pid()
        tell(server, "HUP")
        return _dumped(Witness(ground, server), pid, "shutdown_blocks")


def drain_blocks(ground: Ground) -> Came:
    """A request that blocks the loop in the drain: dumped, and killed."""
    with draining(ground, "HUP") as server:
        client = Client(server, "/blocks_in_drain")
        pid = client.whose()
        tell(server, "HUP")
        server.logged(r"Waiting for connections to close")
        (ground.folder / "go").touch()
        came = _dumped(Witness(ground, server), pid, "blocks_in_drain")
        client.close()
        return came


def _dumped(seen: Witness, pid: int, function: str) -> Came:
    end = seen.end(pid)
    report = seen.told("pre_kill")
    found = blames(report, function)
    in_time = not seen.timed_out or not report or (
        seen.server.arrived(r"CRITICAL\] watchdog") <= seen.server.arrived(KILL))
    hooked = seen.diary.count("worker_abort", pid) == 1
    return Came(
        seen.timed_out and end == "exit 1" and hooked and found and in_time,
        words(end, seen.timed_out and "WORKER TIMEOUT", not hooked and "worker_abort not run",
              not in_time and "told too late", _told(report, found, function)))


def reader(ground: Ground) -> Came:
    """A client that does not take its response: it is named, and the worker goes."""
    with draining(ground, "HUP") as server:
        seen = Witness(ground, server)
        client = Client(server, "/large")
        pid = seen.diary.wait("sent /large").pid
        tell(server, "HUP")
        end = seen.end(pid)
        client.close()
        report = seen.told("slow_shutdown")
        clients = report.get("stage", {}).get("clients", [])
        found = [each.get("path") for each in clients if each.get("unread")] == ["/large"] and (
            "/large" in str(report["headline"]))
        shut_down = seen.diary.count("lifespan ended", pid) == 1
        return Came(end == "exit 0" and found and shut_down and not seen.timed_out,
                    words(end, seen.timed_out and "WORKER TIMEOUT",
                          "lifespan shut down" if shut_down else "no lifespan shutdown",
                          _told(report, found, "the client")))


def after_loop(function: str, ground: Ground) -> Came:
    """What runs after the loop and never ends, in gunicorn's hook or at the interpreter's end: it
    is named, and the worker goes."""
    hook = "import time\ndef worker_exit(server, worker): time.sleep(3600)\n"
    config = HOOKS + "graceful_timeout = 2\n" + (hook if function == "worker_exit" else "")
    with ground.gunicorn(config=config, timeout=10, environment={"LIFE_EXIT": function}) as server:
        seen = Witness(ground, server)
        pid = server.worker_pid()
        tell(server, "HUP")
        end = seen.end(pid)
        report = seen.told("slow_shutdown")
        culprit = report.get("diagnosis", {}).get("culprit", {}).get("function")
        found = culprit == function and function in str(report["headline"])
        return Came(end in ORDERLY and (found or not ground.ours) and not _false(seen),
                    words(end, ground.ours and _told(report, found, function), _false(seen)))


def thread(how: str, ground: Ground) -> Came:
    """A thread that the interpreter waits for, and that never ends: its line is named, and the
    worker goes, in good order."""
    with draining(ground, how) as server:
        seen = Witness(ground, server)
        pid = int(server.get("/thread")[1])
        if how != "max_requests":  # there this was the request
            tell(server, how)
        end = seen.end(pid)
        report = seen.told("slow_shutdown")
        found = _names_thread(report)
        return Came(end == "exit 0" and found and not _false(seen),
                    words(end, seen.timed_out and "WORKER TIMEOUT",
                          _told(report, found, "holds_the_exit"), _false(seen)))


def _names_thread(report: dict[str, Any]) -> bool:
    threads = [frame["function"] for each in report.get("threads", ())
               for frame in each["frames"]]
    return names(report, "holds_the_exit") and "holds_the_exit" in threads


def working_thread(how: str, ground: Ground) -> Came:
    """A thread that works on after the loop, for longer than `timeout` and shorter than
    `graceful_timeout`: where the worker recycles by itself, it gets to its end. Where it was told
    to leave, uvicorn's own dies at once; ours goes soon, and says what that has cut off."""
    with draining(ground, how, LONG_GRACEFUL_S, LIFE_S=str(STREAM_S)) as server:
        seen = Witness(ground, server)
        pid = int(server.get("/thread")[1])
        if how != "max_requests":
            tell(server, how)
        end = seen.end(pid)
        done = seen.diary.count("thread done", pid) == 1
        told = how != "max_requests" and _names_thread(seen.told("slow_shutdown"))
        return Came((done or told) and end == "exit 0" and not seen.timed_out,
                    words("its work is done" if done else "its work is cut off",
                          told and "which is said", end, seen.timed_out and "WORKER TIMEOUT"))


CASES: tuple[Case, ...] = (
    *(Case(f"stream longer than timeout, {how}", partial(stream, how))
      for how in ("TERM", "HUP", "TTOU", "max_requests")),
    *(Case(f"endless stream, {how}", partial(endless, how))
      for how in ("TERM", "HUP", "max_requests")),
    Case("websocket open, TERM", websocket),
    Case("websocket with a silent client, TERM", silent_websocket),
    Case("a task ignores cancellation, HUP", stubborn),
    *(Case(f"lifespan shutdown awaits for ever, {how}", partial(lifespan_awaits, how))
      for how in ("TERM", "HUP")),
    Case("lifespan shutdown blocks, HUP", lifespan_blocks),
    Case("a client does not read, HUP", reader),
    *(Case(f"{where} never ends, HUP", partial(after_loop, function)) for where, function in (
        ("a function of atexit", "exit_blocks"), ("the hook worker_exit", "worker_exit"))),
    Case("the loop blocks in the drain, HUP", drain_blocks),
    *(Case(f"a thread holds the exit, {how}", partial(thread, how))
      for how in ("TERM", "max_requests")),
    *(Case(f"a thread works on for a while, {how}", partial(working_thread, how))
      for how in ("TERM", "HUP", "max_requests")),
)
