"""What one worker's watch does at the monitor's word; no thread of it runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.workertmp import WorkerTmp

from tests.unit.recorders import Made
from watchdog_worker import settings
from watchdog_worker.signs import Action, Decision, Signs, State
from watchdog_worker.vitals import recording
from watchdog_worker.watch import Watch

BORN = 100.0


class Booting:
    """A worker that boots, and its watch."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cfg = Config()
        settings.adopt(cfg)
        cfg.set("watchdog_startup_timeout", 5.0)
        cfg.set("timeout", 0)
        self.made = Made(folder)
        # A log without handlers: what goes to it has arrived, and no thread is needed.
        self.worker = SimpleNamespace(
            cfg=cfg, log=SimpleNamespace(error_log=logging.Logger("unheard")),
            app=SimpleNamespace(app_uri="shop:app"), age=1, ppid=1, alive=True, notifications=0,
            notify=lambda: None, recorder_file=self.made.file, tmp=WorkerTmp(cfg))
        self.watch = Watch(self.worker, None, BORN)
        self.forced = list[int]()
        monkeypatch.setattr(self.watch.leaving, "force", self.forced.append)
        # No line of source is read, by a thread that is not there.
        monkeypatch.setattr(self.watch._camera._reader, "ask", lambda work, seconds: True)
        self._monkeypatch = monkeypatch

    def meanwhile(self, happens: Callable[[], None]) -> None:
        """This happens while the report is on its way to log, file and hook."""
        self._monkeypatch.setattr(self.watch._sinks, "settle", lambda seconds: happens())

    def startup_timeout(self) -> None:
        """It has come."""
        signs = Signs(BORN + 5.0, None, None, boot_since=BORN)
        self.watch.act(Action.STARTUP_TIMEOUT, signs, Decision((), State()))

    def told(self) -> list[tuple[object, object]]:
        """Event and severity of each report that was kept."""
        found: list[Any] = [kept.plain() for kept in recording.load(self.made.file.fd).reports]
        return [(each["event"], each["severity"]) for each in found]

    def close(self) -> None:
        """Of what it holds, nothing goes by itself."""
        for end in (self.watch._bell.read_end, self.watch._bell.write_end):
            os.close(end)
        self.worker.tmp.close()
        self.made.file.remove()
        self.made.die()


@pytest.fixture(name="booting")
def make_booting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Booting]:
    booting = Booting(tmp_path, monkeypatch)
    yield booting
    booting.close()


ENDED = [("slow_startup", "critical")]


def test_a_boot_that_hangs_is_told_and_ended(booting: Booting) -> None:
    """Once the report has had its time to arrive."""
    booting.meanwhile(lambda: booting.forced.append(0))
    booting.startup_timeout()
    assert (booting.told(), booting.forced) == (ENDED, [0, 1])


def test_a_worker_that_begins_to_serve_while_its_end_is_told_lives(booting: Booting) -> None:
    """It may take a second to tell, and requests may be in flight after it."""
    booting.meanwhile(booting.watch.heartbeat.serve)
    booting.startup_timeout()
    assert (booting.told(), booting.forced) == (ENDED, [])


def test_a_boot_that_hangs_is_ended_also_where_it_cannot_be_told(booting: Booting) -> None:
    """Whatever fails on the way."""
    def fails() -> None:
        raise RuntimeError("no report")

    booting.meanwhile(fails)
    with pytest.raises(RuntimeError):
        booting.startup_timeout()
    assert booting.forced == [1]
