"""A report as a readable block: the headline, then what a person asks next.

`lines` yields one line at a time; every line but the headline is indented, so that a line at
the margin of the log is always the log's own. Foreign text goes through `plain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from watchdog_worker.model import (
    Death,
    Diagnosis,
    Frame,
    KernelWait,
    LoopLag,
    Process,
    Profile,
    Report,
    Request,
    Snapshot,
    Stage,
    Stall,
    Tasks,
    ThreadStack,
)
from watchdog_worker.render.names import (
    connection_name,
    during,
    place,
    request_name,
    short_path,
    telling_frame,
)
from watchdog_worker.render.plain import plain


_KEPT_BEFORE_APP = 2


def text(report: Report) -> str:
    """The whole block."""
    return "\n".join(lines(report))


def lines(report: Report) -> Iterator[str]:
    """The block, a line at a time, without line ends."""
    yield plain(report.headline)
    for line in _body(report):
        yield f"  {line}".rstrip()


def _body(report: Report) -> Iterator[str]:
    snapshot = report.snapshot
    yield (f"event {report.event}, worker {report.pid} (number {report.worker_age}), "
           f"application {plain(report.app)}")
    if report.death is not None:
        yield from _death(report.death)
    if report.stage is not None:
        yield from _stage(report.stage)
    if report.stall is not None:
        yield from _stall(report.stall, report.stage is not None)
    if report.context is not None:
        yield f"variable:   {plain(report.context.variable)}"
        yield f"holds:      {plain(report.context.type)}"
    if report.diagnosis is not None:
        yield from _diagnosis(report.diagnosis, report.death is not None)
    if snapshot.profile is not None:
        yield from _profile(snapshot.profile)
    if snapshot.slow_ended:
        yield (f"{_count(snapshot.slow_ended, 'slow request')} ended without being told "
               "(watchdog_stall_rate_limit)")
    yield from _pools(snapshot)
    yield from _requests(snapshot)
    yield from _threads(snapshot)
    if snapshot.tasks is not None:
        yield from _tasks(snapshot.tasks, snapshot.slow_total is not None)
    yield from _figures(snapshot)
    for sentence in snapshot.incomplete:
        yield f"not captured: {plain(sentence)}"


def _death(death: Death) -> Iterator[str]:
    parts = [f"death:      {death.reason}"]
    parts += [plain(death.signal)] if death.signal is not None else []
    parts += [f"exit status {death.exit_code}"] if death.exit_code is not None else []
    parts += [f"phase {death.phase}"] if death.phase is not None else []
    yield ", ".join(parts)
    if death.left_behind:
        host = f" on host {plain(death.host)}" if death.host is not None else ""
        last = f"; the last trace of it is of {death.last_trace}" if death.last_trace else ""
        yield f"            found later{host}, when its gunicorn was dead as well{last}"
    ages = [f"{age:.2f} s since {what}" for what, age in (
        ("its last beat", death.last_beat_age_s),
        ("it last notified gunicorn", death.last_notify_age_s)) if age is not None]
    if ages:
        yield f"            then {', '.join(ages)}"
    life = [f"up for {death.uptime_s:.1f} s"] if death.uptime_s is not None else []
    life += [f"{_count(death.requests_served, 'request')} served"] if death.requests_served else []
    life += [f"{_count(death.reports_lost, 'report')} lost"] if death.reports_lost else []
    life += [plain(death.versions)] if death.versions else []
    if life:
        yield f"            {', '.join(life)}"


def _stall(stall: Stall, of_stage: bool) -> Iterator[str]:
    timeout = f"timeout {stall.timeout_s:g} s" if stall.timeout_s else "no timeout"
    if stall.running and (stall.silent or not of_stage):
        yield f"loop silent for {stall.blocked_s:.2f} s {during(stall.phase)}, {timeout}"
    if stall.withheld:
        yield f"{stall.withheld} more stalls were not told (watchdog_stall_rate_limit)"


def _stage(stage: Stage) -> Iterator[str]:
    since = "the fork" if stage.name == "startup" else "the worker was asked to leave"
    limit = ""
    if stage.limit_s is not None:
        setting = "watchdog_startup_timeout" if stage.name == "startup" else "graceful_timeout"
        limit = f", {setting} {stage.limit_s:g} s"
    open_ones = f", {_count(stage.connections, 'connection')} open" if stage.connections else ""
    yield f"{plain(stage.name)}: {stage.seconds:.2f} s since {since}{limit}{open_ones}"
    for connection in stage.clients:
        yield f"            {plain(connection_name(connection))}"
    if stage.clients and (stage.connections or 0) > len(stage.clients):
        yield f"            and {(stage.connections or 0) - len(stage.clients)} more"


def _diagnosis(diagnosis: Diagnosis, dead: bool) -> Iterator[str]:
    if diagnosis.cause is not None:
        yield f"cause:      {diagnosis.cause}"
    if diagnosis.culprit is not None:
        yield f"your code:  {plain(place(diagnosis.culprit))}"
    if diagnosis.blocking_call is not None and diagnosis.blocking_call != diagnosis.culprit:
        word = "ended in:  " if dead and diagnosis.cause is None else "blocked in:"
        yield f"{word} {plain(place(diagnosis.blocking_call))}"
    if diagnosis.waits_for is not None:
        yield f"waits for:  {plain(diagnosis.waits_for)}"
    if diagnosis.summary is not None:
        yield f"why:        {plain(diagnosis.summary)}"
    if diagnosis.remedy is not None:
        yield f"fix:        {plain(diagnosis.remedy)}"
    for at, sentence in enumerate(diagnosis.evidence):
        yield f"{'' if at else 'evidence:':11} {plain(sentence)}"
    if diagnosis.fingerprint is not None:
        yield f"fingerprint {diagnosis.fingerprint}"


def _profile(profile: Profile) -> Iterator[str]:
    yield ""
    yield f"{_count(profile.samples, 'sample')} of the loop thread over {profile.seconds:.1f} s:"
    for stack in profile.stacks:
        shown = telling_frame(stack.frames)
        if shown is not None:
            yield f"  {100 * stack.count / profile.samples:5.1f} %  {plain(place(shown))}"


def _pools(snapshot: Snapshot) -> Iterator[str]:
    for pool in snapshot.pools:
        yield ""
        of = "" if pool.total is None else f" of {pool.total}"
        yield (f"thread pool {plain(pool.name)}: {pool.borrowed}{of} at work, "
               f"{pool.waiting} waiting for one")


def _requests(snapshot: Snapshot) -> Iterator[str]:
    if not snapshot.requests:
        return
    yield ""
    if snapshot.requests_total is not None:
        yield f"{_count(snapshot.requests_total, 'request')} in flight:"
    for request in snapshot.requests:
        mark = ">" if request.blocking or request.slow else " "
        yield f"{mark} {plain(', '.join(_request(request)))}"
        waits = [f"at {place(request.waits_at)}"] if request.waits_at is not None else []
        waits += [f"for thread pool {request.pool}"] if request.pool is not None else []
        if waits:
            yield f"      waits {plain(', '.join(waits))}"
    omitted = (snapshot.requests_total or 0) - len(snapshot.requests)
    if omitted > 0:
        yield f"  and {omitted} more (watchdog_max_requests)"


def _request(request: Request) -> Iterator[str]:
    yield request_name(request)
    yield f"{request.age_s:.2f} s"
    if request.blocking:
        yield "holds the loop"
    if request.slow:
        yield "slow"
    if request.response_complete:
        yield "response complete"
    elif request.response_started is not None:
        yield "response begun" if request.response_started else "no response yet"
    if request.client is not None:
        yield f"from {request.client}"
    if request.task is not None:
        yield f"task {request.task}"
    for name, value in (request.headers or {}).items():
        yield f"{name}: {value}"


def _threads(snapshot: Snapshot) -> Iterator[str]:
    for group in _alike(snapshot.threads):
        yield ""
        yield _thread_title(group)
        yield from _frames(group[0].frames, group[0].frames_total)
    omitted = (snapshot.threads_total or 0) - len(snapshot.threads)
    if omitted > 0:
        yield ""
        yield f"{omitted} more threads (watchdog_max_threads)"


def _alike(threads: Iterable[ThreadStack]) -> list[list[ThreadStack]]:
    """Threads that stand at the same place together, as a pool's idle ones do."""
    groups: dict[tuple[object, ...], list[ThreadStack]] = {}
    for thread in threads:
        key = thread.loop, thread.holds_exit, _without_locals(thread.frames)
        groups.setdefault(key, []).append(thread)
    return list(groups.values())


def _without_locals(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(Frame(frame.file, frame.line, frame.function) for frame in frames)


def _thread_title(group: list[ThreadStack]) -> str:
    first = group[0]
    if len(group) > 1:
        names = ", ".join(plain(thread.name) or str(thread.id) for thread in group[:3])
        holds = ", hold the exit" if first.holds_exit else ""
        return (f"{len(group)} threads at one place ({names}{', ...' if len(group) > 3 else ''})"
                f"{holds}:")
    parts = [f"{'loop thread' if first.loop else 'thread'} {plain(first.name) or first.id}"]
    if first.native_id is not None:
        parts.append(f"tid {first.native_id}")
    if first.state is not None:
        parts.append(first.state)
    if first.cpu_s is not None:
        parts.append(f"cpu {first.cpu_s:.2f} s")
    if first.wait is not None:
        parts.append(_wait(first.wait))
    if first.holds_exit:
        parts.append("holds the exit")
    return ", ".join(parts) + ":"


def _wait(wait: KernelWait) -> str:
    words = [f"in {wait.syscall}" if wait.syscall else ""]
    words.append(f"fd {wait.fd}" if wait.fd is not None else "")
    words.append(f"on {plain(wait.target)}" if wait.target else "")
    words.append(f"({plain(wait.wchan)})" if wait.wchan else "")
    return "waits " + " ".join(word for word in words if word)


def _frames(frames: tuple[Frame, ...], total: int | None = None) -> Iterator[str]:
    """Frames, outermost first; the server's own before the application's first are folded."""
    first_app = next((at for at, frame in enumerate(frames) if frame.app), 0)
    folded = max(0, first_app - _KEPT_BEFORE_APP)
    if folded > 1 and not any(frame.omitted for frame in frames[:folded]):
        yield f"  ... {folded} frames of the server and its libraries ..."
        frames = frames[folded:]
    for frame in frames:
        mark = ">" if frame.app else " "
        yield f"{mark} {plain(short_path(frame.file))}:{frame.line} in {plain(frame.function)}"
        if frame.code:
            yield f"      {plain(frame.code)}"
        for name, value in (frame.locals or {}).items():
            yield f"        {plain(name)} = {plain(value)}"
        if frame.omitted:
            of = f" of {total}" if total else ""
            yield f"  ... {frame.omitted}{of} frames left out (watchdog_max_frames) ..."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _tasks(tasks: Tasks, of_slow: bool) -> Iterator[str]:
    yield ""
    yield f"{_count(tasks.total, 'task')}{' of slow requests' if of_slow else ''}:"
    for group in tasks.groups:
        names = ", ".join(plain(name) for name in group.names)
        more = ", ..." if group.count > len(group.names) else ""
        awaits = f", awaiting {plain(group.awaits)}" if group.awaits else ""
        holds = ", holds the loop (see the loop thread)" if group.running else ""
        yield f"  {group.count} x {names}{more}{awaits}{holds}"
        for line in _frames(group.await_chain):
            yield f"  {line}"
    if tasks.groups_omitted:
        yield f"  {tasks.groups_omitted} more groups (watchdog_max_tasks)"
    if tasks.unread:
        yield f"  {tasks.unread} tasks ended or were not reached while they were read"


def _figures(snapshot: Snapshot) -> Iterator[str]:
    figures = [_process(snapshot.process)] if snapshot.process is not None else []
    figures += [_lag(snapshot.loop_lag)] if snapshot.loop_lag is not None else []
    if snapshot.capture_s:
        figures.append(f"this picture took {snapshot.capture_s * 1000:.0f} ms")
    if figures:
        yield ""
        yield from figures


def _process(process: Process) -> str:
    parts = []
    if process.rss_bytes is not None:
        parts.append(f"{process.rss_bytes / 2**20:.0f} MiB resident")
    if process.cpu_user_s is not None:
        parts.append(f"cpu {process.cpu_user_s:.2f} s user {process.cpu_system_s:.2f} s system")
    if process.threads is not None:
        parts.append(f"{process.threads} threads")
    if process.open_fds is not None:
        parts.append(f"{process.open_fds} open descriptors")
    parts += [f"{name} {value}" for name, value in (process.cgroup or {}).items()]
    return "process: " + ", ".join(parts)


def _lag(lag: LoopLag) -> str:
    beats = sum(lag.counts)
    late = [f"{count} over {bound:g} s"
            for bound, count in zip(lag.le, lag.counts[1:], strict=True) if count and bound >= 0.01]
    return (f"heartbeat: {beats} beats, latest by {lag.max_s:.3f} s"
            + (f" ({', '.join(late)})" if late else ""))
