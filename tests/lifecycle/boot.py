"""Boot: from the fork to the first request."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from tests.gunicorn_server import Gunicorn, until
from tests.lifecycle.case import Came, Case, Ground
from tests.lifecycle.notes import HOOKS
from tests.lifecycle.witness import Witness, awaits, blames, names, phase, words

LIMIT_S = 2
"""`watchdog_startup_timeout` where it is set."""
QUICK = HOOKS + "watchdog_startup_threshold = 1\n"
KEEPERS = {"import_holds_gil"}
"""What is to be told to have kept the GIL."""
CULPRITS = {
    "import_hangs_in_native_code": "deadlock", "import_runs_a_loop": "startup_awaits",
    "startup_waits_for_a_child": "startup_awaits", "startup_waits_for_a_thread": "startup_blocks",
    "startup_computes_in_slices": "a_slice"}
"""Where it is not the function itself that blocks."""
ENDED = QUICK + f"watchdog_startup_timeout = {LIMIT_S}\n"


def booting(ground: Ground, way: str, config: str, seconds: float = 3600, **options: Any) -> (
        Gunicorn):
    """A server whose boot goes this way, in the import or in lifespan startup."""
    moment = "LIFE_IMPORT" if way.startswith("import") else "LIFE_STARTUP"
    environment = {moment: way, "LIFE_S": str(seconds), **options.pop("environment", {})}
    return ground.gunicorn(config=config, environment=environment, **options)


def slow(way: str, ground: Ground) -> Came:
    """A boot of 3 s with a threshold of 1 s: told of while it goes on, and then it serves."""
    with booting(ground, way, QUICK, 3) as server:
        seen = Witness(ground, server)
        report, line = seen.told("slow_startup"), CULPRITS.get(way, way)
        if line.endswith("awaits"):
            found = names(report, line) and awaits(report, line)
        else:
            # Between two slices it is the lifespan itself that is at work.
            found = (blames(report, line) or blames(report, way)) and (
                phase(report) in ("boot", "startup"))
            if way in KEEPERS:
                found = found and report["stall"]["gil_held"] is True
        return Came(found and not seen.timed_out,
                    words("serves", _told(report, line, found)))


def _told(report: dict[str, Any], way: str, found: bool) -> str:
    if not report:
        return "says nothing"
    return f"names {way}" if found else f"says only: {report['headline']}"


def hangs(way: str, ground: Ground) -> Came:
    """A boot that never ends, with a limit of 2 s: dumped, and another worker is started."""
    with booting(ground, way, ENDED, wait=False, environment={"LIFE_ONCE": "1"}) as server:
        seen = Witness(ground, server)
        first = seen.diary.wait(way).pid
        end = seen.end(first, 30 if ground.ours else 3 * LIMIT_S)
        if end == "none":
            return Came(False, words("hangs for ever", not server.reports() and "says nothing"))
        serves = seen.lives() and seen.replaced(first)
        line = CULPRITS.get(way, way)
        critical = [report for report in server.reports("slow_startup")
                    if report["severity"] == "critical"]
        found = len(critical) == 1 and (
            awaits(critical[0], way) and names(critical[0], way) if way.endswith("awaits")
            else blames(critical[0], line))
        orderly = seen.silent("post_mortem")
        return Came(
            serves and found and orderly and end == "exit 1" and not seen.timed_out,
            words(end, "another serves" if serves else "no other serves",
                  f"names {line}" if found else f"{len(critical)} critical reports",
                  not orderly and "a post-mortem besides"))


def fails(way: str, ground: Ground) -> Came:
    """A boot that ends in an exception: the server's own words and status, and no more."""
    with booting(ground, way, QUICK, wait=False) as server:
        until(lambda: server.process.poll() is not None, what="the master to give up")
        quiet = Witness(ground, server).silent("post_mortem") and not server.reports()
    status = server.process.returncode
    ours = [line for _, line in server.lines if "] watchdog" in line]
    shown = ("LookupError: the import has failed" if way == "import_raises"
             else "the startup has failed") in server.log
    return Came(
        status == 3 and shown and quiet and not ours,
        words(f"master exits {status}", "shows why" if shown else "does not show why",
              not quiet and "with a report besides", ours and f"and says {ours[0]!r}"))


def healthy(way: str, ground: Ground) -> Came:
    """A boot longer than `timeout`: 4 s of 1 s."""
    with booting(ground, way, HOOKS, 4, timeout=1) as server:
        seen = Witness(ground, server)
        ends = seen.diary.notes("end ")
        return Came(not ends and not seen.timed_out,
                    "serves" if not ends else f"killed first: {ends[0].what}")


def repeated(ground: Ground) -> Came:
    """A boot that hangs: at the threshold, at twice and at four times it, and then no sooner than
    at eight times."""
    with booting(ground, "import_blocks", QUICK, wait=False) as server:
        seen = Witness(ground, server)
        born = seen.diary.wait("post_fork").at
        if seen.told("slow_startup"):
            until(lambda: time.time() > born + 7, what="seven times the threshold")
        else:
            until(lambda: time.time() > born + 3, what="three times the threshold")
        ages = [datetime.fromisoformat(report["time"].replace("Z", "+00:00")).timestamp() - born
                for report in server.reports("slow_startup")]
        right = len(ages) == 3 and all(age > 0.9 * due for due, age in zip((1, 2, 4), ages))
        return Came(right, "told after " + ", ".join(f"{age:.0f}" for age in ages) + " s"
                    if ages else "says nothing")


def _cases(run: Callable[[str, Ground], Came], **ways: str) -> list[Case]:
    return [Case(name, partial(run, way)) for way, name in ways.items()]


CASES: tuple[Case, ...] = (
    *_cases(slow, import_blocks="import blocks",
            import_blocks_in_native_code="import blocks in native code, GIL free",
            import_computes="import computes",
            import_holds_gil="import holds the GIL",
            import_runs_a_loop="import runs a loop of its own",
            startup_blocks="lifespan startup blocks",
            startup_awaits="lifespan startup awaits",
            startup_waits_for_a_child="lifespan startup awaits another task",
            startup_waits_for_a_thread="lifespan startup awaits a thread",
            startup_computes_in_slices="lifespan startup computes in slices"),
    Case("boot hangs: told again and again", repeated),
    *_cases(hangs, import_blocks="boot hangs at import, startup_timeout",
            import_hangs_in_native_code="boot hangs in native code, startup_timeout",
            startup_blocks="boot hangs in blocking lifespan, startup_timeout",
            startup_awaits="boot hangs in awaiting lifespan, startup_timeout"),
    *_cases(fails, import_raises="import raises", startup_raises="lifespan startup raises"),
    *_cases(healthy, import_blocks="slow import, small timeout",
            startup_blocks="slow lifespan, small timeout"),
)
