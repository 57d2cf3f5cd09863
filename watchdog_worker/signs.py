"""What the monitor sees, remembers and decides: the values. `decision` has the rules."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, NamedTuple

from watchdog_worker.lateness import Reading

MAX_STRETCH = 200
"""What lasts long is sampled more and more rarely: each sample adds at least its 200th part."""
LATE_S = 0.25
"""Woken later than this, the monitor itself could not run."""


class Action(Enum):
    """What there is to do."""

    STALL = auto()
    SAMPLE = auto()
    PRE_KILL = auto()
    STALL_ENDED = auto()
    SLOW_REQUEST = auto()
    NOTE_SLOW = auto()
    CONTEXT_LEAK = auto()
    SUSPENDED = auto()
    SLOW_STARTUP = auto()
    STARTUP_TIMEOUT = auto()
    SLOW_SHUTDOWN = auto()


class Rules(NamedTuple):
    """What holds for a worker's whole life; seconds, 0 means off."""

    stall_threshold: float
    stall_rate_limit: int
    sample_interval: float
    pre_kill_margin: float
    slow_request_threshold: float = 0.0
    startup_threshold: float = 0.0
    startup_timeout: float = 0.0
    graceful_timeout: float = 0.0


class Signs(NamedTuple):
    """What is seen at one moment (monotonic seconds)."""

    now: float
    last_sign: float | None
    """The loop's last sign of life; None until it runs."""
    deadline: float | None
    """When the arbiter will kill if it is not notified; None if it never will."""
    loop_ended: bool = False
    reading: Reading = Reading()
    oldest_request: float | None = None
    """When the oldest request began that is in flight and has not been told to be slow."""
    beats_late_s: float = 0.0
    """By how much all beats so far have come late, in all."""
    last_beat: float | None = None
    """When the last of them came: only a beat shows how long the loop was kept from it."""
    gap: tuple[float, float] | None = None
    """The last time without a sign of life that was longer than a heartbeat."""
    leaks: bool = False
    """There are ContextVars to be looked at."""
    boot_since: float | None = None
    """When the worker was forked, while it boots."""
    leaving_since: float | None = None
    """When it was asked to leave."""
    drained: bool = False
    """Its server has ended: the worker itself comes to its end before the arbiter would kill it."""


class Episode(NamedTuple):
    """One silence of the loop that has become too long."""

    since: float
    """The last sign of life before it."""
    next_sample: float
    told: bool = False
    """A report of it has been made."""
    settled: bool = False
    """A `stall` was made, or withheld by the rate limit: not again."""
    late_s: float = 0.0
    """By how much the monitor came late at worst: it waits for the GIL like everybody."""
    watched_since: float = 0.0
    """When the watch of it began, as a rule where it was noticed, and what was read then."""
    reading: Reading = Reading()
    gil_wait_s: float = 0.0
    """For how long in all the monitor had to wait for the GIL."""
    paused_s: float = 0.0
    """For how long nothing of the process ran while it was watched."""
    paused_before_s: float = 0.0
    """For how long it had not before that."""

    @property
    def paused_in_all_s(self) -> float:
        """All pauses since the last sign of life."""
        return self.paused_before_s + self.paused_s

    @property
    def monitor_was_late(self) -> bool:
        """Whether it could not watch all the time."""
        return self.late_s > LATE_S


class Told(NamedTuple):
    """What has been told of the boot and of the drain."""

    startups: int = 0
    """How often the threshold was doubled."""
    ended: bool = False
    """The boot took too long, and is being ended."""
    shutdown: bool = False
    next_sample: float = 0.0
    paused_s: float = 0.0
    """For how long nothing of the process ran while it booted: no time of the boot's."""


class _State(NamedTuple):
    wake_at: float = 0.0
    """When it meant to wake; 0 before the first look."""
    reading: Reading = Reading()
    """As of the last look."""
    paused: tuple[float | None, float] = (None, 0.0)
    """For how long nothing of the process ran since this sign of life: no silence of the loop's."""
    episode: Episode | None = None
    told_deadline: float | None = None
    """The deadline for which a `pre_kill` has been made."""
    grace_until: float = 0.0
    graced_sign: float | None = None
    """The sign of life after which grace was given: once a silence, or a monitor that is always
    late (many threads that compute) would never come to speak."""
    recent: tuple[float, ...] = ()
    """When the last `stall` reports were made."""
    withheld: int = 0
    looked_at: float = 0.0
    """When the last look was."""
    beats_late_s: float = 0.0
    """As of the last look."""
    dead: tuple[tuple[float, float], ...] = ()
    """The last times in which the loop could not run: what they took is no request's fault."""
    recent_slow: tuple[float, ...] = ()
    """When the last reports of slow requests were made."""
    stages: Told = Told()
    boot: Episode | None = None
    """What goes on until the loop runs, as a silence; see `stages.boot`."""


class State(_State):
    """What the monitor remembers from one look to the next."""

    __slots__ = ()

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> State:  # type: ignore[override]
        """`_replace` hands over an iterator. CPython resizes the tuple that it makes of one, and
        frees it to where it has not come from: 2,000 of that size would be kept for nothing."""
        return super()._make(list(iterable))


class Decision(NamedTuple):
    """What to do now, what to remember, and when to look again."""

    actions: tuple[Action, ...]
    state: State
    ended: Episode | None = None
    """The episode that STALL_ENDED is about."""
    withheld: int = 0
    """How many stalls the rate limit kept back before the STALL that is told now."""
    slow_before: float | None = None
    """Requests that began before this are slow, if any is to be told of or counted now."""
    paused_s: float = 0.0
    """How long the pause was that SUSPENDED is about."""
