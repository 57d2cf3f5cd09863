"""How a worker comes to its end; the process of the test goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.gunicorn_server import until
from watchdog_worker import ending
from watchdog_worker import leaving as room
from watchdog_worker.leaving import Leaving
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import InFlight
from watchdog_worker.vitals.recorder import Recorder


class Ended(BaseException):
    """In the place of the process's end."""


class File:
    """The heartbeat file, which gunicorn closes before it calls `worker_exit` itself."""

    closed = False

    def fileno(self) -> int:
        if self.closed:
            raise ValueError("closed")
        return 3


EXITING = f"Worker exiting (pid: {os.getpid()})"


class Stage:
    """One worker's `Leaving`, at a moment that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hooks: dict[str, Any]) -> None:
        self.now, self.did, self.ends = 100.0, list[str](), list[int]()
        self.kills, self.parent = list[int](), 7
        self.ended, self.raises = threading.Event(), True
        monkeypatch.setattr(room, "monotonic", lambda: self.now)
        monkeypatch.setattr(ending, "monotonic", lambda: self.now)
        monkeypatch.setattr(ending, "_flush", lambda: self.did.append("flush"))
        monkeypatch.setattr("os.getppid", lambda: self.parent)
        monkeypatch.setattr("os._exit", self._exit)
        monkeypatch.setattr("os.abort", lambda: self._exit(-6))
        monkeypatch.setattr("signal.pthread_kill", lambda ident, number: self.kills.append(number))
        cfg = {name: self._hook(name) for name in ("worker_int", "worker_abort", "worker_exit")}
        self.cfg = SimpleNamespace(
            **{**cfg, **hooks}, graceful_timeout=30, watchdog_core_dumps=False)
        self.tmp = File()
        self.worker = SimpleNamespace(
            cfg=self.cfg, ppid=7, alive=True, tmp=self.tmp, notifications=0)
        self.recorder, self.in_flight = Recorder(), InFlight()
        self.heartbeat = Heartbeat(
            0.5, lambda: None, lambda error: None, recorder=self.recorder,
            in_flight=self.in_flight)
        self.leaving = Leaving(
            self.worker, "arbiter", self.heartbeat, self.recorder,
            lambda seconds: None, lambda text, level: self.did.append(text))
        self.leaving.server = SimpleNamespace(
            hasten=lambda: self.did.append("hasten"), abandon=lambda: self.did.append("abandon"))

    def _hook(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.did.append(name)

    def _exit(self, status: int) -> None:
        self.ends.append(status)
        self.ended.set()
        if self.raises:
            raise Ended

    def serving(self, silent_s: float = 0.0) -> Stage:
        self.heartbeat.loop = cast(Any, object())
        self.heartbeat.serve()
        self.heartbeat.last_sign = self.now - silent_s
        return self

    def starting(self, silent_s: float = 0.0) -> Stage:
        self.heartbeat.loop = cast(Any, object())
        self.heartbeat.last_sign = self.now - silent_s
        return self

    def tend(self, at: float, deadline: float | None = None, **seen: bool) -> None:
        self.now = at
        status = self.leaving.overdue(at, deadline)
        if status is not None:
            self.leaving.force(status)
        self.leaving.tend(at, seen.get("aborted", False))

    @property
    def phase(self) -> str:
        index, _ = layout.PHASE.unpack_from(self.recorder._map, layout.PHASE_AT)
        return layout.PHASES[index]

    @property
    def end(self) -> str:
        return layout.ENDS[self.recorder._map[layout.END_AT]]


@pytest.fixture(name="make")
def make_stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    return lambda **hooks: Stage(monkeypatch, hooks)


def test_a_boot_is_left_at_once(make: Callable[..., Stage]) -> None:
    """SIGTERM while the application is imported: gunicorn runs `worker_exit` on the way out."""
    stage = make()
    with pytest.raises(SystemExit) as left:
        stage.leaving.terminate()
    assert (left.value.code, stage.phase, stage.did) == (0, "left", [])


def test_quit_in_a_boot_tells_the_hook(make: Callable[..., Stage]) -> None:
    """As gunicorn's own workers do."""
    stage = make()
    with pytest.raises(SystemExit):
        stage.leaving.quit()
    assert stage.did == ["worker_int"]


def test_term_while_serving_only_asks(make: Callable[..., Stage]) -> None:
    """The loop comes to it."""
    stage = make().serving()
    stage.leaving.terminate()
    assert (stage.leaving.asked_at, stage.worker.alive, stage.did) == (100.0, False, [])


def test_quit_hastens_the_server_and_tells_the_hook_once(make: Callable[..., Stage]) -> None:
    """However often it comes."""
    stage = make().serving()
    stage.leaving.quit()
    stage.leaving.quit()
    assert (stage.did, stage.leaving.quick) == (["worker_int", "hasten", "hasten"], True)


def test_quit_ends_a_blocked_loop_on_the_spot(make: Callable[..., Stage]) -> None:
    """Nothing would ever come of asking it."""
    stage = make().serving(silent_s=3.0)
    with pytest.raises(Ended):
        stage.leaving.quit()
    assert stage.did == ["worker_int", EXITING, "worker_exit", "flush"]
    assert (stage.ends, stage.phase) == ([0], "left")


def test_quit_in_a_lifespan_cancels_it(make: Callable[..., Stage]) -> None:
    """An exception from a handler would end up in whatever the lifespan is at."""
    stage = make().starting()
    stage.leaving.quit()
    assert stage.did == ["worker_int", "abandon"]


def test_abort_runs_both_hooks_once(make: Callable[..., Stage]) -> None:
    """And the recorder knows what the end was."""
    stage = make().serving(silent_s=30.0)
    with pytest.raises(Ended):
        stage.leaving._ending.end(1, aborted=True)
    stage.leaving._ending.end(1, aborted=True)
    assert stage.did == ["worker_abort", EXITING, "worker_exit", "flush"]
    assert (stage.ends, stage.end, stage.phase) == ([1], "aborted", "serving")


def test_a_core_file_is_left_where_it_is_wanted(make: Callable[..., Stage]) -> None:
    """After the hooks."""
    stage = make().serving()
    stage.cfg.watchdog_core_dumps = True
    with pytest.raises(Ended):
        stage.leaving._ending.end(1, aborted=True)
    assert (stage.ends, stage.did[0]) == ([-6], "worker_abort")


def test_hooks_that_raise_delay_nothing(make: Callable[..., Stage]) -> None:
    """`sys.exit` in a hook is no way out of the end; it is said."""
    def leave(*arguments: object) -> None:
        raise SystemExit(5)

    stage = make(worker_abort=leave, worker_exit=leave).serving()
    with pytest.raises(Ended):
        stage.leaving._ending.end(1, aborted=True)
    assert stage.ends == [1]
    assert [line for line in stage.did if "failed" in line] == [
        "watchdog: worker_abort failed: SystemExit: 5",
        "watchdog: worker_exit failed: SystemExit: 5"]


def test_worker_exit_is_not_called_after_gunicorn(make: Callable[..., Stage]) -> None:
    """Threads can keep a process from its end after that."""
    stage = make().serving()
    stage.tmp.closed = True
    with pytest.raises(Ended):
        stage.leaving._ending.end(0)
    assert stage.did == ["flush"]


def test_an_orphan_leaves_after_a_drain(make: Callable[..., Stage]) -> None:
    """It is said once."""
    stage = make().serving()
    stage.parent = 1
    stage.tend(101.0)
    stage.tend(102.0)
    assert (stage.leaving.asked_at, stage.leaving.quick, stage.kills) == (101.0, False, [])
    assert stage.did == ["watchdog: gunicorn's master has died, the worker leaves"]


def test_a_blocked_orphan_is_ended_when_it_would_have_been(make: Callable[..., Stage]) -> None:
    """Nobody else does any more: at the deadline, or after its time to drain."""
    stage = make().serving(silent_s=1.0)
    stage.parent = 1
    stage.tend(101.0, deadline=200.0)
    stage.tend(199.0, deadline=200.0)
    assert stage.kills == []
    stage.tend(201.0, deadline=200.0)
    assert stage.kills == [signal.SIGQUIT]
    with pytest.raises(Ended):
        stage.leaving.quit()
    assert (stage.ends, stage.end) == ([1], "dismissed")


def test_a_booting_orphan_is_ended_at_once(make: Callable[..., Stage]) -> None:
    """It has no requests."""
    stage = make()
    stage.parent = 1
    stage.tend(101.0)
    assert stage.kills == [signal.SIGQUIT]
    with pytest.raises(SystemExit):
        stage.leaving.quit()


def test_the_reloader_is_heard(make: Callable[..., Stage]) -> None:
    """It only says that the worker is not alive any more, from a thread of its own."""
    stage = make().serving()
    stage.worker.alive = False
    stage.tend(101.0)
    assert (stage.leaving.asked_at, stage.leaving.quick) == (101.0, True)


def test_a_quick_end_is_forced_on_a_loop_that_a_request_blocks(
    make: Callable[..., Stage]
) -> None:
    """One that shows life gets its time, and so does what is no request: lifespan shutdown, and
    gunicorn's hook."""
    stage = make().serving()
    stage.leaving.quit()
    stage.heartbeat.last_sign = 103.0
    stage.tend(104.0)
    assert stage.kills == []
    stage = make().serving()
    stage.leaving.quit()
    stage.tend(101.6)
    assert stage.kills == []
    stage.in_flight.requests[1] = (100.0, {}, cast(Any, None))
    stage.tend(101.7)
    assert stage.kills == [signal.SIGQUIT]


def test_a_hook_of_gunicorns_is_not_cut_off_by_a_signal(make: Callable[..., Stage]) -> None:
    """The loop has ended, and the worker is on its way; the graceful timeout is its limit."""
    stage = make().serving()
    stage.leaving.terminate()
    stage.leaving.has_drained()
    stage.leaving.loop_has_ended()
    stage.now = 110.0
    stage.leaving.quit()
    assert (stage.ends, stage.did) == ([], ["worker_int"])
    stage.tend(139.5)
    assert stage.kills == []
    stage.tend(139.7)
    assert stage.kills == [signal.SIGQUIT]


def test_threads_that_the_interpreter_waits_for_are_left_over(
    make: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get two seconds from then on."""
    stage = make().serving()
    stage.leaving.terminate()
    stage.leaving.has_drained()
    stage.leaving.loop_has_ended()
    waits = False
    monkeypatch.setattr(room, "_waits_for_threads", lambda main: waits)
    stage.tend(110.0)
    waits = True
    stage.tend(111.0)
    stage.tend(112.9)
    assert stage.kills == []
    stage.tend(113.1)
    assert stage.kills == [signal.SIGQUIT]


def test_it_is_seen_when_the_interpreter_waits_for_threads() -> None:
    """A process of its own, which does."""
    script = (
        "import sys, threading, time\n"
        "from watchdog_worker.leaving import _waits_for_threads\n"
        "main = threading.get_ident()\n"
        "seen = []\n"
        "def look():\n"
        "    seen.append(_waits_for_threads(main))\n"
        "    ready.set()\n"
        "    while not _waits_for_threads(main):\n"
        "        time.sleep(0.01)\n"
        "    print(seen, flush=True)\n"
        "ready = threading.Event()\n"
        "threading.Thread(target=look).start()\n"
        "ready.wait()\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          timeout=60, check=True)
    assert done.stdout == "[False]\n"


def test_what_the_main_thread_cannot_the_monitor_does(make: Callable[..., Stage]) -> None:
    """In a thread of its own, as hooks may hang."""
    stage = make().serving(silent_s=5.0)
    stage.raises = False
    stage.leaving.force(1)
    stage.tend(100.9)
    assert not stage.leaving.ending
    stage.tend(101.1)
    assert stage.ended.wait(60)
    assert (stage.ends, stage.did[1]) == ([1], "worker_exit")


def test_an_abort_that_was_seen_in_c_is_seen_to(make: Callable[..., Stage]) -> None:
    """The main thread gets its turn first."""
    stage = make().serving(silent_s=5.0)
    stage.raises = False
    stage.tend(100.0, aborted=True)
    stage.tend(100.2, aborted=True)
    assert (stage.did, stage.leaving.ending) == ([], True)
    stage.tend(100.4, aborted=True)
    assert stage.ended.wait(60)
    assert (stage.did[0], stage.ends) == ("worker_abort", [1])


def test_hooks_that_hang_are_cut_off(make: Callable[..., Stage]) -> None:
    """Three seconds are enough for them."""
    release, begun = threading.Event(), threading.Event()

    def hang(*arguments: object) -> None:
        begun.set()
        release.wait(60)

    stage = make(worker_exit=hang).serving(silent_s=5.0)
    stage.leaving.force(1)
    stage.tend(101.1)
    assert begun.wait(60)
    stage.tend(104.0)
    with pytest.raises(Ended):
        stage.tend(104.2)
    assert stage.ends == [1]
    stage.raises = False
    release.set()
    until(lambda: "flush" in stage.did)


@pytest.mark.parametrize("elapsed, left", [(0.0, 29.0), (10.0, 19.0), (60.0, 0.0)])
def test_a_drain_gets_what_is_left_of_graceful_timeout(
    make: Callable[..., Stage], elapsed: float, left: float
) -> None:
    """Since the worker was asked, a second apart for what comes after it."""
    stage = make().serving()
    stage.leaving.ask()
    stage.now += elapsed
    assert stage.leaving.drain_s == left


def test_a_short_graceful_timeout_is_not_all_margin(make: Callable[..., Stage]) -> None:
    """A quarter of it at most is."""
    stage = make().serving()
    stage.cfg.graceful_timeout = 2
    assert stage.leaving.drain_s == 1.5


def test_a_forked_child_has_no_handlers_of_ours(make: Callable[..., Stage]) -> None:
    """A signal ends it, as it would end any process; handlers of others stay."""
    stage = make().serving()
    before = {number: signal.getsignal(number) for number in room._OURS}
    try:
        stage.leaving.install()
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        stage.leaving.in_child()
        after = [signal.getsignal(number) for number in (
            signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGABRT)]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert after == [
        signal.SIG_DFL, signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN]


def test_an_abort_of_somebody_else_is_a_false_alarm(make: Callable[..., Stage]) -> None:
    """A child that C code has forked writes to our recorder: the loop goes on, and ours was not
    called."""
    stage = make().serving()
    stage.tend(100.0, aborted=True)
    assert not stage.leaving.is_false_alarm()
    stage.heartbeat.last_sign = 100.4
    stage.tend(100.5, aborted=True)
    assert stage.leaving.is_false_alarm()
    assert (stage.leaving.ending, stage.did) == (False, [])


def test_what_is_left_over_gets_two_seconds(make: Callable[..., Stage]) -> None:
    """After a signal; a worker that recycles itself waits for it until it would be killed."""
    stage = make().serving()
    stage.leaving.terminate()
    stage.leaving.has_drained()
    stage.tend(101.9)
    assert stage.kills == []
    stage.tend(102.1)
    assert stage.kills == [signal.SIGQUIT]
    stage = make().serving()
    stage.leaving.ask(by_itself=True)
    stage.leaving.has_drained()
    stage.tend(148.0, deadline=150.0)
    assert stage.kills == []
    stage.tend(149.1, deadline=150.0)
    assert stage.kills == [signal.SIGQUIT]


def test_a_boot_is_left_once(make: Callable[..., Stage]) -> None:
    """A second signal does not cut off `worker_exit`, which the first has brought about."""
    stage = make()
    with pytest.raises(SystemExit):
        stage.leaving.terminate()
    stage.leaving.terminate()


def test_a_subclass_that_serves_on_its_own_is_left_alone(make: Callable[..., Stage]) -> None:
    """It notifies, so it does not boot, whatever our heartbeat knows."""
    stage = make()
    stage.worker.notifications = 3
    stage.leaving.terminate()
    assert stage.leaving.asked_at == 100.0
