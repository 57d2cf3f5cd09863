"""What is seen of a process: the values of one picture."""

from __future__ import annotations

from typing import NamedTuple


class Frame(NamedTuple):
    """One line of a stack: where it is and what stands there."""

    file: str
    line: int
    function: str
    code: str | None = None
    app: bool | None = None
    """True for the application's own code, absent for libraries and the interpreter."""
    locals: dict[str, str] | None = None
    omitted: int | None = None
    """How many frames were left out between this one and the next (deep recursion)."""
    module: str | None = None
    qualname: str | None = None
    """The function with its classes, where that is more than `function`."""
    calls: str | None = None
    """What it calls at this line, such as `time.sleep`; of the frames that matter, where known."""


class KernelWait(NamedTuple):
    """What the operating system says a thread waits for; each part only where it is told."""

    wchan: str | None = None
    syscall: str | None = None
    fd: int | None = None
    target: str | None = None
    """The file, socket or child process behind the call, such as `tcp 10.0.3.4:5432`."""


class ThreadStack(NamedTuple):
    """One thread, its frames outermost first."""

    id: int
    name: str
    loop: bool
    frames: tuple[Frame, ...]
    native_id: int | None = None
    state: str | None = None
    cpu_s: float | None = None
    wait: KernelWait | None = None
    frames_total: int | None = None
    """Depth of the whole stack, where `frames` shows less than that."""
    waits_for: str | None = None
    """What its innermost call waits for in Python's terms: a lock and who holds it, a child."""
    holds_exit: bool | None = None
    """True for one that the process waits for at its end."""


class TaskGroup(NamedTuple):
    """Tasks that wait at the same place."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks a group
    names: tuple[str, ...]
    await_chain: tuple[Frame, ...]
    awaits: str | None = None
    """What the innermost frame awaits, such as `Future` or `gather of 3, 2 pending`."""
    running: bool | None = None
    """True for the task that holds the loop."""


class Tasks(NamedTuple):
    """All tasks of the loop."""

    total: int
    groups: tuple[TaskGroup, ...]
    groups_omitted: int | None = None
    unread: int | None = None
    """Tasks that were counted but not looked at, because the time for it was over."""


class SampledStack(NamedTuple):
    """A stack that was seen `count` times."""

    count: int  # type: ignore[assignment]  # as above
    frames: tuple[Frame, ...]


class Profile(NamedTuple):
    """The samples of the loop thread's stack during a stall, most frequent first."""

    samples: int
    seconds: float
    stacks: tuple[SampledStack, ...]
    callbacks: int | None = None
    """How many callbacks of the loop were seen to hold it, one after the other, if several."""


class Effort(NamedTuple):
    """What the process did in a silence, as far as the monitor watched it; all in seconds."""

    seconds: float
    """How long it has watched."""
    cpu_s: float | None
    """CPU time of the loop's thread meanwhile; None where the system does not tell."""
    process_cpu_s: float
    gil_wait_s: float = 0.0
    """For so long the monitor itself waited for the GIL."""
    paused_s: float = 0.0
    """For so long nothing of the process ran."""
    collected_s: float = 0.0
    """Spent in full garbage collections."""
    queued_s: float | None = None
    """For so long the loop's thread was ready and got no processor; None where it is not told."""
    silent_s: float = 0.0
    """How long the loop could have shown life and has not: its silence without the pauses."""
    late_s: float = 0.0
    """By how much the monitor itself came late at worst."""
    over: bool = False
    """The silence was over before it could be looked at: who stood where is not known."""
    busiest: int | None = None
    """The native id of another thread that used most of what the process did."""


class Process(NamedTuple):
    """Figures of the whole worker process."""

    rss_bytes: int | None = None
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    threads: int | None = None
    open_fds: int | None = None
    cgroup: dict[str, int] | None = None


class LoopLag(NamedTuple):
    """How late the heartbeat's beats came since boot: a histogram with fixed buckets."""

    le: tuple[float, ...]
    """Upper bounds of the buckets; one more bucket holds everything above the last."""
    counts: tuple[int, ...]
    sum_s: float
    max_s: float


class Request(NamedTuple):
    """One request in flight."""

    id: int
    """Its number in this worker."""
    type: str
    """`http` or `websocket`."""
    path: str
    age_s: float
    blocking: bool
    """True where its own code holds the loop."""
    method: str | None = None
    client: str | None = None
    response_started: bool | None = None
    task: str | None = None
    headers: dict[str, str] | None = None
    """Those of `watchdog_request_headers` that it has."""
    response_complete: bool | None = None
    """True where the client has been served and only what comes after is still running."""
    slow: bool | None = None
    """True on those that a `slow_request` is about."""
    waits_at: Frame | None = None
    """Where a slow one waits: in its task, in one that it started, or in a pool's thread."""
    pool: str | None = None
    """The name of the thread pool that a slow one waits for."""


class ThreadPool(NamedTuple):
    """How full a pool of threads is."""

    name: str
    borrowed: int
    """Threads at work; in anyio's terms, tokens of the limiter that are borrowed."""
    total: int | None
    """How many there can be, None for no limit."""
    waiting: int
    """What waits for one of them."""

    @property
    def exhausted(self) -> bool:
        """None is free, and somebody waits."""
        return self.total is not None and self.borrowed >= self.total and self.waiting > 0


class Snapshot(NamedTuple):
    """One picture of the process."""

    threads: tuple[ThreadStack, ...] = ()
    threads_total: int | None = None
    tasks: Tasks | None = None
    requests: tuple[Request, ...] = ()
    """The oldest first."""
    requests_total: int | None = None
    pools: tuple[ThreadPool, ...] = ()
    """Those that slow requests wait for."""
    slow_total: int | None = None
    """How many slow requests it is about."""
    slow_ended: int | None = None
    """How many more were slow and have ended, before the rate limit let them be told."""
    process: Process | None = None
    loop_lag: LoopLag | None = None
    effort: Effort | None = None
    profile: Profile | None = None
    capture_s: float = 0.0
    incomplete: tuple[str, ...] = ()
    """What could not be captured and why, a sentence each."""

    @property
    def loop_thread(self) -> ThreadStack | None:
        """The loop thread's stack, if it could be read."""
        return next((thread for thread in self.threads if thread.loop), None)

    @property
    def blocking_request(self) -> Request | None:
        """The request whose code holds the loop."""
        return next((request for request in self.requests if request.blocking), None)

    @property
    def slow_request(self) -> Request | None:
        """The oldest of the slow ones that it is about."""
        return next((request for request in self.requests if request.slow), None)

    @property
    def exhausted_pool(self) -> ThreadPool | None:
        """The pool that the oldest slow request waits for, if it has no thread left."""
        first = self.slow_request
        return next((pool for pool in self.pools if first is not None
                     and pool.name == first.pool and pool.exhausted), None)


def innermost_app(frames: tuple[Frame, ...]) -> Frame | None:
    """The innermost frame of the application's own code; frames are outermost first."""
    return next((frame for frame in reversed(frames) if frame.app), None)
