"""Recorders' files made by hand, for the tests of those who read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from watchdog_worker.vitals import layout
from watchdog_worker.vitals.recorder import Identity, Recorder, RecorderFile
from watchdog_worker.vitals.slots import write

IDENTITY = Identity(
    age=3, uid=os.geteuid(), gid=os.getegid(), timeout=30.0, graceful_timeout=30.0,
    beat_interval=0.5, stall_threshold=1.0, startup_threshold=45.0, boot_id=bytes(16),
    app="shop:app", versions="watchdog-worker 1", host="web-1")


class Made:
    """A file as an arbiter makes it, and what a worker in this very process writes to it.

    The lock on it is held until `die`.
    """

    def __init__(self, folder: Path, **identity: Any) -> None:
        self.file = RecorderFile(str(folder), IDENTITY._replace(**identity))
        self.path = Path(self.file.path)
        self._recorder: Recorder | None = None

    @property
    def recorder(self) -> Recorder:
        """The worker's side; it begins to write when it is first asked for."""
        if self._recorder is None:
            self._recorder = Recorder(self.file)
        return self._recorder

    def serve(self, beat: float, **more: float) -> Made:
        """As of the last beat of a loop that serves, and of the monitor's last look."""
        self.recorder.phase("serving", beat)
        self.recorder.beat(beat, 0, 0.0, 0.0, [0] * 15)
        self.recorder.notified(beat)
        self.pulse(more.get("looked", beat), last_sign=beat)
        return self

    def pulse(self, at: float, last_sign: float, rss_bytes: int = 0) -> None:
        self.recorder.pulse(layout.Pulse(at=at, last_sign=last_sign, rss_bytes=rss_bytes))

    def request(self, number: int, began: float, method: bytes, path: bytes) -> None:
        write(self.recorder.slots.map, layout.slot_at(number), 1, number, began, method, path)

    def overwrite(self, at: int, data: bytes) -> None:
        os.pwrite(self.file.fd, data, at)

    def boots_as(self, pid: int, started: int) -> None:
        """Pretend that this process is the worker."""
        self.overwrite(layout.BOOT_AT, layout.BOOT.pack(pid, started, 1, 1.0))

    def die(self) -> None:
        """Nobody holds the lock any more: a mapping has a descriptor of its own."""
        if self._recorder is not None:
            self._recorder.abandon()
        self.file.close()
