"""Of every request: was it answered, and if not, who may be blamed? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos import plan
from tests.chaos.check import SLACK_S, Check, asked_to, is_orderly
from tests.chaos.story import NEVER, Life, Passage, Story
from tests.chaos.talk import LOST, OK, Exchange

_RIGHT_TEXT = {"fork_and_exit": "exit 5", "fork_and_crash": "SIGSEGV",
               "fork_and_terminate": "SIGTERM", "run_command": "exit 6"}
_FATAL = (*plan.BLOCKS, *plan.GIL_BLOCKS, *plan.CRASHES)
_MOMENT_S = 0.5
_AFTER_S = 1.5
"""The end of a connection is seen so long after the end of its worker, at most."""
_CUT_SHARE = 0.6
"""Of `graceful_timeout`: a drain that was longer may have been ended by it."""


def innocent(story: Story) -> Check:
    """Everybody who has hurt nobody gets the right answer, unless the worker died under it."""
    mine = [each for each in story.exchanges if each.what not in _FATAL]
    passages = {each.id: each for some in story.passages.values() for each in some}
    wrong, reasons = list[str](), Counter[str]()
    for exchange in mine:
        for what in _amiss(exchange):
            reason = _reason(story, exchange, passages.get(exchange.id))
            if what and not reason:
                wrong.append(_line(exchange, what, passages.get(exchange.id)))
            else:
                reasons[reason] += 1
    sent_again = {each.again for each in mine}
    for exchange in mine:
        if exchange.outcome in LOST and exchange.id not in sent_again and (
                exchange.manner in ("keep", "fresh", "flood")):
            wrong.append(_line(exchange, "lost again and again", None))
    good = sum(each.outcome == OK for each in mine)
    kinds = Counter(each.manner for each in mine)
    counted = [f"{good} of {len(mine)} answered ("
               + ", ".join(f"{count} {kind}" for kind, count in kinds.items()) + ")"]
    counted += [f"{count} {reason}" for reason, count in reasons.most_common()]
    return Check("innocent requests", "; ".join(counted), tuple(wrong))


def _amiss(exchange: Exchange) -> Iterator[str]:
    right = _RIGHT_TEXT.get(exchange.what)
    if exchange.outcome != OK:
        yield exchange.outcome
    elif right is not None and exchange.text != right:
        yield f"answered {exchange.text!r}, not {right!r}"


def _line(exchange: Exchange, what: str, passage: Passage | None) -> str:
    seen = "never reached the application" if passage is None else (
        f"was in worker {passage.pid} from {passage.entered:.3f} "
        + (f"to {passage.left:.3f}" if passage.left < NEVER else "on"))
    return (f"{exchange.what} {exchange.id} ({exchange.manner}, last {exchange.pid or 'new'}) "
            f"{exchange.sent_at:.3f} to {exchange.done_at:.3f}: {what}; {seen}")


def _reason(story: Story, exchange: Exchange, passage: Passage | None) -> str:
    """Why this may have happened; empty if there is no excuse."""
    if exchange.outcome not in (*LOST, "status 500"):
        return ""
    if passage is not None:
        life = story.life(passage.pid, passage.entered)
        return "" if life is None else _in_worker(story, exchange, life)
    if exchange.outcome == "status 500":
        return ""
    if exchange.pid:
        last = story.life(exchange.pid, exchange.sent_at)
        quits = [] if last is None else asked_to(story, last, "QUIT", "INT")
        return "" if last is None else _on_old(
            exchange, last, is_orderly(story, last) and not quits)
    return _on_new(story, exchange)


def _in_worker(story: Story, exchange: Exchange, life: Life) -> str:
    """The application had it."""
    done = exchange.done_at
    quits = [at for at in asked_to(story, life, "QUIT", "INT") if at < done + SLACK_S]
    near_end = life.over - _AFTER_S < done < life.over + _AFTER_S
    if quits and done > quits[0] - SLACK_S:
        return "cancelled by SIGQUIT or SIGINT"
    if exchange.outcome != "status 500" and near_end and not is_orderly(story, life):
        return "on a worker that died"
    if min(life.leaving, life.closing) < done - _CUT_SHARE * story.graceful:
        return "cut at the end of graceful_timeout"
    return ""


def _on_old(exchange: Exchange, life: Life, orderly: bool) -> str:
    """On a connection that had been used; it never reached the application."""
    if life.closing < exchange.done_at + SLACK_S and exchange.sent_at < life.over + _AFTER_S:
        return "on a kept connection that closed"
    if not orderly and life.over < exchange.done_at + _AFTER_S and (
            exchange.sent_at < life.over + _AFTER_S):
        return "on a kept connection to a worker that died"
    return ""


def _on_new(story: Story, exchange: Exchange) -> str:
    """On a connection of its own; it never reached the application, and nobody knows where it
    had got to."""
    def near(at: float) -> bool:
        return exchange.sent_at - _MOMENT_S < at < exchange.done_at + _AFTER_S

    for life in story.lives:
        orderly = is_orderly(story, life)
        if near(life.over) and not orderly:
            return "on a new connection to a worker that died"
        quits = asked_to(story, life, "QUIT", "INT")
        if near(life.closing) or near(life.over) or any(near(at) for at in quits):
            return "on a new connection to a worker that left"
    return ""


def fatal(story: Story) -> Check:
    """Who brings the worker down gets no answer, and nothing that looks like one."""
    wrong, outcomes = list[str](), Counter[str]()
    for exchange in story.exchanges:
        if exchange.what in _FATAL:
            outcomes[exchange.outcome] += 1
            if exchange.outcome not in LOST:
                wrong.append(_line(exchange, exchange.outcome, None))
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return Check("requests that bring the worker down", counted, tuple(wrong))
