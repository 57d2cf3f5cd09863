"""Endings and recordings for tests."""

from __future__ import annotations

import signal
from typing import Any

from watchdog_worker.postmortem.ending import Ending
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.layout import Pulse
from watchdog_worker.vitals.recording import Recording, read

NOW = 1000.0


def killed_by(name: str) -> int:
    """The status of a process that this signal has ended."""
    return int(signal.Signals[name])


def exited(code: int) -> int:
    """The status of a process that has exited."""
    return code << 8


def ending(status: int | None = None, **known: Any) -> Ending:
    """The end of a worker, at NOW."""
    return Ending(at=NOW, status=status, **known)


def recording(**known: Any) -> Recording:
    """Of a worker that serves, looked at a moment ago; `known` replaces parts, the pulse's too."""
    empty = bytearray(layout.SIZE)
    layout.IDENTITY.pack_into(
        empty, 0, layout.MAGIC, layout.VERSION, 1, 1, 0, 0.0, 1.0, 5.0, 30.0, 0.5, 1.0, 5.0, b"",
        b"", b"", b"")
    pulse = {name: known.pop(name) for name in list(known)
             if name in Pulse._fields and name not in Recording._fields}
    found = read(bytes(empty))
    defaults = {"pid": 77, "phase": "serving", "phase_since": NOW - 100, "last_beat": NOW - 0.3,
                "last_notify": NOW - 0.3, "booted": NOW - 101, "loop_thread": 0x10}
    return found._replace(**{**defaults, **known}, pulse=found.pulse._replace(
        **{"at": NOW - 0.5, "last_sign": NOW - 0.3, **pulse}))
