"""Reports made by hand, for the tests of those who read them."""

from __future__ import annotations

from datetime import datetime, timezone

from watchdog_worker import report
from watchdog_worker.diagnosis import diagnose
from watchdog_worker.model import (
    Frame,
    KernelWait,
    LoopLag,
    Process,
    Profile,
    Report,
    Request,
    SampledStack,
    Snapshot,
    Stall,
    TaskGroup,
    Tasks,
    ThreadStack,
)

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=timezone.utc)
SERVER = tuple(Frame(f"/lib/server{at}.py", at, f"serve{at}", "serve()") for at in range(1, 7))
VIEW = Frame("/srv/shop/views.py", 42, "checkout", "charge(card)", app=True,
             module="shop.views",
             locals={"card": "'4242'", "password": "<masked>"})
CHARGE = Frame("/srv/shop/pay.py", 7, "charge", "requests.post(URL)", app=True,
               module="shop.pay", calls="requests.post")
POST = Frame("/lib/requests/api.py", 115, "post", 'return request("post", url)',
             module="requests.api")
RECV = Frame("/lib/socket.py", 705, "readinto", "return self._sock.recv_into(b)",
             module="socket", qualname="SocketIO.readinto", calls="socket.socket.recv_into")
WAIT = Frame("/lib/threading.py", 327, "wait", "waiter.acquire()")
SLEEP = Frame("/lib/asyncio/tasks.py", 649, "sleep", "return await future")
IDENTITY = report.Identity(pid=4711, worker_age=3, app="shop:app")


def snapshot() -> Snapshot:
    pool = tuple(
        ThreadStack(id=900 + at, name=f"pool_{at}", loop=False, frames=(WAIT,), native_id=90 + at)
        for at in range(4))
    return Snapshot(
        threads=(
            ThreadStack(
                id=1, name="MainThread", loop=True, frames=(*SERVER, VIEW, CHARGE, POST, RECV),
                native_id=4711, state="S (sleeping)", cpu_s=1.25,
                wait=KernelWait("wait_woken", "recvfrom", 17, "tcp 10.0.3.4:443")),
            ThreadStack(
                id=2, name="deep\nthread", loop=False, native_id=4712, frames_total=9000,
                frames=(Frame("/srv/a.py", 1, "a", "b()", app=True, omitted=8998),
                        Frame("/srv/b.py", 2, "b\x1b[0m", app=True))),
            *pool,
        ),
        threads_total=9,
        tasks=Tasks(
            total=5002,
            groups=(
                TaskGroup(1, ("Task-7",), (SERVER[0],), running=True),
                TaskGroup(5000, ("Task-1", "Task-2"), (*SERVER, VIEW, SLEEP),
                          awaits="_asyncio.Future pending"),
            ),
            groups_omitted=2, unread=1),
        requests=(
            Request(3, "websocket", "/live", 900.0, False, client="10.0.0.7:1", task="Task-1"),
            Request(7, "http", "/pay\n[CRITICAL]", 5.0, True, "POST", "10.0.0.9:5000", False,
                    "Task-7", {"x-request-id": "abc\x1b[31m"}),
        ),
        requests_total=5001,
        process=Process(100 * 2 ** 20, 12.5, 0.75, 9, 31, {"memory_max_bytes": 1000}),
        loop_lag=LoopLag((0.01, 0.1), (50, 3, 1), 1.5, 1.25),
        profile=Profile(80, 4.0, (SampledStack(60, (*SERVER, VIEW, CHARGE, POST, RECV)),
                                  SampledStack(20, (WAIT,)))),
        capture_s=0.0123,
        incomplete=("source lines: reading them took too long",),
    )


def pre_kill() -> Report:
    picture = snapshot()
    stall = Stall(5.0, "serving", 6.0, kill_in_s=1.0, gil_held=None, withheld=2)
    return report.assemble(
        report.PRE_KILL, IDENTITY, picture, stall, diagnose(picture), now=NOON)
