"""Work that may hang."""

from __future__ import annotations

import threading

from tests.gunicorn_server import until
from watchdog_worker.budget import Budgeted


def test_work_is_waited_for_and_a_hang_costs_once() -> None:
    """While it hangs, nothing else is begun; afterwards it goes on."""
    reader, gate, done = Budgeted("watchdog-test"), threading.Event(), list[int]()
    reader.start()
    assert reader.ask(lambda: done.append(1), 10)
    assert not reader.ask(gate.wait, 0.01)
    assert not reader.ask(lambda: done.append(2), 10)
    gate.set()
    until(lambda: reader.ask(lambda: done.append(3), 10))
    assert done[0] == 1 and 2 not in done and 3 in done


def test_work_that_raises_did_not_end_well() -> None:
    """And the next does."""
    reader = Budgeted("watchdog-test")
    reader.start()
    assert not reader.ask(lambda: 1 / 0, 10)
    assert reader.ask(lambda: None, 10)
