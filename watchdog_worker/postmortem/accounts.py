"""What is to be told of the dead, from their open recorders. Runs in the reporter."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

from watchdog_worker import report
from watchdog_worker.capture import appcode, cgroup
from watchdog_worker.model import Report
from watchdog_worker.postmortem import autopsy
from watchdog_worker.postmortem.caps import Caps
from watchdog_worker.postmortem.ending import Ending, Kills, MemoryKills
from watchdog_worker.postmortem.reason import orderly
from watchdog_worker.vitals import recording
from watchdog_worker.vitals.recorder import boot_id
from watchdog_worker.vitals.recording import NotARecording, Recording


def of_worker(worker: Any, fd: int, ending: Ending, tell: bool) -> Iterator[Report]:
    """Of a worker that the arbiter has reaped. `tell`: its end, too, and not only what it could
    not deliver itself. That somebody has died is told also where nothing can be read."""
    try:
        found = recording.load(fd)
    except NotARecording:
        found = recording.blank()
    if not found.pid:
        found = found._replace(pid=worker.pid, age=worker.age, app=report.app_name(worker))
    yield from _accounts(worker, found, ending, tell)


def of_left_behind(worker: Any, fds: list[int]) -> Iterator[Report]:
    """Of those that nobody has reaped; `worker` is one of ours, whose settings hold."""
    memory = cgroup.memory()
    for fd in fds:
        try:
            found = recording.load(fd)
        except (OSError, NotARecording):
            continue
        if not found.pid:  # its fork never came
            continue
        kills = MemoryKills().since(found.pulse, memory)
        comparable = found.boot_id == boot_id() and kills.where == "cgroup"
        ending = Ending(monotonic(), left_behind=True, kills=kills if comparable else Kills())
        tell = not orderly(ending, found.phase, found.end)
        yield from _accounts(worker, found, ending, tell=tell)


def _accounts(worker: Any, found: Recording, ending: Ending, tell: bool) -> Iterator[Report]:
    appcode.claim(report.app_name(worker))
    yield from autopsy.undelivered(found)
    if tell:
        yield autopsy.examined(found, ending, Caps.of(worker.cfg))
