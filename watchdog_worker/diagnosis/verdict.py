"""Weighs the three kinds of evidence, and names the cause only where they agree. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from watchdog_worker.diagnosis import rules, stack
from watchdog_worker.diagnosis.rules import Rule
from watchdog_worker.diagnosis.standing import Standing, standing
from watchdog_worker.model import (
    Effort,
    Frame,
    Profile,
    SampledStack,
    Snapshot,
    ThreadStack,
    innermost_app,
)

_SHORT_S = 0.6
"""A silence that is shorter, its pauses apart, is nothing to tell of."""
_LEAST_CPU_S = 0.02
_ENOUGH = 5
"""So many samples say something."""
_MOST = 0.8
_MAINLY = 0.5
_COLLECT = "gc.collect"


class Verdict(NamedTuple):
    """Why, and what it rests on."""

    cause: str
    frames: tuple[Frame, ...]
    """The stack that is to blame."""
    standing: Standing | None = None
    rule: Rule | None = None
    """What of the table holds."""
    against: str = ""
    """Why no cause is named, where the evidence disagrees."""
    keeper: ThreadStack | None = None
    """The thread other than the loop's that kept the GIL."""
    by_loop: bool = False
    """It was the loop's thread that kept it, wherever it stood."""
    collected: bool = False
    """It was the garbage collector that kept it."""
    busy: bool = False
    """Many short blocks in a row, and no long one."""
    alike: float = 1.0
    """Which share of the samples has the line that is blamed, of those that compute."""


def weigh(snapshot: Snapshot, thread: ThreadStack) -> Verdict:
    """The verdict on this loop thread."""
    effort = snapshot.effort
    if effort is not None and _paused(effort):
        return Verdict(rules.SUSPENDED, ())
    at, found = standing(thread, effort), stack.names(thread.frames)
    if at is Standing.STARVED:
        return Verdict(rules.SUSPENDED, thread.frames, at)
    if effort is not None and _gil_kept(effort):
        return _gil(snapshot, thread, effort, at)
    if effort is not None and effort.over:
        return Verdict(rules.UNKNOWN, (), against="it was over before it could be looked at")
    if at is Standing.COMPUTING:
        return _computing(snapshot, thread)
    return _waiting(snapshot, thread, at, found)


def _paused(effort: Effort) -> bool:
    """Nobody ran, and the rest of the silence is no more than a beat takes to come."""
    return effort.paused_s > effort.silent_s and effort.silent_s < _SHORT_S


def _gil_kept(effort: Effort) -> bool:
    return effort.gil_wait_s > (effort.seconds - effort.paused_s) / 2


def _waits_itself(at: Standing | None, found: stack.Names) -> bool:
    """It stands in a wait of its own, whoever keeps the GIL: one that is not for the GIL."""
    if at in (None, Standing.COMPUTING):
        return False
    return at is not Standing.FUTEX or stack.fitting(found, at) is not None


def _computing(snapshot: Snapshot, thread: ThreadStack) -> Verdict:
    effort, at = snapshot.effort, Standing.COMPUTING
    frames = _usual(thread.frames, snapshot.profile)
    collects = frames[-1].calls == _COLLECT
    if effort is not None and (collects or effort.collected_s > effort.seconds / 2):
        return Verdict(rules.GIL_HELD, frames, at, collected=True)
    rule = stack.fitting(stack.names(frames), at)
    cause = rule.cause if rule is not None else rules.CPU_BOUND
    return Verdict(cause, frames, at, rule, busy=_busy(snapshot.profile),
                   alike=_alike(frames, snapshot.profile))


def _gil(
    snapshot: Snapshot, thread: ThreadStack, effort: Effort, at: Standing | None
) -> Verdict:
    collects = thread.frames[-1].calls == _COLLECT
    collected = collects or effort.collected_s > effort.gil_wait_s / 2
    cpu_s = effort.cpu_s or 0.0
    if cpu_s > _LEAST_CPU_S and cpu_s > effort.process_cpu_s / 2:
        if effort.over:
            return Verdict(rules.GIL_HELD, (), by_loop=True, collected=collected)
        imports = stack.names(thread.frames).importing
        return Verdict(rules.IMPORT if imports else rules.GIL_HELD, thread.frames,
                       Standing.COMPUTING, collected=collected and not imports)
    if not effort.over and _waits_itself(at, stack.names(thread.frames)):
        # Since before, or only since it was let go on? Both look the same from here.
        against = (f"another thread kept the GIL for {effort.gil_wait_s:.1f} s, and now the loop's "
                   f"thread {at.value if at else 'waits'}")
        return Verdict(rules.UNKNOWN, thread.frames, at, against=against)
    keeper = next((each for each in snapshot.threads if each.native_id is not None
                   and each.native_id == effort.busiest), None)
    shown = keeper is not None and innermost_app(keeper.frames) is not None
    return Verdict(rules.GIL_HELD, keeper.frames if keeper is not None and shown else (),
                   keeper=keeper, collected=collected)


def _waiting(
    snapshot: Snapshot, thread: ThreadStack, at: Standing | None, found: stack.Names
) -> Verdict:
    rule = stack.fitting(found, at)
    busy = _busy(snapshot.profile)
    if rule is None:
        named = next(stack.named(found), None)
        if named is not None and at is not None:
            against = (f"the stack would say {named.cause}, but the kernel says that the thread "
                       f"{at.value}")
            return Verdict(rules.UNKNOWN, thread.frames, at, against=against)
        # Where not even the call can be told, it could be a database as well as anything else.
        known = at in rules.SELF_EVIDENT or bool(found.below) or _is_named(found.calls)
        cause = rules.BY_KERNEL.get(at, rules.UNKNOWN) if known and at else rules.UNKNOWN
        return Verdict(cause, thread.frames, at, busy=busy)
    share = _share_of(rule.cause, snapshot.profile)
    if share is not None and share < _MAINLY:
        against = (f"the stack says {rule.cause}, but only {share:.0%} of the samples do")
        return Verdict(rules.UNKNOWN, thread.frames, at, against=against, busy=busy)
    return Verdict(rule.cause, thread.frames, at, rule, busy=busy)


def _is_named(call: str | None) -> bool:
    """It leads to something of a module, and not to whatever an expression has given."""
    return call is not None and "." in call and "()" not in call and "[]" not in call


def _share_of(cause: str, profile: Profile | None) -> float | None:
    """In which share of the samples the stack alone would have given the same cause."""
    if profile is None or profile.samples < _ENOUGH:
        return None
    same = shown = 0
    for sampled in profile.stacks:
        named = stack.named(stack.names(sampled.frames))
        shown += sampled.count
        same += sampled.count if any(_kin(rule.cause, cause) for rule in named) else 0
    return same / shown if shown else None


def _kin(one: str, other: str) -> bool:
    """A call to a remote service is the same fault while it looks up the name."""
    remote = (rules.HTTP_CLIENT, rules.DATABASE, rules.SOCKET_IO, rules.DNS)
    return one == other or (one in remote and other in remote)


def _busy(profile: Profile | None) -> bool:
    """One callback of the loop after another, none of them for long."""
    return (profile is not None and profile.samples >= _ENOUGH
            and (profile.callbacks or 0) > profile.samples / 4)


def _usual(frames: tuple[Frame, ...], profile: Profile | None) -> tuple[Frame, ...]:
    """The stack of the samples that stands for most of them.

    The innermost function of the application that nearly all samples are in, and the line in it
    at which most are: where the picture itself was taken is chance.
    """
    if profile is None or profile.samples < _ENOUGH:
        return frames
    shown = sum(sampled.count for sampled in profile.stacks)
    for depth in range(len(frames), 0, -1):
        if not frames[depth - 1].app:
            continue
        outer = [_function(frame) for frame in frames[:depth]]
        same = [sampled for sampled in profile.stacks
                if [_function(frame) for frame in sampled.frames[:depth]] == outer]
        if sum(sampled.count for sampled in same) >= _MOST * shown:
            return _at_usual_line(same, depth)
    return frames


def _at_usual_line(samples: list[SampledStack], depth: int) -> tuple[Frame, ...]:
    lines = Counter[int]()
    for sampled in samples:
        lines[sampled.frames[depth - 1].line] += sampled.count
    line = lines.most_common(1)[0][0]
    best = next(each.frames for each in samples if each.frames[depth - 1].line == line)
    # Deeper functions of the application come and go: they are not what nearly all have.
    return best if not any(frame.app for frame in best[depth:]) else best[:depth]


def _alike(frames: tuple[Frame, ...], profile: Profile | None) -> float:
    if profile is None or profile.samples < _ENOUGH:
        return 0.0
    culprit, _ = stack.split(frames)
    same = sum(sampled.count for sampled in profile.stacks if culprit is not None and any(
        frame.line == culprit.line and _function(frame) == _function(culprit)
        and frame.calls == culprit.calls for frame in sampled.frames))
    return same / sum(sampled.count for sampled in profile.stacks)


def _function(frame: Frame) -> tuple[str, str]:
    return frame.file, frame.function
