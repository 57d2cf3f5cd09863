"""The dump signal rings the bell, once each."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time

import pytest

from watchdog_worker import doorbell
from watchdog_worker.monitor import Bell


def test_a_signal_rings_once_while_the_main_thread_sleeps() -> None:
    """Whatever faulthandler writes in how many pieces."""
    bell, rings = Bell(), 0
    doorbell.install("SIGUSR2", bell.write_end)
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        slept = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - slept >= 0.2
        while bell.wait(0.05) or bell.wait(0.05):
            rings += 1
    finally:
        faulthandler.unregister(signal.SIGUSR2)
    assert rings == 1


def test_what_comes_after_the_heading_is_no_ring() -> None:
    """A traceback that is written slowly wakes the monitor and does not ring twice."""
    bell = Bell()
    os.write(bell.write_end, b"Stack (most recent call first):\n")
    assert bell.wait(1.0)
    os.write(bell.write_end, b"  File \"x.py\", line 3 in f\n")
    assert not bell.wait(1.0)
    assert not bell.wait(0.0)


@pytest.mark.parametrize("pending", [0, 3])
def test_a_bell_that_nobody_reads_does_not_block_who_rings(pending: int) -> None:
    """The handler runs in the application's threads."""
    bell = Bell()
    with pytest.raises(BlockingIOError):
        while True:
            os.write(bell.write_end, b"#" * 65536)
    for _ in range(pending):
        bell.wait(0.0)
