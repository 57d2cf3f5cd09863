"""Of every report of a living worker: is there a reason for it, and is none missing? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos import plan
from tests.chaos.check import (
    BEAT_S,
    GIL_KINDS,
    LOOP_KINDS,
    SLACK_S,
    Check,
    asked_to,
    block_at,
    blocks_of,
    disturbed,
)
from tests.chaos.story import NEVER, Block, Life, Report, Span, Story, covered, without

THRESHOLD_S = 1.0
_SURE_S = THRESHOLD_S + 0.35
_SOON_S = 1.5
_LEAST_S = 0.4
"""A silence of a threshold may begin with the rest of a heartbeat and with little more."""


def stalls(story: Story) -> Check:
    """Every deliberate block was told while it lasted, and its end after it, with the request."""
    wrong, looked_at, excused = list[str](), 0, 0
    for life in story.lives:
        for block in blocks_of(story, life):
            if block.kind not in LOOP_KINDS or block.until - block.since < _SURE_S:
                continue
            why = list(_untold(story, life, block))
            if why and disturbed(story, life.pid, (block.since - BEAT_S, block.until)):
                excused += 1
                continue
            looked_at += 1
            wrong += [f"{block.id} in {life}, {block.until - block.since:.2f} s: {each}"
                      for each in why]
    return Check("deliberate blocks are told", f"{looked_at} blocks" + (
        f", {excused} excused: stopped or a busy machine" if excused else ""),
        tuple(wrong), excused)


def _untold(story: Story, life: Life, block: Block) -> Iterator[str]:
    held = block.kind in GIL_KINDS
    if held and _in_one(story, life, block):
        return
    if block.kind not in plan.GIL_BLOCKS:
        told = [each for event in ("stall", "pre_kill") for each in story.of(life, event)
                if block.since + THRESHOLD_S - BEAT_S - 0.1 < each.at < block.until + _SOON_S
                and (block.id in each.blocking or (held and not each.blocking))]
        if not told and life.over > block.until + _SOON_S or not told and not held:
            yield "was not told"
        for each in told:
            culprit = each.told.get("diagnosis", {}).get("culprit", {}).get("function")
            if each.blocking and culprit != block.kind and not (
                    culprit is None and (held or _crowded_out(story, block, each))):
                yield f"{each.file} blames the function {culprit}"
    if block.finished and life.over > block.until + _SOON_S and not _silenced(story, life, block):
        lasted = block.until - block.since
        ends = [each for each in story.of(life, "stall_ended")
                if block.until - 0.1 < each.at < block.until + _SOON_S
                and lasted - 0.2 < each.blocked_s < lasted + BEAT_S + SLACK_S]
        if len(ends) != 1:
            yield f"its end was told {len(ends)} times"


def _in_one(story: Story, life: Life, block: Block) -> bool:
    """It took the GIL when another block was hardly over: the monitor could not tell them apart."""
    return any(0 <= block.since - other.until < SLACK_S for other in blocks_of(story, life)
               if other is not block)


def _crowded_out(story: Story, block: Block, report: Report) -> bool:
    """Who computes on a busy machine waits for a processor most of the time, and is told so."""
    return (block.kind.endswith("_computing")
            and report.told["diagnosis"]["cause"] == "suspended"
            and covered((block.since, report.at), story.busy) > SLACK_S)


def _silenced(story: Story, life: Life, block: Block) -> bool:
    """The GIL was taken from the monitor before it could say that the block was over."""
    return any(other.kind in GIL_KINDS and 0 < other.since - block.since
               and other.since < block.until + SLACK_S for other in blocks_of(story, life))


def unfounded(story: Story) -> Check:
    """No `stall`, `stall_ended` or `pre_kill` that the loop's own lag does not justify."""
    wrong, looked_at, by_lag = list[str](), 0, 0
    for life in story.lives:
        for event in ("stall", "stall_ended", "pre_kill"):
            for report in story.of(life, event):
                looked_at += 1
                why = _unfounded(story, life, report)
                wrong += [f"{report.file} of {life}: {each}" for each in why]
                by_lag += not _deliberate(story, life, report)
    return Check("no stall without a reason",
                 f"{looked_at} reports, {by_lag} of lag that nobody planned", tuple(wrong))


def _silence(report: Report) -> Span:
    return report.at - report.blocked_s, report.at


def _deliberate(story: Story, life: Life, report: Report) -> list[Block]:
    since, until = _silence(report)
    return [block for block in blocks_of(story, life) if block.kind in LOOP_KINDS
            and min(until, block.until) - max(since, block.since) > _LEAST_S]


def _unfounded(story: Story, life: Life, report: Report) -> Iterator[str]:
    span, blocks = _silence(report), _deliberate(story, life, report)
    stops = story.stops(life.pid)
    lags = without(story.lags.get(life.pid, ()), stops)
    dead = [*((block.since, block.until) for block in blocks), *lags]
    if covered(span, dead) < _LEAST_S:
        yield (f"of {report.blocked_s:.2f} s the loop was held {covered(span, dead):.2f} s, "
               f"and stopped {covered(span, stops):.2f} s")
    elif report.event == "pre_kill":
        margin = max(story.timeout / 6, 0.5)
        need = story.timeout - margin - BEAT_S - SLACK_S
        known = covered((report.at - need, report.at), [*dead, *stops])
        if known < 0.9 * need:
            yield f"of the last {need:.1f} s the loop was held {known:.1f} s only"
    alive = [each.id for each in story.passages.get(life.pid, ())
             if any(span[0] + 0.15 < at < span[1] - 0.15 for at in (each.entered, each.left))]
    if report.event != "stall_ended" and alive:
        yield f"the loop lived meanwhile: {alive[:3]} came or went"
    others = set(report.blocking) - {block.id for block in blocks}
    if others and blocks:
        yield f"blames {sorted(others)}, not {blocks[0].id}"


def suspended(story: Story) -> Check:
    """Told for every pause of a worker that was ours, and for none that was nobody's."""
    wrong, stops, machine, excused = list[str](), 0, 0, 0
    for life in story.lives:
        mine = [span for span in story.stops(life.pid) if life.born < span[0] < life.over]
        told = story.of(life, "suspended")
        for report in told:
            span = report.at - report.blocked_s - SLACK_S, report.at
            if covered(span, mine) < 0.7 * report.blocked_s:
                machine += 1
                if covered(span, story.machine) < 0.5 * report.blocked_s:
                    wrong.append(f"{report.file} of {life}: nothing had stopped it")
        for since, until in mine:
            if until - since < THRESHOLD_S + SLACK_S or life.serving > since - SLACK_S:
                continue
            stops += 1
            found = [each for each in told if until - 0.1 < each.at < until + _SOON_S]
            if len(found) == 1:
                continue
            if _busy_else(story, life, (since, until), mine):
                excused += 1
            else:
                wrong.append(f"{life} was stopped for {until - since:.2f} s until {until:.3f}: "
                             f"told {len(found)} times")
    return Check("pauses", f"{stops} pauses, {machine} told of the machine's own, "
                 f"{excused} excused: leaving, or blocked as well", tuple(wrong), excused)


def _busy_else(story: Story, life: Life, span: Span, stops: list[Span]) -> bool:
    since, until = span
    twice = sum(min(until, other[1]) > max(since, other[0]) for other in stops) > 1
    return (twice or life.over < until + SLACK_S or life.closing < until + SLACK_S
            or block_at(story, life, since) is not None
            or block_at(story, life, until) is not None)


def on_demand(story: Story) -> Check:
    """Once for every signal that a worker in its senses got."""
    wrong, signals, excused = list[str](), 0, 0
    for life in story.lives:
        sent, told = asked_to(story, life, "USR2"), story.of(life, "on_demand")
        signals += len(sent)
        if len(told) > len(sent):
            wrong.append(f"{life}: {len(told)} reports on demand, {len(sent)} signals")
        for at in sent:
            if any(at - 0.1 < each.at < at + 3.0 for each in told):
                continue
            block = block_at(story, life, at)
            if life.over < at + 3.0 or life.leaving < at + 3.0 or disturbed(
                    story, life.pid, (at, at + 3.0)) or (
                    block is not None and block.kind in GIL_KINDS):
                excused += 1
            else:
                wrong.append(f"{life}: no report on demand for the signal at {at:.3f}")
    return Check("reports on demand", f"{signals} signals, {excused} excused: leaving, stopped, "
                 "or the GIL was held", tuple(wrong), excused)


def once(story: Story) -> Check:
    """Nothing is told twice, and log and dumps tell the same."""
    wrong = list[str]()
    for life in story.lives:
        for event in ("stall", "stall_ended", "pre_kill", "suspended", "slow_shutdown"):
            found = sorted(story.of(life, event), key=lambda each: each.at)
            for one, two in zip(found, found[1:]):
                by_end = event in ("stall_ended", "suspended")
                apart = two.at - one.at - (0 if by_end else two.blocked_s - one.blocked_s)
                if event == "slow_shutdown" or apart < 0.2:
                    wrong.append(f"{life}: {one.file} and {two.file} tell the same")
    dumped = Counter((story.master if each.event == "post_mortem" else each.pid,
                      each.told["headline"]) for each in story.reports)
    logged = Counter((pid, text) for _, pid, _, text in story.lines
                     if text.startswith("watchdog ") and pid)
    wrong += [f"in the log, but not dumped: {count} x {text} of {pid}"
              for (pid, text), count in (logged - dumped).items()]
    wrong += [f"dumped, but not in the log: {count} x {text} of {pid}"
              for (pid, text), count in (dumped - logged).items()]
    return Check("told once, in log and dumps alike", f"{len(story.reports)} reports", tuple(wrong))


_BAD = ("Exception in worker process", "Unhandled exception", "Exception during worker exit",
        "Exception ignored", "watchdog: ")


def others(story: Story) -> Check:
    """No other report, and nothing of ours has failed."""
    wrong = [f"{text} ({pid})" for _, pid, _, text in story.lines
             if text.startswith(_BAD)]
    counts = Counter(each.event for each in story.reports)
    for report in story.reports:
        why = _needless(story, report)
        if why:
            wrong.append(f"{report.file}: {why}")
    counted = ", ".join(f"{count} x {event}" for event, count in sorted(counts.items()))
    return Check("nothing else", counted, tuple(wrong))


def _needless(story: Story, report: Report) -> str:
    life = story.life(report.pid, report.at)
    if life is None:
        return "of no worker"
    if report.event in ("context_leak", "slow_request", "rescue"):
        return "no reason for it: " + str(report.told["headline"])
    if report.event == "slow_startup":
        took = min(life.serving, report.at) - life.born
        return "" if took > story.timeout - SLACK_S else f"it had booted for {took:.1f} s"
    if report.event == "slow_shutdown":
        least, ago = story.graceful / 2 - SLACK_S, story.graceful + story.timeout
        asked = [act.at for act in story.acts if act.kind in ("HUP", "TTOU")
                 or (act.pid == life.pid and act.kind in ("TERM", "QUIT", "INT"))]
        asked += [story.end["began"], *([life.closing] if life.closing < NEVER else [])]
        return "" if any(least < report.at - at < 2 * ago for at in asked) else "no drain took long"
    return ""
