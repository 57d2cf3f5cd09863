"""How the evidence is weighed, on pictures made by hand."""

from __future__ import annotations

import pytest

from tests.unit import reports
from watchdog_worker.diagnosis import diagnose, rules
from watchdog_worker.model import (
    Diagnosis,
    Effort,
    Frame,
    KernelWait,
    Profile,
    SampledStack,
    Snapshot,
    ThreadStack,
)

SLEEPS = KernelWait("hrtimer_nanosleep", "clock_nanosleep")
TALKS = KernelWait("wait_woken", "recvfrom", 7, "tcp 10.0.0.1:5432")
FUTEX = KernelWait("futex_do_wait", "futex")


def view(calls: str | None, line: int = 42) -> Frame:
    """The application's line that calls this."""
    return Frame("/srv/shop/views.py", line, "checkout", app=True, module="shop.views", calls=calls)


def lib(module: str, function: str, calls: str | None = None) -> Frame:
    return Frame(f"/lib/{module}.py", 1, function, module=module, calls=calls)


def picture(
    *frames: Frame, wait: KernelWait | None = None, state: str | None = "S (sleeping)",
    effort: Effort | None = None, profile: Profile | None = None,
    others: tuple[ThreadStack, ...] = (),
) -> Snapshot:
    loop = ThreadStack(1, "MainThread", True, (*reports.SERVER, *frames), 4711, state, 1.0, wait)
    return Snapshot(threads=(loop, *others), effort=effort, profile=profile)


def told(snapshot: Snapshot) -> Diagnosis:
    found = diagnose(snapshot)
    assert found is not None
    return found


IDLE = Effort(0.4, 0.0, 0.01, silent_s=1.0)
BUSY = Effort(0.4, 0.39, 0.4, silent_s=1.0)


@pytest.mark.parametrize("calls, wait, cause", [
    ("time.sleep", SLEEPS, "sleep"),
    ("time.sleep", TALKS, "unknown"),  # the stack and the kernel disagree
    ("psycopg2.extensions.cursor.execute", TALKS, "database"),
    ("psycopg2.extensions.cursor.execute", SLEEPS, "unknown"),
    ("sqlite3.Connection.execute", SLEEPS, "database"),
    ("frobdb.Client.query", TALKS, "socket_io"),  # nobody knows it; it is on a socket
    ("frobdb.Client.query", SLEEPS, "unknown"),
    ("repo().cursor.execute", TALKS, "unknown"),  # whatever that is
    (None, TALKS, "unknown"),
    ("threading.Lock.acquire", FUTEX, "lock"),
    (None, FUTEX, "unknown"),
    ("re.match", None, "unknown"),
])
def test_the_stack_and_the_kernel_must_agree(
    calls: str | None, wait: KernelWait | None, cause: str
) -> None:
    """Or nothing is said."""
    found = told(picture(view(calls), wait=wait, effort=IDLE))
    assert found.cause == cause
    if cause == "unknown" and wait is TALKS:
        assert found.waits_for == "tcp 10.0.0.1:5432"  # that much is known


def test_the_outermost_library_is_the_one_to_replace() -> None:
    """The cause is found further in."""
    found = told(picture(
        view("requests.get"), lib("requests.api", "get"), lib("urllib3.connection", "connect"),
        lib("socket", "getaddrinfo", "_socket.getaddrinfo"),
        wait=KernelWait("poll", "poll", 7, "udp 10.0.0.2:53"), effort=IDLE))
    assert found.cause == "dns" and "httpx.AsyncClient" in (found.remedy or "")


def test_names_of_the_applications_own_are_no_libraries() -> None:
    """Whatever its modules are called."""
    own = Frame("/srv/shop/requests.py", 3, "get", app=True, module="requests", calls="time.sleep")
    assert told(picture(own, wait=SLEEPS, effort=IDLE)).cause == "sleep"


def test_a_thread_that_computed_computes_whatever_it_is_at_now() -> None:
    """A wait for the GIL is no lock."""
    assert told(picture(view(None), wait=FUTEX, effort=BUSY)).cause == "cpu_bound"
    assert told(picture(view("sqlite3.Cursor.execute"), effort=BUSY)).cause == "database"
    assert told(picture(view("io.StringIO.write"), effort=BUSY)).cause == "cpu_bound"


def test_ready_to_run_and_no_processor_is_nobodys_fault() -> None:
    """Unless it sleeps by itself, or has computed for long all the same."""
    starved = Effort(0.4, 0.01, 0.01, queued_s=0.39, silent_s=1.0)
    ready = picture(view("time.time"), state="R (running)", effort=starved)
    assert told(ready).cause == "suspended"
    assert told(picture(view("time.sleep"), wait=SLEEPS, effort=starved)).cause == "sleep"
    busy = Effort(4.0, 0.9, 1.0, queued_s=3.0, silent_s=5.0)
    assert told(picture(view(None), state="R (running)", effort=busy)).cause == "cpu_bound"


def test_a_throttled_thread_that_no_queue_counts_is_starved() -> None:
    """It is ready, has no processor, and the monitor was late, too; but not if that was the GIL."""
    effort = Effort(0.4, 0.01, 0.01, queued_s=0.0, silent_s=1.0, late_s=0.1)
    assert told(picture(view(None), state="R (running)", effort=effort)).cause == "suspended"
    kept = effort._replace(gil_wait_s=0.3, late_s=0.3, process_cpu_s=0.4)
    assert told(picture(view(None), state="R (running)", effort=kept)).cause == "gil_held"


def test_a_pause_within_a_real_stall_is_not_the_cause() -> None:
    """The loop could have shown life for long enough."""
    stopped = Effort(1.9, 0.0, 0.0, paused_s=1.3, silent_s=1.1)
    assert told(picture(view("time.sleep"), wait=SLEEPS, effort=stopped)).cause == "sleep"
    only = Effort(5.2, 0.0, 0.0, paused_s=5.0, silent_s=0.3)
    found = told(picture(view("time.sleep"), wait=SLEEPS, effort=only))
    assert (found.cause, found.culprit) == ("suspended", None)


KEPT = Effort(3.0, 2.9, 3.0, gil_wait_s=2.5, silent_s=3.0)


def test_native_code_of_the_loop_that_kept_the_gil() -> None:
    """With the call that kept it."""
    found = told(picture(view("re.Pattern.match"), wait=FUTEX, effort=KEPT))
    assert (found.cause, found.call) == ("gil_held", "re.Pattern.match")
    assert "repetition" in (found.remedy or "")


def test_native_code_of_another_thread_that_kept_the_gil() -> None:
    """The one that computed meanwhile, not one that has computed before; else nobody."""
    worker = Frame("/srv/shop/jobs.py", 7, "crunch", app=True, module="shop.jobs")
    others = (ThreadStack(2, "warmed-up", False, (worker,), 4712, cpu_s=100.0),
              ThreadStack(3, "cruncher", False, (worker,), 4713, cpu_s=2.9))
    effort = KEPT._replace(cpu_s=0.0, busiest=4713)
    found = told(picture(view(None), wait=FUTEX, effort=effort, others=others))
    assert (found.cause, found.culprit) == ("gil_held", worker)
    assert "thread cruncher" in (found.summary or "")
    found = told(picture(view(None), wait=FUTEX, effort=effort._replace(busiest=None),
                         others=others))
    assert (found.cause, found.culprit) == ("gil_held", None)


def test_a_silence_that_was_over_names_no_line() -> None:
    """But whose thread it was; and that is another fault than another thread's."""
    elsewhere = view("time.sleep")
    loop = told(picture(elsewhere, wait=SLEEPS, effort=KEPT._replace(over=True)))
    assert (loop.cause, loop.culprit) == ("gil_held", None)
    assert "in the loop's thread" in (loop.summary or "")
    other = told(picture(elsewhere, wait=SLEEPS, effort=KEPT._replace(over=True, cpu_s=0.0)))
    assert (other.cause, other.culprit) == ("gil_held", None)
    assert loop.fingerprint != other.fingerprint
    plain = told(picture(elsewhere, wait=SLEEPS, effort=IDLE._replace(over=True)))
    assert (plain.cause, plain.culprit) == ("unknown", None)


def test_a_wait_after_another_thread_kept_the_gil_is_not_decided() -> None:
    """It may have begun before, or only now."""
    found = told(picture(view("time.sleep"), wait=SLEEPS, effort=KEPT._replace(cpu_s=0.0)))
    assert found.cause == "unknown" and any("kept the GIL" in each for each in found.evidence)


def test_the_garbage_collector_is_told_apart() -> None:
    """Whether it was late or not."""
    for effort in (KEPT._replace(collected_s=2.0), BUSY._replace(collected_s=0.3)):
        found = told(picture(view(None), effort=effort))
        assert found.cause == "gil_held" and "garbage" in (found.call or "")


def profile(*sampled: SampledStack, callbacks: int | None = None) -> Profile:
    whole = tuple(each._replace(frames=(*reports.SERVER, *each.frames)) for each in sampled)
    return Profile(sum(each.count for each in sampled), 3.0, whole, callbacks)


def test_where_the_samples_tell_another_story_nothing_is_said() -> None:
    """Half of them, or more, have to be of the same kind."""
    query = (view("redis.get"), lib("redis.client", "get"))
    mixed = profile(SampledStack(70, (view("time.sleep", 43),)), SampledStack(30, query))
    found = told(picture(*query, wait=TALKS, effort=IDLE, profile=mixed))
    assert found.cause == rules.UNKNOWN and "30%" in (found.summary or "")


def test_the_line_that_most_samples_have_is_blamed_for_computing() -> None:
    """Not the one that the picture happens to show; a call is named if most are in it."""
    hot, cold = view("json.dumps", 50), view("time.time", 51)
    most = profile(SampledStack(90, (hot,)), SampledStack(10, (cold,)))
    found = told(picture(cold, effort=BUSY, profile=most))
    assert found.culprit == hot and found.call == "json.dumps"
    half = profile(SampledStack(55, (hot,)), SampledStack(45, (cold,)))
    found = told(picture(cold, effort=BUSY, profile=half))
    assert found.culprit == hot and found.call is None


def test_many_short_blocks_are_told_as_what_they_are() -> None:
    """The loop went on between them."""
    many = profile(SampledStack(20, (view("time.sleep"),)), callbacks=18)
    found = told(picture(view("time.sleep"), wait=SLEEPS, effort=IDLE, profile=many))
    assert found.cause == "sleep" and "many short blocks" in (found.summary or "")


def test_a_system_that_tells_no_cpu_time_is_not_taken_for_idle_or_busy() -> None:
    """As macOS: the stack alone."""
    blind = Effort(0.4, None, 0.4, silent_s=1.0)
    assert told(picture(view("time.sleep"), state=None, effort=blind)).cause == "sleep"
    assert told(picture(view(None), state=None, effort=blind)).cause == "unknown"


def test_a_comprehension_has_the_fingerprint_of_its_function() -> None:
    """It is a function of its own in older releases only."""
    outer = view("time.sleep")
    inner = Frame("/srv/shop/views.py", 42, "<listcomp>", app=True, module="shop.views",
                  calls="time.sleep")
    older = told(picture(outer._replace(calls=None), inner, wait=SLEEPS, effort=IDLE))
    newer = told(picture(outer, wait=SLEEPS, effort=IDLE))
    assert older.fingerprint == newer.fingerprint
