"""Signals that come while a worker is being forked."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter

from watchdog_worker import birth as room
from watchdog_worker.birth import Birth


@pytest.fixture
def arbiters_handlers() -> Iterator[list[int]]:
    """As gunicorn's master has them: what comes is put into a list, and nothing ends."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number))
              for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def forked_by(caller: Any, monkeypatch: pytest.MonkeyPatch, birth: Birth) -> None:
    monkeypatch.setattr(room, "_forked_by", lambda: caller)
    birth.before_fork()


def status_of_child(hooks: Callable[[], None], number: int) -> int:
    """How a child ends that gets this signal before it has run anything but the hooks."""
    pid = os.fork()
    if pid == 0:
        try:
            os.kill(os.getpid(), number)
            hooks()
            while True:
                signal.pause()
        finally:
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_what_comes_in_between_ends_the_worker(
    number: int, arbiters_handlers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither lost in the arbiter's handler nor a reason for a core file."""
    birth = Birth()
    birth.expect()
    forked_by(Arbiter.spawn_worker.__code__, monkeypatch, birth)
    status = status_of_child(birth.in_child, number)
    birth.in_parent()
    assert (os.WTERMSIG(status), arbiters_handlers) == (signal.SIGTERM, [])


def test_the_arbiter_loses_nothing(
    arbiters_handlers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes to it meanwhile, its own handler gets after the fork."""
    birth = Birth()
    birth.expect()
    forked_by(Arbiter.spawn_worker.__code__, monkeypatch, birth)
    try:
        # To this thread: another one of the process would get it at once, and lose it as little.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert arbiters_handlers == []
    finally:
        birth.in_parent()
    assert arbiters_handlers == [signal.SIGTERM]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_other_forks_are_left_alone(
    arbiters_handlers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn's own for an upgrade, the application's: mask and handlers stay as they are."""
    birth = Birth()
    birth.expect()
    forked_by(Arbiter.reexec.__code__, monkeypatch, birth)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    before = signal.getsignal(signal.SIGTERM)
    birth.in_child()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_arbiter_is_found_where_it_forks() -> None:
    """Further up, in the frame of gunicorn's `spawn_worker`; elsewhere there is none."""
    assert room.arbiter() is None
    found: list[object] = []

    class Cfg:
        def pre_fork(self, server: object, worker: object) -> None:
            found.append(room.arbiter())
            raise RuntimeError("no fork, please")

    server: Any = Arbiter.__new__(Arbiter)
    server.worker_age, server.pid, server.timeout = 0, 1, 30
    server.worker_class, server.app, server.log = (lambda *_: object()), None, None
    server.cfg = Cfg()
    with pytest.raises(RuntimeError):
        server.spawn_worker()
    assert found == [server]
