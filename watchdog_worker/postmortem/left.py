"""Recorders that nobody came back for: their worker and their arbiter are both dead. Arbiter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

from watchdog_worker import rundir
from watchdog_worker.vitals import recording

_LOOK_S = 0.5
"""The arbiter waits no longer for what others have put into the folder."""


def left_behind(folder: str, owners: set[int], left_open: ExitStack) -> Iterator[int]:
    """Descriptors of ours whose worker and arbiter are both dead; their files are removed."""
    until = monotonic() + _LOOK_S
    for name in rundir.names(folder):
        path = os.path.join(folder, name)
        if monotonic() > until:
            return
        with ExitStack() as opened:
            try:
                fd = opened.enter_context(rundir.opened(path))
                ours = os.fstat(fd).st_uid in owners
                if not ours or rundir.is_locked(fd) or not rundir.try_lock(fd):
                    continue
                if not os.path.samestat(os.lstat(path), os.fstat(fd)):
                    continue  # another start was quicker
                recording.glance(fd)
                os.unlink(path)
            except (OSError, recording.NotARecording):  # gone, another's, or no recorder
                continue
            left_open.push(opened.pop_all())
            yield fd
