"""Of every worker that ended: why, and was it told? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos import plan
from tests.chaos.check import (
    BEAT_S,
    GIL_KINDS,
    SLACK_S,
    Check,
    asked_to,
    block_at,
    disturbed,
    is_orderly,
    last_words,
)
from tests.chaos.story import NEVER, Life, Report, Story, covered

_CRASH_SIGNALS = {"segfault": "SIGSEGV", "segfault_in_thread": "SIGSEGV", "abort": "SIGABRT"}
_QUICK_S = 4.0
_MOMENT_S = 0.2
_HURRY_S = 0.5
"""gunicorn looks once a second, and again at every signal: SIGKILL may follow SIGABRT at once."""


def explained(story: Story) -> Check:
    """Every end has a reason that we gave."""
    wrong = [f"{life}: {why}" for life in story.lives for why in _unexplained(story, life)]
    ends = Counter(("WORKER TIMEOUT, " if life.struck else "") + (life.end or "no end")
                   for life in story.lives)
    counted = ", ".join(f"{count} x {end}" for end, count in ends.most_common())
    return Check("every end has a reason", f"{len(story.lives)} workers: {counted}", tuple(wrong))


def _unexplained(story: Story, life: Life) -> Iterator[str]:
    last = last_words(story, life)
    if life.end == "":
        yield "nobody has reaped it"
    elif life.struck:
        need = story.timeout - BEAT_S - SLACK_S
        at = life.struck[0]
        silent = covered((at - need, at), _dead_times(story, life))
        if silent < 0.9 * need:
            yield f"was killed for a silence of which {silent:.1f} s are known"
    elif life.end == "SIGKILL":
        if not any(at < life.over + SLACK_S for at in asked_to(story, life, "KILL")):
            yield "nobody has killed it"
    elif is_orderly(story, life):
        if life.leaving == NEVER and life.serving < NEVER:
            yield "left without being asked, and without a drain"
        elif life.leaving < NEVER and not _asked(story, life):
            yield "was not asked to leave"
    elif last is None:
        yield "no request has brought that about"
    elif life.end != _CRASH_SIGNALS.get(last.kind, f"exit {last.kind[-1:]}"):
        yield f"its last request was {last.kind}"


def _dead_times(story: Story, life: Life) -> list[tuple[float, float]]:
    blocks = [(block.since, block.until) for block in story.blocks if block.pid == life.pid]
    return [*blocks, *story.lags.get(life.pid, ()), *story.stops(life.pid)]


def _asked(story: Story, life: Life) -> bool:
    """By a signal to it or to the arbiter, or by `max_requests`; the end of all asks everybody."""
    before = life.leaving + SLACK_S
    after = life.leaving - story.graceful - 2 * story.timeout
    return (
        bool(asked_to(story, life, "TERM", "QUIT", "INT"))
        or any(act.kind in ("HUP", "TTOU") and after < act.at < before for act in story.acts)
        or any(pid == life.pid and text.startswith("Maximum request limit")
               for _, pid, _, text in story.lines)
        or before > story.end["began"])


def post_mortems(story: Story) -> Check:
    """Nobody who left in an orderly way has one, everybody else has one, and it is right."""
    wrong, told = list[str](), Counter[str]()
    for life in story.lives:
        found = story.of(life, "post_mortem")
        if is_orderly(story, life):
            wrong += [f"{life} left in an orderly way, and has {report.file}" for report in found]
        elif len(found) != 1:
            wrong.append(f"{life} has {len(found)} post-mortems")
        else:
            told[found[0].told["death"]["reason"]] += 1
            wrong += [f"{life}, {found[0].file}: {why}" for why in _amiss(story, life, found[0])]
    strays = [each.file for each in story.reports if each.event == "post_mortem"
              and story.life(each.pid, each.at) is None]
    wrong += [f"{file} is of no worker" for file in strays]
    counted = ", ".join(f"{count} x {reason}" for reason, count in told.most_common())
    return Check("post-mortems", f"{sum(told.values())}: {counted}", tuple(wrong))


def _reason(life: Life) -> str:
    if life.struck:
        return "timeout"
    if life.end == "SIGKILL":
        return "killed"
    if life.end in _CRASH_SIGNALS.values():
        return "crash"
    return "killed" if life.end.startswith("SIG") else "exit"


def _amiss(story: Story, life: Life, report: Report) -> Iterator[str]:
    death = report.told["death"]
    signal, code = death.get("signal"), death.get("exit_code")
    if death["reason"] != _reason(life):
        yield f"reason {death['reason']}, not {_reason(life)}"
    if life.end.startswith("SIG"):
        if (signal, code) != (life.end, None):
            yield f"signal {signal}, exit code {code}"
    elif (signal, f"exit {code}") not in ((None, life.end), ("SIGABRT", life.end)) or (
            signal and not life.struck):
        yield f"signal {signal}, exit code {code}"
    yield from _wrong_requests(story, life, report)
    last = last_words(story, life)
    if last is not None and last.kind == "segfault_in_thread":
        if "segfault" not in report.functions:
            yield "the stack of the thread is not there"
    elif last is not None and not disturbed(
            story, life.pid, (life.over - story.timeout, life.over)):
        yield from _wrong_blame(story, life, report)


def _wrong_requests(story: Story, life: Life, report: Report) -> Iterator[str]:
    """The requests that died with it are listed, and no others."""
    mine = {each.id: each for each in story.passages.get(life.pid, ())
            if life.born < each.entered < life.over}
    lost = {each.id for each in mine.values()
            if each.entered < life.over - _MOMENT_S and each.left > life.over}
    if report.told.get("requests_total", 0) > len(report.requests):
        return
    missing = lost - set(report.requests)
    over = [ident for ident in report.requests
            if ident not in mine or mine[ident].left < life.over - _MOMENT_S]
    if missing:
        yield f"does not list {sorted(missing)}"
    if over:
        yield f"lists {over}, which were over or elsewhere"


def _wrong_blame(story: Story, life: Life, report: Report) -> Iterator[str]:
    """A stack is there where somebody could write one down: it names the request. Where C alone
    could write, it is known only if there was no other."""
    last = last_words(story, life)
    assert last is not None
    if life.struck or last.kind in ("segfault", "abort"):
        if last.kind not in report.functions:
            yield f"the stack of {last.kind} is not there"
        in_c = last.kind not in plan.BLOCKS
        if report.blocking != (last.id,) and not (
                in_c and not report.blocking and len(report.requests) > 1):
            yield f"blames {report.blocking or 'nobody'}, not {last.id}"
    if last.id not in report.requests:
        yield f"does not list {last.id}"


def pre_kills(story: Story) -> Check:
    """Every kill of a loop that had left Python room was foretold, and the right one blamed."""
    wrong, kills, gil, excused = list[str](), 0, 0, 0
    for life in story.lives:
        block = block_at(story, life, life.struck[0]) if life.struck else None
        if block is None:
            continue
        told = [each for each in story.of(life, "pre_kill")
                if block.since < each.at < life.struck[0] + _MOMENT_S]
        kills += 1
        if block.kind in GIL_KINDS:
            gil += 1
        elif len(told) == 1:
            if told[0].blocking != (block.id,):
                wrong.append(f"{life}: {told[0].file} blames {told[0].blocking}, not {block.id}")
        elif disturbed(story, life.pid, (block.since, life.struck[0])):
            excused += 1
        else:
            wrong.append(f"{life} was killed in {block.id}, with {len(told)} dumps before it")
    counted = f"{kills} kills, {gil} with the GIL held"
    return Check("dumps before kills", counted + (
        f", {excused} excused: stopped meanwhile" if excused else ""), tuple(wrong), excused)


def manners(story: Story) -> Check:
    """Hooks run once, exit statuses are as documented, nobody takes too long to leave."""
    wrong = [f"{life}: {why}" for life in story.lives if life.serving < NEVER and life.end
             for why in _bad_manners(story, life)]
    aborted = sum(life.struck != () and life.end == "exit 1" for life in story.lives)
    orderly = sum(is_orderly(story, life) for life in story.lives)
    return Check("hooks and exit statuses", f"{orderly} left, {aborted} aborted", tuple(wrong))


def _bad_manners(story: Story, life: Life) -> Iterator[str]:
    hooks, quits = Counter(life.hooks), asked_to(story, life, "QUIT", "INT")
    last = last_words(story, life)
    for hook in ("worker_int", "worker_abort", "worker_exit"):
        if hooks[hook] > 1:
            yield f"{hook} ran {hooks[hook]} times"
    if is_orderly(story, life):
        if not hooks["worker_exit"]:
            yield "worker_exit did not run"
        if life.end != "exit 0":
            yield "it did not exit by itself"
        if life.over - life.leaving > story.graceful + story.timeout + _QUICK_S:
            yield f"took {life.over - life.leaving:.1f} s to leave"
    elif life.struck and (last is None or last.kind not in plan.GIL_BLOCKS) and not (
            life.end == "SIGKILL" and life.over < life.struck[0] + _HURRY_S) and not (
            quits and quits[0] < life.struck[0]):  # it was on its way out already
        if not hooks["worker_abort"] or not hooks["worker_exit"] or life.end != "exit 1":
            yield f"was aborted, but of its hooks ran {life.hooks}"
    held = last is not None and last.kind in plan.GIL_BLOCKS
    if quits and not held and not disturbed(story, life.pid, (quits[0] - 3.0, life.over)):
        if life.over - quits[0] > _QUICK_S:
            yield f"took {life.over - quits[0]:.1f} s to leave at SIGQUIT or SIGINT"
        if not hooks["worker_int"] and is_orderly(story, life) and (
                life.closing > quits[0] and life.over > quits[0] + _MOMENT_S):
            yield "worker_int did not run"
