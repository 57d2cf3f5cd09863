"""The first line of a report: what a person can act on. Pure, any thread.

Foreign text in it is made safe here, because the headline travels on its own as well: to hooks,
to structured logs, to alerts.
"""

from __future__ import annotations

from watchdog_worker.model import (
    ContextLeak,
    Death,
    Diagnosis,
    Profile,
    Snapshot,
    Stage,
    Stall,
)
from watchdog_worker.phases import WHILE
from watchdog_worker.render import stages
from watchdog_worker.render.names import by, handling, place, request_name, telling_frame, where
from watchdog_worker.render.plain import plain


def headline(
    event: str, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None,
    context: ContextLeak | None = None, death: Death | None = None, pid: int = 0,
    stage: Stage | None = None,
) -> str:
    """One line; begins with `watchdog `."""
    if stage is not None and event != "pre_kill":
        return plain(stages.line(stage, snapshot, stall, diagnosis))
    if death is not None:
        return plain(_death(death, pid, snapshot, stall, diagnosis))
    if context is not None:
        return plain(_leak(context, snapshot))
    if event == "slow_request":
        return plain(_slow(snapshot))
    if event == "stall_ended" and stall is not None:
        line = f"watchdog loop free again after {stall.blocked_s:.1f} s"
        return plain(line + _was_blocked(snapshot.profile))
    if event == "suspended" and stall is not None:
        return plain(f"watchdog process did not run for {stall.blocked_s:.1f} s (stopped, "
                     "throttled or starved): the loop is not to blame")
    opening = "watchdog stacks on demand: loop" if event == "on_demand" else "watchdog loop"
    if stage is not None:
        line = stages.last_line(stage, snapshot, stall, diagnosis)
    elif stall is None or not stall.silent:
        line = f"{opening} {_alive(snapshot, stall)}"
    elif diagnosis is not None and diagnosis.cause == "suspended":
        line = f"{opening} silent {stall.blocked_s:.1f} s because the process did not get to run"
    else:
        line = " ".join(filter(None, (
            f"{opening} blocked {stall.blocked_s:.1f} s", by(diagnosis), where(diagnosis),
            _phase(stall))))
        line += handling(snapshot.blocking_request)
    if stall is not None and stall.kill_in_s is not None and event != "on_demand":
        line += f"; {_kill(stall.kill_in_s)}"
    return plain(line)


def _slow(snapshot: Snapshot) -> str:
    first, pool = snapshot.slow_request, snapshot.exhausted_pool
    if first is None:
        return "watchdog slow request"
    line = f"watchdog slow request: {request_name(first)}, {first.age_s:.1f} s"
    if first.waits_at is not None:
        line += f", waiting at {place(first.waits_at)}"
    if pool is not None:
        line += (f"; thread pool {pool.name} exhausted ({pool.borrowed} of {pool.total} at "
                 f"work, {pool.waiting} waiting)")
    more = (snapshot.slow_total or 1) - 1
    return f"{line}; {more} more" if more else line


def _death(
    death: Death, pid: int, snapshot: Snapshot, stall: Stall | None, diagnosis: Diagnosis | None
) -> str:
    name = f"watchdog worker {pid}"
    parts = [f"{name}, found later," if death.left_behind else name, _ended(death)]
    if diagnosis is not None and diagnosis.cause == "suspended":
        parts.append("as the process did not get to run")
    elif stall is not None:
        parts += [f"while its loop was blocked {stall.blocked_s:.1f} s", by(diagnosis)]
    elif not death.by_arbiter and (diagnosis is None or diagnosis.culprit is None):
        parts.append(WHILE.get(death.phase or "", ""))
    if diagnosis is not None and (diagnosis.culprit or stall is None):
        parts.append(where(diagnosis))
    return " ".join(filter(None, parts)) + _lost(death, snapshot)


def _lost(death: Death, snapshot: Snapshot) -> str:
    """The requests that died with it, and the one of them that tells most."""
    lost = snapshot.requests_total or len(snapshot.requests)
    if snapshot.blocking_request is not None:
        more = f"; {lost} requests lost" if lost > 1 else ""
        return handling(snapshot.blocking_request) + more
    if not snapshot.requests:
        return ""
    plain_ones = [each for each in snapshot.requests if each.type != "websocket"]
    newest = death.reason in ("crash", "exit")
    shown = (plain_ones or snapshot.requests)[-1 if newest else 0]
    if lost == 1:
        return f"; request lost: {request_name(shown)}"
    return (f"; {lost} requests lost, the {'newest' if newest else 'oldest'} "
            f"{request_name(shown)}")


def _ended(death: Death) -> str:
    signal = death.signal or "it is not known by what"
    if death.reason == "timeout":
        return "was killed by WORKER TIMEOUT"
    if death.reason == "crash":
        return f"crashed ({death.signal})"
    if death.reason == "oom_suspected":
        return f"was killed, it seems for memory ({signal}),"
    if death.reason == "exit":
        return f"exited with status {death.exit_code}"
    if death.reason == "killed":
        by = " by gunicorn at the end of graceful_timeout" if death.by_arbiter else ""
        return f"was killed{by} ({death.signal})"
    return "has ended, it is not known how,"


def _leak(context: ContextLeak, snapshot: Snapshot) -> str:
    opening = f"watchdog ContextVar {context.variable}"
    if context.origin == "startup":
        return f"{opening} is shared by all requests: one {context.type} for the whole process"
    request = f"{request_name(snapshot.requests[0])} " if snapshot.requests else "a request "
    return f"{opening} would have crossed: {request}was kept from another request's {context.type}"


def _alive(snapshot: Snapshot, stall: Stall | None) -> str:
    tasks = f", {snapshot.tasks.total} tasks" if snapshot.tasks is not None else ""
    threads = f", {snapshot.threads_total or 0} threads"
    if stall is None:
        return f"healthy{tasks}{threads}"
    if not stall.running:
        return f"not running yet{threads}"
    return "alive, but the arbiter is not notified"


def _phase(stall: Stall) -> str:
    return "" if stall.phase == "serving" else f"during {stall.phase}"


def _kill(kill_in_s: float) -> str:
    if kill_in_s <= 0:
        return f"WORKER TIMEOUT was due {-kill_in_s:.1f} s ago"
    return f"WORKER TIMEOUT in {kill_in_s:.1f} s"


def _was_blocked(profile: Profile | None) -> str:
    top = profile.stacks[0] if profile is not None else None
    frame = telling_frame(top.frames) if top is not None else None
    if profile is None or top is None or frame is None:
        return ""
    return f"; it was blocked at {place(frame)} ({top.count} of {profile.samples} samples)"
