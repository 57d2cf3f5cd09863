"""What happened in a run, put together from what was written down. No judgement here.

Times are times of day, in seconds.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.faults import Act
from tests.chaos.scene import Sample, Setting
from tests.chaos.talk import Exchange

Span = tuple[float, float]
NEVER = float("inf")
_LINE = re.compile(r"\[[\d :+-]+\] \[(\d+)\] \[(\w+)\] (.*)")
_HOOKS = ("worker_int", "worker_abort", "worker_exit")


class Life(NamedTuple):
    """One worker, from its fork to its end."""

    pid: int
    born: float
    serving: float = NEVER
    leaving: float = NEVER
    """When it was asked to leave, by a signal that we sent, or began to, if that is not known."""
    closing: float = NEVER
    """When its server began to shut down."""
    died: float = NEVER
    reaped: float = NEVER
    end: str = ""
    """`exit 0`, `SIGABRT`, as the arbiter has it from the kernel; empty if it never ended."""
    struck: tuple[float, ...] = ()
    """When the arbiter said WORKER TIMEOUT."""
    hooks: tuple[str, ...] = ()
    """Of gunicorn's, which ran in it, in their order."""

    @property
    def over(self) -> float:
        """When it was dead."""
        return min(self.died, self.reaped)

    def __str__(self) -> str:
        return f"worker {self.pid} ({self.end or 'no end'})"


class Block(NamedTuple):
    """A request that has held the loop (or has crashed)."""

    id: str
    kind: str
    pid: int
    since: float
    until: float
    """The end of the block, or of the worker."""
    finished: bool


class Passage(NamedTuple):
    """A request's way through the application."""

    id: str
    pid: int
    entered: float
    left: float


class Report(NamedTuple):
    """One report, from the dump folder."""

    file: str
    at: float
    event: str
    pid: int
    told: dict[str, Any]

    @property
    def blocked_s(self) -> float:
        """How long the silence has been that it is about."""
        return float(self.told.get("stall", {}).get("blocked_s", 0.0))

    @property
    def blocking(self) -> tuple[str, ...]:
        """The ids of the requests that are said to hold the loop."""
        return tuple(request_id(each) for each in self.told.get("requests", ())
                     if each["blocking"])

    @property
    def requests(self) -> tuple[str, ...]:
        """The ids of all that are listed."""
        return tuple(request_id(each) for each in self.told.get("requests", ()))

    @property
    def functions(self) -> set[str]:
        """Whatever is on some stack."""
        return {frame["function"] for thread in self.told.get("threads", ())
                for frame in thread["frames"]}


class Story(NamedTuple):
    """All of it."""

    setting: Setting
    timeout: float
    graceful: float
    master: int
    lives: tuple[Life, ...]
    blocks: tuple[Block, ...]
    passages: dict[int, tuple[Passage, ...]]
    """By pid."""
    lags: dict[int, tuple[Span, ...]]
    """By pid: when its loop did not get round to the application's own measure."""
    machine: tuple[Span, ...]
    """When a control process could not run."""
    busy: tuple[Span, ...]
    """When more was ready to run than there are processors for."""
    acts: tuple[Act, ...]
    exchanges: tuple[Exchange, ...]
    reports: tuple[Report, ...]
    lines: tuple[tuple[float, int, str, str], ...]
    """Of the log: when, from whom, level, text; what is no head of a record has pid 0."""
    samples: tuple[Sample, ...]
    """The first before it all, the last after it all."""
    trouble: tuple[str, ...]
    end: dict[str, Any]

    def life(self, pid: int, at: float, slack: float = 3.0) -> Life | None:
        """Who had this pid at that moment, or the one who had it last."""
        mine = [life for life in self.lives if life.pid == pid and life.born <= at + slack]
        return mine[-1] if mine else None

    def of(self, life: Life, event: str) -> list[Report]:
        """Its reports of this event."""
        return [each for each in self.reports if each.pid == life.pid and each.event == event
                and self.life(each.pid, each.at) == life]

    def stops(self, pid: int) -> list[Span]:
        """When we had stopped it."""
        return [(act.at, act.until) for act in self.acts if act.kind == "STOP" and act.pid == pid]


def request_id(request: dict[str, Any]) -> str:
    """From the path, which always holds it."""
    return str(request["path"]).rstrip("/").rpartition("/")[2] or "first"


def covered(span: Span, by: Iterable[Span]) -> float:
    """How many seconds of a span lie in at least one of the others."""
    total, reached = 0.0, span[0]
    for since, until in sorted(by):
        since, until = max(since, reached), min(until, span[1])
        if until > since:
            total, reached = total + until - since, until
    return total


def without(spans: Iterable[Span], others: list[Span]) -> list[Span]:
    """What is left of the spans outside the others."""
    left = list(spans)
    for since, until in others:
        left = [part for span in left for part in (
            (span[0], min(span[1], since)), (max(span[0], until), span[1])) if part[0] < part[1]]
    return left


def read(folder: Path) -> Story:
    """From the folder of a run. Raises OSError or ValueError if it is not one."""
    scene = json.loads((folder / "scene.json").read_text())
    lines = tuple(_parsed(scene["log"]))
    notes = [_note(line) for line in (folder / "events").read_text().splitlines()]
    acts = tuple(Act(*each) for each in scene["acts"])
    lives = tuple(_lives(lines, notes, scene["deaths"], acts))
    story = Story(
        Setting(*scene["setting"]), scene["timeout"], scene["graceful"], scene["master"],
        lives, (), {}, _lags(notes),
        tuple(_spans(folder / "control", "late")), tuple(_spans(folder / "control", "busy")), acts,
        tuple(Exchange(*each) for each in scene["exchanges"]), tuple(_reports(folder / "dumps")),
        lines, tuple(Sample(*each) for each in scene["samples"]),
        tuple(scene["trouble"]),
        {**scene["end"], "partial": [file.name for file in folder.glob("dumps/.*")]})
    return story._replace(blocks=tuple(_blocks(story, notes)), passages=_passages(notes))


def _note(line: str) -> tuple[float, int, str, str]:
    at, pid, what = line.split(" ", 2)
    word, _, rest = what.partition(" ")
    return float(at), int(pid), word, rest


def _parsed(log: list[tuple[float, str]]) -> Iterator[tuple[float, int, str, str]]:
    for at, line in log:
        found = _LINE.fullmatch(line)
        yield (at, int(found[1]), found[2], found[3]) if found else (at, 0, "", line)


def _spans(file: Path, wanted: str) -> Iterator[Span]:
    for line in file.read_text().splitlines() if file.exists() else ():
        kind, since, until = line.split()
        if kind == wanted:
            yield float(since), float(until)


def _lags(notes: list[tuple[float, int, str, str]]) -> dict[int, tuple[Span, ...]]:
    found = defaultdict[int, tuple[Span, ...]](tuple)
    for at, pid, word, rest in notes:
        if word == "lag":
            found[pid] += ((float(rest), at),)
    return dict(found)


def _reports(folder: Path) -> Iterator[Report]:
    for file in sorted(folder.glob("watchdog-*.json")):
        told = json.loads(file.read_text())
        at = datetime.fromisoformat(told["time"].replace("Z", "+00:00")).timestamp()
        yield Report(file.name, at, told["event"], told["pid"], told)


def _lives(
    lines: tuple[tuple[float, int, str, str], ...], notes: list[tuple[float, int, str, str]],
    deaths: list[list[float]], acts: tuple[Act, ...],
) -> Iterator[Life]:
    births = [(at, pid) for at, pid, word, _ in notes if word == "post_fork"]
    for number, (born, pid) in enumerate(births):
        until = next((at for at, other in births[number + 1:] if other == pid), NEVER)

        def mine(at: float) -> bool:
            return born - 0.5 <= at < until

        events = [(at, word, rest) for at, by, word, rest in notes if by == pid and mine(at)]
        asked = [act.at for act in acts if act.pid == pid and mine(act.at)
                 and act.kind in ("TERM", "QUIT", "INT")]
        left = [at for at, by, _, text in lines if by == pid and text == "Shutting down"
                and mine(at)]
        ends = [(at, rest) for at, word, rest in events if word == "end"]
        yield Life(
            pid, born,
            serving=min((at for at, word, _ in events if word == "serving"), default=NEVER),
            leaving=min([*asked, *left], default=NEVER), closing=min(left, default=NEVER),
            died=min((at for by, at in deaths if by == pid and mine(at)), default=NEVER),
            reaped=ends[0][0] if ends else NEVER,
            end=ends[0][1] if ends else "",
            struck=tuple(at for at, _, _, text in lines
                         if text == f"WORKER TIMEOUT (pid:{pid})" and mine(at)),
            hooks=tuple(word for _, word, _ in events if word in _HOOKS))


def _blocks(story: Story, notes: list[tuple[float, int, str, str]]) -> Iterator[Block]:
    freed = {rest: at for at, _, word, rest in notes if word == "free"}
    for at, pid, word, rest in notes:
        if word == "block":
            ident, kind = rest.split(" ")
            life = story.life(pid, at)
            end = life.over if life is not None else NEVER
            yield Block(ident, kind, pid, at, freed.get(ident, end), ident in freed)


def _passages(notes: list[tuple[float, int, str, str]]) -> dict[int, tuple[Passage, ...]]:
    left = {rest: at for at, _, word, rest in notes if word == "out"}
    found = defaultdict[int, list[Passage]](list)
    for at, pid, word, rest in notes:
        if word == "in":
            ident = rest.split(" ")[0]
            found[pid].append(Passage(ident, pid, at, left.get(ident, NEVER)))
    return {pid: tuple(passages) for pid, passages in found.items()}
