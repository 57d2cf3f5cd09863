"""The last moments of a worker's process, when server, loop and gunicorn are done with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.gunicorn_server import Gunicorn
from tests.lifecycle.notes import HOOKS, Diary

LINGERS = """
import atexit, os, time
from life import app
from tests.lifecycle.notes import note

def stay(moment, note=note, stat=os.stat, sleep=time.sleep):
    note(moment)
    while True:
        try:
            stat("go on " + moment)
            return
        except OSError:
            sleep(0.01)

class Last:
    def __del__(self, stay=stay):
        stay("after the handlers")

last = Last()
atexit.register(stay, "in atexit")
"""
"""Functions are bound as defaults: when modules are taken apart, their names are gone."""


def test_a_signal_at_the_interpreters_exit_is_no_way_to_die(tmp_path: Path) -> None:
    """gunicorn repeats them. They come while functions of `atexit` run, and when Python has put its
    handlers back; the worker recycles itself, and nobody has set it a time to be gone."""
    (tmp_path / "lingers.py").write_text(LINGERS)
    config = f'max_requests = 1\nwatchdog_dump_dir = "dumps"\n{HOOKS}'
    with Gunicorn(tmp_path, "lingers:app", config=config) as server:
        diary = Diary(tmp_path)
        pid = diary.wait("in atexit").pid
        for _ in range(3):
            os.kill(pid, signal.SIGTERM)
        (tmp_path / "go on in atexit").touch()
        diary.wait("after the handlers", pid)
        for number in 3 * (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(pid, number)
        (tmp_path / "go on after the handlers").touch()
        assert diary.end(pid) == "exit 0"
        assert diary.count("worker_exit", pid) == 1
        assert not server.reports()
