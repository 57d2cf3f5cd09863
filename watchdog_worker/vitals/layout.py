"""Where everything stands in a recorder's file.

Little-endian; times are seconds, of the monotonic clock unless a line says wall. A number that is
not known is 0 or, where 0 means something, -1. The file has a fixed size; only what faulthandler
writes comes after it. A writer never waits and never locks; who writes which part:

    offset  size       part      written by
         0   512       IDENTITY  the arbiter, before the fork
       512   512       BOOT      the worker's main thread, once
      1024  1024       VITALS    the loop thread: PHASE, NOTIFIED, BEAT, END
      2048  2048       PULSE     the monitor thread, with every look
      4096  513 * 256  SLOT      the loop thread: a request in flight each; the last is the spare
    139264   64 * 512  DETAIL    the monitor thread: more about requests that take long
    172032  4 * 32768  LETTER    the monitor thread: a report each; STATE by a log's lane
    303104  ...        raw       faulthandler, in C, as text; grows with what it writes, and
                                 is never cut: PULSE says where what still counts begins

A reader trusts nothing of it (see `recording`). The version changes when anything here does.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

MAGIC = b"WDVITALS"
VERSION = 3
PREFIX, SUFFIX = "watchdog-", ".vitals"
"""Of a file's name; the middle is random."""

IDENTITY = Struct("<8sH6xqqqddddddd16s128s128s64s")
"""Magic, version; pid of the arbiter, number of the worker, uid that it runs as; when the file
was made (wall, monotonic); timeout, graceful timeout, interval of the heartbeat, stall and
startup threshold; the boot's id; application, versions, host."""
IDENTITY_AT = 0

BOOT = Struct("<qQQd")
"""Pid of the worker, when it was started (ticks since boot, as /proc has it), the loop thread's
ident, when it began to be watched."""
BOOT_AT = 512

VITALS_AT = 1024
PHASE = Struct("<Bxxxxxxxd")
"""The phase, as an index in PHASES, and since when."""
PHASE_AT = VITALS_AT
NOTIFIED = Struct("<d")
"""When the arbiter was last notified."""
NOTIFIED_AT = PHASE_AT + PHASE.size
BEAT = Struct("<dQdd15Q")
"""The last beat; the number of the last request; the sum and the maximum of all beats' lateness,
and its histogram."""
BEAT_AT = NOTIFIED_AT + NOTIFIED.size

END = Struct("<B")
"""How it ends before it has left, as an index in ENDS. Any thread's."""
END_AT = BEAT_AT + BEAT.size
ENDS = ("", "aborted", "dismissed")
"""It has seen to SIGABRT; the watchdog itself has ended it, and said so."""

PULSE = Struct("<dddddddQQQQqqIIQQQQ")
PULSE_AT = 2048
RAW_AT = SIZE = 303104


class Pulse(NamedTuple):
    """What the monitor has seen at its last look, as PULSE holds it."""

    at: float = 0.0
    wall: float = 0.0
    """The same moment, by the time of day."""
    last_sign: float = 0.0
    """Of life, of the loop."""
    blocked_since: float = 0.0
    timer_due: float = 0.0
    """When the timer of the raw stacks writes, if nobody pushes it ahead."""
    cpu_s: float = 0.0
    """Of the whole process."""
    figures_at: float = 0.0
    """When what follows was counted."""
    switches: int = 0
    """How often threads of the process gave way by themselves: those that ask for the GIL do."""
    rss_bytes: int = 0
    memory_limit_bytes: int = 0
    """Of the control group."""
    memory_bytes: int = 0
    """Used by it."""
    group_oom_kills: int = -1
    """Processes of the control group that were killed for memory; -1: not told."""
    machine_oom_kills: int = -1
    """The same of the whole machine; -1: not told, or not asked as the group's are."""
    group: int = 0
    """A checksum of the group's name."""
    threads: int = 0
    stalls: int = 0
    reports: int = 0
    reports_lost: int = 0
    """Reports that had to make room for others before the log had taken them."""
    raw_from: int = RAW_AT
    """Where in the file what faulthandler wrote begins, and still counts."""


SLOT = Struct("<QQd16s216s")
"""1 while it is used, of which the first byte counts; number, beginning; method (`websocket` for
one); path as it was sent."""
SLOT_AT = 4096
SLOTS = 512
"""And one more, the spare, that all share for whom none is free."""

DETAIL = Struct("<QH502s")
"""Number of the request; length, and JSON: client, headers."""
DETAIL_AT = 139264
DETAILS = 64

LETTER = Struct("<BxxxIIIQdd")
"""State; lengths packed and unpacked, checksum of what is packed; number; when it was made, and
the last sign of life before the silence that it is about. The packed JSON follows."""
LETTER_AT = 172032
LETTER_SIZE = 32768
LETTERS = 4
FREE, UNDELIVERED, DELIVERED = 0, 1, 2

PHASES = ("boot", "startup", "serving", "shutdown", "left")
"""The last: its drain is over, and it leaves of its own accord."""


def slot_at(index: int) -> int:
    """Where the request slot of this index begins."""
    return SLOT_AT + index * SLOT.size


def detail_at(index: int) -> int:
    """Where the details of this index begin."""
    return DETAIL_AT + index * DETAIL.size


def letter_at(index: int) -> int:
    """Where the report of this index begins."""
    return LETTER_AT + index * LETTER_SIZE
