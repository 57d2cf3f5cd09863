"""The verdict in words: what happened, what speaks for it, what to do. Pure.

Foreign text is passed on as it is; those who print it make it safe.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchdog_worker.diagnosis import rules, stack
from watchdog_worker.diagnosis.remedies import advice
from watchdog_worker.diagnosis.standing import Standing
from watchdog_worker.diagnosis.verdict import Verdict
from watchdog_worker.model import Effort, Frame, Profile, Snapshot, ThreadStack

_MAX_SHOWN = 4
_MOST = 0.7


def call_of(found: Verdict, culprit: Frame | None, below: tuple[Frame, ...]) -> str | None:
    """What blocks, as the developer who wrote the line calls it."""
    if found.collected:
        return "a garbage collection"
    if found.cause == rules.CPU_BOUND and not _mostly(culprit, found.alike):
        return None
    if culprit is not None and culprit.calls:
        return _as_written(culprit.calls)
    if not below:
        return None
    outer = stack.full_name(below[0])
    # Without the application, the innermost says more than some middleware's entry.
    if culprit is not None:
        return outer
    return _as_written(below[-1].calls or stack.full_name(below[-1]))


def _mostly(culprit: Frame | None, alike: float) -> bool:
    """Whether it is this line that most of the time goes into, so that its call is worth a name."""
    return culprit is not None and alike >= _MOST


def called(culprit: Frame | None, below: tuple[Frame, ...]) -> str | None:
    """What the culprit calls, by a name that is the same in every release of the interpreter."""
    if culprit is not None and culprit.calls:
        return culprit.calls
    return f"{below[0].module}.{below[0].function}" if below else None


def _as_written(name: str) -> str:
    """What a `with` or a `for` calls has no name in the source."""
    for hidden, shown in ((".__enter__", " (with)"), (".__next__", " (for)")):
        if name.endswith(hidden):
            return name.removesuffix(hidden) + shown
    return name


def waits_for(found: Verdict, thread: ThreadStack) -> str | None:
    """What would have to happen for the loop to go on."""
    if found.standing in (None, Standing.COMPUTING, Standing.STARVED) or found.keeper:
        return None
    target = thread.wait.target if thread.wait is not None else None
    own = thread.waits_for
    if found.cause == rules.DNS and own and target:
        return f"{own}, {target}"
    return own or target


def summary(
    found: Verdict, snapshot: Snapshot, thread: ThreadStack, call: str | None
) -> str:
    """What has happened, in a sentence."""
    text = _what(found, snapshot, thread, call)
    if found.busy:
        callbacks = snapshot.profile.callbacks if snapshot.profile is not None else 0
        text = (f"many short blocks in a row, not a long one: the loop is busy, it went through at "
                f"least {callbacks} callbacks without a beat between them; most often {text}")
    return text


def _what(
    found: Verdict, snapshot: Snapshot, thread: ThreadStack, call: str | None
) -> str:
    effort, name = snapshot.effort, call or "a call"
    target = waits_for(found, thread)
    to = f" ({target})" if target else ""
    library = found.rule.library if found.rule is not None else ""
    if library.split(" ")[0].lower() in name.lower():
        library = ""
    by = f"{name} ({library}), which is synchronous," if library else (
        f"{name}, which is synchronous,")
    if found.cause == rules.SUSPENDED:
        return suspended(effort) if effort is not None else ""
    if found.cause == rules.GIL_HELD:
        return _kept(found, effort, call)
    if found.cause == rules.CPU_BOUND:
        share = f" ({effort.cpu_s:.1f} s of {effort.seconds:.1f} s)" if (
            effort is not None and effort.cpu_s is not None) else ""
        return f"the loop's thread computes{share}; nothing else runs on the loop until it is done"
    if found.cause == rules.UNKNOWN:
        at = f"; the kernel says that it {found.standing.value}" if found.standing else ""
        return found.against or f"what the loop's thread is in is not known here{at}"
    told = {
        rules.SLEEP: f"the loop's thread sleeps in {name}",
        rules.HTTP_CLIENT: f"{by} waits for the answer{to}",
        rules.DATABASE: f"{by} waits for the database{to}",
        rules.SOCKET_IO: f"{by} waits for its peer{to}",
        rules.DNS: f"{name} looks up a name{to}, which is synchronous",
        rules.FILE_IO: f"{name} waits for a file{to}",
        rules.SUBPROCESS: f"{name} waits for another program{to}",
        rules.LOCK: f"the loop's thread waits for {target or 'another thread'}",
        rules.FUTURE_WAIT: f"the loop's thread waits for {target or 'a future'}" + (
            "" if target and "worked on by" in target
            else "; if that needs the loop to run, it waits for ever"),
        rules.IMPORT: f"{_module(found.frames) or 'a module'} is imported while the loop runs",
        rules.LOGGING: f"a line of log cannot be written{to}",
    }
    return told[found.cause] + ("" if found.cause == rules.FUTURE_WAIT
                                else "; nothing else runs on the loop meanwhile")


def _kept(found: Verdict, effort: Effort | None, call: str | None) -> str:
    kept = ""
    if effort is not None:
        kept = f"for {effort.gil_wait_s:.1f} s "
        if effort.process_cpu_s < _MOST * effort.gil_wait_s:  # the machine had more to do
            kept += f"({effort.process_cpu_s:.1f} s of CPU) "
    if found.collected and effort is not None:
        took = f" for {effort.collected_s:.2f} of {effort.seconds:.2f} s that were watched"
        return (f"the garbage collector ran{took if effort.collected_s else ''}, and meanwhile no "
                "Python code could in this process")
    if found.keeper is not None:
        return (f"thread {found.keeper.name} kept the GIL {kept}in native code: no other thread "
                "could run Python, the loop's included")
    native = "native code in the loop's thread" if found.by_loop else "native code"
    who = f"{call or native} kept"
    return f"{who} the GIL {kept}at a stretch: no other Python code could run in this process"


def _module(frames: tuple[Frame, ...]) -> str | None:
    """The innermost module that is being imported."""
    return next((frame.module for frame in reversed(frames) if frame.function == "<module>"), None)


def suspended(effort: Effort) -> str:
    """The process had no chance to run."""
    if effort.paused_s > effort.silent_s:
        return f"nothing of this process ran for {effort.paused_s:.1f} s: the loop is not to blame"
    return (f"the loop's thread was ready to run and had a processor for {effort.cpu_s or 0:.2f} "
            f"of {effort.seconds:.2f} s: the machine is too busy, or the process is throttled")


def remedy(found: Verdict) -> str:
    """What to do about it."""
    names = stack.names(found.frames)
    library = stack.library(names, found.cause)
    return advice(found.cause, library, stack.split(found.frames)[0] and names.calls,
                  collected=found.collected, in_thread=found.keeper is not None)


def evidence(
    found: Verdict, snapshot: Snapshot, thread: ThreadStack, culprit: Frame | None
) -> Iterator[str]:
    """What speaks for the cause; each begins with where it comes from."""
    if found.frames:
        yield f"stack: {shown_stack(found.frames)}"
    if found.against:
        yield f"but: {found.against}"
    kernel = _kernel(thread)
    if kernel:
        yield f"kernel: {kernel}"
    if snapshot.profile is not None and culprit is not None:
        yield f"samples: {_samples(snapshot.profile, culprit)}"
    if snapshot.effort is not None:
        yield f"monitor: {_effort(snapshot.effort)}"


def shown_stack(frames: tuple[Frame, ...]) -> str:
    """The application's function and what it called, in one line."""
    culprit, below = stack.split(frames)
    chain = [stack.full_name(frame) for frame in below]
    if frames[-1].calls and frames[-1].calls not in chain[-1:]:
        chain.append(frames[-1].calls)
    if len(chain) > _MAX_SHOWN:
        chain = [*chain[:2], "...", *chain[-2:]]
    own = stack.full_name(culprit) if culprit is not None else "no code of the application"
    return " > ".join([own, *chain])


def _kernel(thread: ThreadStack) -> str:
    parts = [f"state {thread.state}"] if thread.state else []
    if thread.wait is not None:
        wait = thread.wait
        parts += [f"in {wait.syscall}"] if wait.syscall else []
        parts += [f"on {wait.target}"] if wait.target else []
        parts += [f"({wait.wchan})"] if wait.wchan else []
    return " ".join(parts)


def _samples(profile: Profile, culprit: Frame | None) -> str:
    here = sum(sampled.count for sampled in profile.stacks if culprit is not None and any(
        (frame.file, frame.function, frame.line)
        == (culprit.file, culprit.function, culprit.line) for frame in sampled.frames))
    places = len(profile.stacks)
    text = f"{here} of {profile.samples} at this line" if culprit is not None else (
        f"{profile.samples}")
    return f"{text}, " + ("one stack all along" if places == 1 else f"{places} different stacks")


def _effort(effort: Effort) -> str:
    own = "" if effort.cpu_s is None else (
        f"the loop's thread used {effort.cpu_s:.2f} s of CPU, ")
    parts = [f"in {effort.seconds:.2f} s {own}the process {effort.process_cpu_s:.2f} s"]
    for seconds, what in (
            (effort.gil_wait_s, "the monitor waited {:.2f} s for the GIL"),
            (effort.paused_s, "nothing ran for {:.2f} s"),
            (effort.collected_s, "full garbage collections took {:.2f} s"),
            (effort.queued_s, "the loop's thread waited {:.2f} s for a processor")):
        if seconds and seconds >= 0.05:
            parts.append(what.format(seconds))
    return ", ".join(parts)
