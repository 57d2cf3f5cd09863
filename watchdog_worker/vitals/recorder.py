"""The flight recorder: a small file of vital signs that outlives its worker.

The arbiter makes the file before the fork and keeps its descriptor; the worker inherits it and
writes through a shared mapping, which costs no system call and needs nobody's leave. A lock on
the open file (flock) says that one of the two lives, whatever their pids mean where it is read.
`layout` says what stands where.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from watchdog_worker.vitals import layout
from watchdog_worker.vitals.outbox import Outbox
from watchdog_worker.vitals.slots import Details, Slots


class Identity(NamedTuple):
    """Whose file it is; what the arbiter knows before the fork."""

    age: int
    uid: int
    gid: int
    timeout: float
    graceful_timeout: float
    beat_interval: float
    stall_threshold: float
    startup_threshold: float
    boot_id: bytes
    app: str
    versions: str
    host: str


class RecorderFile:
    """The file, in the arbiter: made, known by its descriptor, removed."""

    def __init__(self, folder: str, identity: Identity) -> None:
        """Make the file, with all the room that the worker will write to.

        Room that is missing shows here: a mapping that cannot be filled would kill the worker.
        Raises OSError, and leaves nothing behind then.
        """
        self.fd, self.path = tempfile.mkstemp(layout.SUFFIX, layout.PREFIX, folder)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _allocate(self.fd)
            os.pwrite(self.fd, _packed(identity), layout.IDENTITY_AT)
            if identity.uid != os.geteuid() or identity.gid != os.getegid():
                os.fchown(self.fd, identity.uid, identity.gid)
        except BaseException:
            self.remove()
            self.close()
            raise

    def remove(self) -> None:
        """Take the file out of its folder, if it is still the one that we made."""
        try:
            if os.path.samestat(os.lstat(self.path), os.fstat(self.fd)):
                os.unlink(self.path)
        except OSError:  # somebody else was quicker
            pass

    def close(self) -> None:
        """Give up the descriptor; once is as good as twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Recorder:
    """What a worker writes. Without a file, it goes to memory of the process's own.

    Made in the worker, after the fork, by the thread that will run the loop. Each method says
    which thread calls it; none waits, and none raises but for a defect of ours.
    """

    def __init__(self, file: RecorderFile | None = None) -> None:
        self._file, self._map = _mapped(file)
        self.slots = Slots(self._map)
        self.details = Details(self._map)
        self.outbox = Outbox(self._map)
        layout.BOOT.pack_into(self._map, layout.BOOT_AT, os.getpid(), started_at(os.getpid()),
                              threading.get_ident(), monotonic())
        _all.add(self)

    @property
    def fd(self) -> int | None:
        """Of the file, for what is written there in C; None: there is none."""
        return self._file.fd if self._file is not None else None

    def phase(self, phase: str, now: float) -> None:
        """The worker has come to another phase. Loop thread."""
        layout.PHASE.pack_into(
            self._map, layout.PHASE_AT, layout.PHASES.index(phase), now)

    def notified(self, now: float) -> None:
        """The arbiter has been notified. Any thread."""
        layout.NOTIFIED.pack_into(self._map, layout.NOTIFIED_AT, now)

    def beat(
        self, now: float, requests: int, late_s: float, latest_s: float, counts: Sequence[int]
    ) -> None:
        """The loop has beaten. Loop thread."""
        layout.BEAT.pack_into(
            self._map, layout.BEAT_AT, now, requests, late_s, latest_s, *counts)

    def end(self, how: str) -> None:
        """How it ends, one of `layout.ENDS`. Any thread."""
        layout.END.pack_into(self._map, layout.END_AT, layout.ENDS.index(how))

    def pulse(self, pulse: layout.Pulse) -> None:
        """The monitor has looked. Monitor thread."""
        layout.PULSE.pack_into(self._map, layout.PULSE_AT, *pulse)

    def clear_away(self) -> None:
        """Where the arbiter has died, nobody else would: take the file away, if it has nothing to
        tell. As the very last thing, in any thread."""
        arbiter = layout.IDENTITY.unpack_from(self._map, layout.IDENTITY_AT)[2]
        if self._file is None or os.getppid() == arbiter:
            return
        (phase, _), (end,) = (layout.PHASE.unpack_from(self._map, layout.PHASE_AT),
                              layout.END.unpack_from(self._map, layout.END_AT))
        orderly = layout.PHASES[phase] == "left" or layout.ENDS[end] == "dismissed"
        if orderly and self.outbox.all_delivered:
            self._file.remove()

    def abandon(self) -> None:
        """Write to nobody's file any more. In a process that was forked off."""
        shared, file = self._map, self._file
        self._file, self._map = None, bytearray(layout.SIZE)
        self.slots.map = self.details.map = self.outbox.map = self._map
        if isinstance(shared, mmap.mmap):
            shared.close()
        if file is not None:
            file.close()


def started_at(pid: int) -> int:
    """When a process was started, in ticks since boot (proc(5), field 22); 0: not told.

    With the pid it is a process's name: pids come again.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def boot_id() -> bytes:
    """Of this boot of the machine; empty where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return bytes.fromhex(file.read(64).decode().replace("-", ""))
    except (OSError, ValueError):
        return b""


def _mapped(
    file: RecorderFile | None
) -> tuple[RecorderFile | None, mmap.mmap | bytearray]:
    if file is not None:
        try:
            return file, mmap.mmap(file.fd, layout.SIZE)
        except (OSError, ValueError):  # a limit on memory; somebody has cut the file
            pass
    return None, bytearray(layout.SIZE)


def _allocate(fd: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, layout.SIZE)
    else:  # macOS
        os.write(fd, bytes(layout.SIZE))


def _packed(identity: Identity) -> bytes:
    return layout.IDENTITY.pack(
        layout.MAGIC, layout.VERSION, os.getpid(), identity.age, identity.uid,
        time.time(), monotonic(), identity.timeout, identity.graceful_timeout,
        identity.beat_interval, identity.stall_threshold, identity.startup_threshold,
        identity.boot_id, *(text.encode("utf-8", "replace") for text in (
            identity.app, identity.versions, identity.host)))


_all: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for recorder in list(_all):
        recorder.abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
