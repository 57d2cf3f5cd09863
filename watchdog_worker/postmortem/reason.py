"""Why a worker ended, and whether there is anything to tell of it. Pure."""

from __future__ import annotations

from watchdog_worker.diagnosis.death import (
    CRASH,
    EXIT,
    KILLED,
    OOM_SUSPECTED,
    TIMEOUT,
    UNKNOWN,
)
from watchdog_worker.postmortem.ending import BOOT_FAILED, Ending, Kills
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.layout import Pulse
from watchdog_worker.vitals.recording import Recording

_, ABORTED, DISMISSED = layout.ENDS
BOOTING = ("boot", "startup")
_ORDERLY = {"SIGTERM", "SIGINT", "SIGQUIT"}
_CRASHES = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}
DRAINED = ("shutdown", "left")
_NEAR_LIMIT = 0.9


def orderly(ending: Ending, phase: str, end: str = "") -> bool:
    """Whether nothing is to be told: it left as it was meant to.

    A worker that exits in the middle of serving has not drained, whatever its status. Of one that
    failed to boot, gunicorn tells in its own way, and ends. Of one that we have ended ourselves
    (`end`), all was told.
    """
    if ending.struck or end == ABORTED:
        return False
    if end == DISMISSED and ending.signal is None:
        return True
    if ending.status is None and phase == "left":
        return True
    if ending.left_behind:
        return False
    if phase in BOOTING and (
            ending.exit_code in BOOT_FAILED or (ending.status is None and ending.stopping)):
        return True
    return ending.signal in _ORDERLY or (ending.exit_code == 0 and phase in DRAINED)


def judged(ending: Ending, recording: Recording) -> tuple[str, tuple[str, ...]]:
    """The reason, and the evidence for it, a sentence each."""
    if ending.struck:
        return TIMEOUT, (
            f"arbiter: it had not been notified for {recording.timeout:g} s, and sent SIGABRT; "
            f"{_died_of(ending)}",)
    if recording.end == ABORTED:
        return KILLED, ("arbiter: it has not sent this signal",
                        "recorder: SIGABRT came, and worker_abort was called")
    if ending.signal in _CRASHES:
        return CRASH, ()
    if ending.exit_code is not None:
        return EXIT, _exit_evidence(ending)
    if ending.kills.more:
        return OOM_SUSPECTED, (_kills(ending.kills), *_memory(ending, recording))
    if ending.signal == "SIGKILL":
        return KILLED, _killed(ending, recording)
    if ending.signal is not None:
        return KILLED, ("arbiter: it has not sent this signal",)
    if _nearly_full(recording.pulse):
        return OOM_SUSPECTED, _memory(ending, recording)
    if ending.left_behind:
        return UNKNOWN, ("recorder: it was found without its worker; its arbiter has ended, too",)
    return UNKNOWN, ("arbiter: it has not learned the exit status",)


def _died_of(ending: Ending) -> str:
    if ending.signal == "SIGABRT":
        return "the worker died of it"
    if ending.signal == "SIGKILL":
        return "that did not end the worker, and SIGKILL followed"
    if ending.exit_code is not None:
        return f"the worker exited with status {ending.exit_code}"
    return f"the worker died of {ending.signal}" if ending.signal else "how it died is not known"


def _exit_evidence(ending: Ending) -> tuple[str, ...]:
    if ending.exit_code not in BOOT_FAILED:
        return ()
    return (f"arbiter: it takes status {ending.exit_code} for a boot that has failed, and ends all "
            "workers and itself",)


def _killed(ending: Ending, recording: Recording) -> tuple[str, ...]:
    if ending.stopping:
        drained = {
            "shutdown": f"had drained for {ending.at - recording.phase_since:.1f} s",
            "left": "had drained, and its process did not end",
        }.get(recording.phase, "had not begun to drain")
        return ("arbiter: it was ending all workers, and kills those that are left after "
                f"graceful_timeout = {recording.graceful_timeout:g} s; this one {drained}",)
    said = "it has counted no kill for memory" if ending.kills.where else (
        "it does not tell here whether it has killed for memory")
    return ("arbiter: it has not sent this signal", f"kernel: {said}", *_memory(ending, recording))


def _kills(kills: Kills) -> str:
    if kills.where == "cgroup":
        return ("cgroup: the kernel has killed for memory in it since the last look (oom_kill "
                f"{kills.before} -> {kills.now})")
    return ("kernel: it has killed for memory on this machine since the last look (oom_kill "
            f"{kills.before} -> {kills.now} in /proc/vmstat); it is not known whom")


def _nearly_full(pulse: Pulse) -> bool:
    limit = pulse.memory_limit_bytes
    return bool(limit) and pulse.memory_bytes > _NEAR_LIMIT * limit


def _memory(ending: Ending, recording: Recording) -> tuple[str, ...]:
    pulse, found = recording.pulse, []
    if pulse.rss_bytes:
        age_s = (recording.last_trace if ending.left_behind else ending.at) - pulse.figures_at
        text = f"recorder: {age_s:.1f} s before the end it had {_mib(pulse.rss_bytes)} resident"
        if pulse.memory_limit_bytes:
            text += (f", and its control group used {_mib(pulse.memory_bytes)} of "
                     f"{_mib(pulse.memory_limit_bytes)}")
        found.append(text)
    if ending.used is not None and ending.used.peak_bytes is not None:
        found.append(f"arbiter: it had {_mib(ending.used.peak_bytes)} resident at its peak")
    return tuple(found)


def _mib(size: int) -> str:
    return f"{size / 2 ** 20:.0f} MiB"
