"""What to do about each cause, in one or two sentences. Pure."""

from __future__ import annotations

from watchdog_worker.diagnosis import rules
from watchdog_worker.diagnosis.rules import Rule
from watchdog_worker.model import Death

_ELSE = ("or make the endpoint a plain `def`, or call it in a thread: "
         "`await asyncio.to_thread(...)`")

_REMEDIES = {
    rules.SLEEP: "`await asyncio.sleep(...)` in its place; what cannot await belongs in a plain "
                 "`def` endpoint, or in `await asyncio.to_thread(...)`",
    rules.HTTP_CLIENT: f"an async client (httpx.AsyncClient, one for the whole process); {_ELSE}. "
                       "Set a timeout in any case",
    rules.DATABASE: f"an async driver; {_ELSE}. Set a timeout in any case",
    rules.SOCKET_IO: f"an async client for this protocol, or asyncio's streams; {_ELSE}. Set a "
                     "timeout in any case",
    rules.DNS: "`await loop.getaddrinfo(...)`, or an async client, which does that itself; and "
               "see why the name server does not answer (/etc/resolv.conf: timeout, attempts)",
    rules.FILE_IO: f"anyio.open_file or aiofiles; {_ELSE}",
    rules.SUBPROCESS: f"`await asyncio.create_subprocess_exec(...)`; {_ELSE}",
    rules.LOCK: "no lock, queue or thread is to be waited for on the loop: use asyncio.Lock, "
                "asyncio.Queue or asyncio.Event among tasks, and `await asyncio.to_thread(...)` "
                "for what threads share; see what its holder is at",
    rules.FUTURE_WAIT: "never `.result()` on the loop's own thread: `await` it "
                       "(`await asyncio.wrap_future(future)`, `await loop.run_in_executor(...)`)",
    rules.CPU_BOUND: "a process pool: `await loop.run_in_executor(ProcessPoolExecutor(), ...)`, or "
                     "a background job; a plain `def` endpoint or a thread keeps the loop alive, "
                     "but shares its processor",
    rules.GIL_HELD: "a process pool: `await loop.run_in_executor(ProcessPoolExecutor(), ...)`; a "
                    "thread does not help, as native code that keeps the GIL stops them all. Or "
                    "smaller pieces",
    rules.IMPORT: "import it when the application starts, at the head of a module, and not within "
                  "a request; what is slow in it (a model, a connection) belongs in lifespan",
    rules.LOGGING: "whoever reads the log has to keep up (a full pipe, a dead collector); hand the "
                   "lines to a thread: logging.handlers.QueueHandler with a QueueListener",
    rules.SUSPENDED: "nothing in the application: look for a stop signal or a debugger, a CPU "
                     "limit (cpu.max, `limits.cpu`), a frozen container or host, a machine with "
                     "too much to do, swapping",
    rules.UNKNOWN: "the stack, below, shows what it was at; blocking work belongs in a plain `def` "
                   "endpoint or in `await asyncio.to_thread(...)`",
}
_COLLECTOR = ("fewer objects that live long: `gc.freeze()` when startup is over, a larger "
              "`gc.set_threshold(...)`, and a look at what a cache keeps")
_IN_THREAD = ("that work belongs in a process pool: a thread does not free the loop of native code "
              "that keeps the GIL")
_PATTERN = ("a pattern without nested repetition (`(a+)+`), or the `re2` package, which cannot "
            "backtrack; else a process pool, as a thread does not free the loop of it")


def advice(
    cause: str, library: Rule | None, call: str | None, *, collected: bool, in_thread: bool
) -> str:
    """For this cause and, where one is on the stack, this library."""
    if collected:
        return _COLLECTOR
    if in_thread:
        return _IN_THREAD
    if cause in (rules.GIL_HELD, rules.CPU_BOUND) and (call or "").startswith(("re.", "_sre.")):
        return _PATTERN
    if library is not None and cause == library.cause:
        return f"in place of {library.library}: {library.instead}; {_ELSE}" + (
            ". Set a timeout in any case" if cause in (rules.HTTP_CLIENT, rules.DATABASE) else "")
    if (library is not None and cause in (rules.DNS, rules.SLEEP)
            and library.cause in (rules.HTTP_CLIENT, rules.DATABASE)):
        return (f"{_REMEDIES[cause]}. Here it is {library.library} that does it: use "
                f"{library.instead}")
    return _REMEDIES[cause]


_AFTER_DEATH = {
    "exit": "find who ends the process: os._exit, sys.exit in a task, a library. To fail a "
            "request, raise an exception instead",
    "oom_suspected": "less memory for each worker (fewer workers, `max_requests`, smaller pieces), "
                     "or a higher limit; what grew may be among the requests in flight",
    "killed": "look for who sends the signal: an operator, a supervisor, a liveness probe",
    "unknown": "the kernel's log may know, or the supervisor's: `journalctl -k`, "
               "`kubectl describe pod`",
}
_CRASH = ("the C code below that line is to blame, or what it was given: update that library, or "
          "report it there with the stack below. A core file (`ulimit -c`) has the C side of it")
_CRASH_ELSEWHERE = ("see whether somebody sent the signal (a supervisor's watchdog, `kill`); else "
                    "a library in C is to blame, and a core file (`ulimit -c`) says which")
_DRAIN = ("a longer `graceful_timeout`, or a drain that ends sooner: the `slow_shutdown` report "
          "before this one names what it waited for")
_AFTER_SERVER = ("what runs after the loop (worker_exit, atexit, threads that are no daemons) has "
                 "to end sooner, or `timeout` to be longer: the reports before this one name what "
                 "it waited for")


def after_death(death: Death, known: bool) -> str:
    """For a worker that did not end at its timeout. `known`: its line in the application is."""
    if death.reason == "crash":
        return _CRASH if known else _CRASH_ELSEWHERE
    if death.reason == "timeout" and death.phase == "left":
        return _AFTER_SERVER
    return _DRAIN if death.by_arbiter else _AFTER_DEATH[death.reason]
