"""Would the verdict have found it? Stories in which one thing is made wrong, judged again. Pure.

A check that cannot fail is worth nothing. Each forger gives up to a few stories, with one thing
amiss in each; the check that is named has to find something wrong that it had not found before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from tests.chaos import arbiter, ends, plan, requests, told
from tests.chaos.check import Check, is_orderly
from tests.chaos.story import NEVER, Report, Story
from tests.chaos.talk import OK

_TRIES = 5
_ENOUGH = 3
"""Of those that may pass rightly, so many cannot all do so."""
_LONG_S = 300.0
"""In a run that lasts for so long, not all of a kind can have an excuse."""
_QUIET_S = 3.0


def _reports(story: Story, *events: str) -> list[Report]:
    return [each for each in story.reports if each.event in events]


def _less(story: Story, report: Report) -> Story:
    return story._replace(reports=tuple(each for each in story.reports if each is not report))


def _more(story: Story, report: Report) -> Story:
    return story._replace(reports=(*story.reports, report))


def _other(story: Story, report: Report, **changes: Any) -> Story:
    return _more(_less(story, report), report._replace(told={**report.told, **changes}))


def lost(*events: str) -> Callable[[Story], Iterator[Story]]:
    """A dump is taken away."""
    return lambda story: (_less(story, each) for each in _reports(story, *events))


def twice(*events: str) -> Callable[[Story], Iterator[Story]]:
    """A dump is there twice."""
    return lambda story: (_more(story, each._replace(file="again-" + each.file))
                          for each in _reports(story, *events))


def other_blame(*events: str) -> Callable[[Story], Iterator[Story]]:
    """It is another request that is said to hold the loop."""
    def forged(story: Story) -> Iterator[Story]:
        for report in _reports(story, *events):
            if report.blocking:
                yield _other(story, report, requests=[
                    {**each, "path": "/pid/i0" if each["blocking"] else each["path"]}
                    for each in report.told["requests"]])

    return forged


def invented(event: str) -> Callable[[Story], Iterator[Story]]:
    """A report of a worker that was well: as somebody else's, at a time at which it served."""
    def forged(story: Story) -> Iterator[Story]:
        for model in _reports(story, event)[:1]:
            for life in story.lives:
                at = life.serving + _QUIET_S
                busy = [block for block in story.blocks if block.pid == life.pid]
                if not busy and not story.stops(life.pid) and at + _QUIET_S < life.closing < NEVER:
                    yield _more(story, model._replace(pid=life.pid, at=at))

    return forged


def unasked_post_mortem(story: Story) -> Iterator[Story]:
    """One of a worker that left in an orderly way."""
    for model in _reports(story, "post_mortem")[:1]:
        for life in story.lives:
            if is_orderly(story, life):
                yield _more(story, model._replace(pid=life.pid, at=life.over))


def other_death(story: Story) -> Iterator[Story]:
    """The exit code or the signal is wrong."""
    for report in _reports(story, "post_mortem"):
        death = report.told["death"]
        yield _other(story, report, death={**death, "exit_code": 42})
        yield _other(story, report, death={**death, "signal": "SIGILL"})
        yield _other(story, report, death={**death, "reason": "unknown"})


def no_requests(story: Story) -> Iterator[Story]:
    """The requests that died with it are not listed."""
    for report in _reports(story, "post_mortem"):
        if report.blocking:
            yield _other(story, report, requests=[])


def no_signal(story: Story) -> Iterator[Story]:
    """Somebody has ended a worker, and we do not know of it."""
    for act in story.acts:
        if act.kind in ("KILL", "TERM") and act.pid and story.life(act.pid, act.at) is not None:
            yield story._replace(
                acts=tuple(each for each in story.acts
                           if each is not act and each.kind not in ("HUP", "TTOU")),
                lives=tuple(life._replace(closing=NEVER) for life in story.lives),
                lines=tuple(line for line in story.lines if "Maximum" not in line[3]))


def more_hooks(story: Story) -> Iterator[Story]:
    """A hook has run twice, or not at all."""
    for at, life in enumerate(story.lives):
        if life.serving < NEVER and is_orderly(story, life):
            for hooks in ((*life.hooks, "worker_exit"), ()):
                yield story._replace(lives=(
                    *story.lives[:at], life._replace(hooks=hooks), *story.lives[at + 1:]))


def answered(outcome: str, quiet: bool = True) -> Callable[[Story], Iterator[Story]]:
    """A request that was answered was not, at a time at which nobody left."""
    def forged(story: Story) -> Iterator[Story]:
        moments = [at for life in story.lives for at in (life.leaving, life.closing, life.over)]
        for at, each in enumerate(story.exchanges):
            if each.outcome == OK and each.manner in ("keep", "fresh") and not (
                    quiet and any(each.sent_at - _QUIET_S < moment < each.done_at + _QUIET_S
                                  for moment in moments)):
                yield story._replace(exchanges=(
                    *story.exchanges[:at], each._replace(outcome=outcome),
                    *story.exchanges[at + 1:]))

    return forged


def fatal_answered(story: Story) -> Iterator[Story]:
    """Who has blocked the loop gets a made-up answer."""
    for at, each in enumerate(story.exchanges):
        if each.what in plan.BLOCKS:
            yield story._replace(exchanges=(
                *story.exchanges[:at], each._replace(outcome="status 500"),
                *story.exchanges[at + 1:]))


def unlogged(story: Story) -> Iterator[Story]:
    """A report is not in the log."""
    for at, line in enumerate(story.lines):
        if line[3].startswith("watchdog "):
            yield story._replace(lines=(*story.lines[:at], *story.lines[at + 1:]))


def leaking(**more: int) -> Callable[[Story], Iterator[Story]]:
    """The arbiter has more and more of something."""
    def forged(story: Story) -> Iterator[Story]:
        count = len(story.samples)
        yield story._replace(samples=tuple(each._replace(**{
            name: getattr(each, name) + much * at // count for name, much in more.items()})
            for at, each in enumerate(story.samples, 1)))

    return forged


def left_over(story: Story) -> Iterator[Story]:
    """A recorder was left behind."""
    yield story._replace(end={**story.end, "recorders": ["watchdog-x.vitals"]})


class Forgery(NamedTuple):
    """One way to be wrong, and who has to notice."""

    name: str
    forge: Callable[[Story], Iterator[Story]]
    check: Callable[[Story], Check]
    excusable: bool = False
    """Some may pass rightly, as the worker was stopped, or about to leave; in a short run, all."""


FORGERIES = (
    Forgery("a post-mortem lost", lost("post_mortem"), ends.post_mortems),
    Forgery("a post-mortem twice", twice("post_mortem"), ends.post_mortems),
    Forgery("a post-mortem unasked for", unasked_post_mortem, ends.post_mortems),
    Forgery("another death", other_death, ends.post_mortems),
    Forgery("no lost requests", no_requests, ends.post_mortems),
    Forgery("a post-mortem's other blame", other_blame("post_mortem"), ends.post_mortems),
    Forgery("a dump before a kill lost", lost("pre_kill"), ends.pre_kills, True),
    Forgery("a dump's other blame", other_blame("pre_kill"), ends.pre_kills),
    Forgery("an end without a reason", no_signal, ends.explained),
    Forgery("hooks", more_hooks, ends.manners),
    Forgery("a stall lost", lost("stall"), told.stalls, True),
    Forgery("a stall's end lost", lost("stall_ended"), told.stalls, True),
    Forgery("a stall's other blame", other_blame("stall"), told.unfounded),
    Forgery("an invented stall", invented("stall"), told.unfounded),
    Forgery("an invented pre_kill", invented("pre_kill"), told.unfounded),
    Forgery("a pause lost", lost("suspended"), told.suspended, True),
    Forgery("an invented pause", invented("suspended"), told.suspended),
    Forgery("a demand not met", lost("on_demand"), told.on_demand, True),
    Forgery("a stall twice", twice("stall"), told.once),
    Forgery("a pre_kill twice", twice("pre_kill"), told.once),
    Forgery("a report not in the log", unlogged, told.once),
    Forgery("an answer lost", answered("closed"), requests.innocent),
    Forgery("a made-up 500", answered("status 500"), requests.innocent),
    Forgery("another's answer", answered("answer to i7", quiet=False), requests.innocent),
    Forgery("another's context", answered("context of i7", quiet=False), requests.innocent),
    Forgery("a made-up 500 for the guilty", fatal_answered, requests.fatal),
    Forgery("a leak of memory", leaking(rss_kib=8000), arbiter.flat),
    Forgery("a leak of descriptors", leaking(descriptors=3), arbiter.flat),
    Forgery("a recorder left behind", left_over, arbiter.end),
)


def check(story: Story, checks: list[Check]) -> Check:
    """Whether each forgery of this story is found."""
    before = {each.name: each for each in checks}
    short = story.setting.seconds < _LONG_S
    wrong, found, impossible = list[str](), 0, list[str]()
    for forgery in FORGERIES:
        tried = hit = 0
        for forged in islice(forgery.forge(story), _TRIES):
            outcome = forgery.check(forged)
            honest = before[outcome.name]
            hit += len(outcome.wrong) > len(honest.wrong)
            tried += not (short and forgery.excusable and outcome.excused > honest.excused)
        found += hit > 0
        if not hit and tried < (_ENOUGH if forgery.excusable else 1):
            impossible.append(forgery.name)
        elif not hit:
            wrong.append(f"{forgery.name}: none of {tried} found")
    counted = f"{found} of {len(FORGERIES)} kinds found"
    return Check("forgeries of this story are found", counted + (
        f"; no material for: {', '.join(impossible)}" if impossible else ""), tuple(wrong))
