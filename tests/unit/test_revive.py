"""Reports made anew from their plain form, whoever has written it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.unit import recorded, reports
from watchdog_worker import report
from watchdog_worker.model import (
    ContextLeak,
    Death,
    Diagnosis,
    Effort,
    Frame,
    LoopLag,
    Process,
    Profile,
    Report,
    Request,
    SampledStack,
    Snapshot,
    Stage,
    Stall,
    TaskGroup,
    Tasks,
    ThreadPool,
    ThreadStack,
)
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.render.headline import headline
from watchdog_worker.revive import NotAReport, revived

WIDE = Report(
    event=report.SLOW_REQUEST, severity="warning", time="2026-01-02T12:00:00Z", pid=1,
    worker_age=2, app="a:b", headline="watchdog says \x1b",
    snapshot=Snapshot(
        threads=(ThreadStack(1, "", True, (), state="S (sleeping)"),), tasks=Tasks(0, ()),
        requests=(Request(1, "http", "/", 0.5, False, "GET", headers={"a b\n": "\0"}, slow=True),),
        pools=(ThreadPool("pool", 4, None, 2), ThreadPool("pool", 4, 4, 2)),
        effort=Effort(1.0, None, 0.5, busiest=7), slow_total=1,
        process=Process(cpu_user_s=1.0, cpu_system_s=2.0, cgroup={"memory_max_bytes": 2 ** 62}),
        loop_lag=LoopLag((0.5,), (1, 2), 0.5, 0.5),
        profile=Profile(1, 1.0, (SampledStack(1, (Frame("a", 1, "b"),)),))),
    stall=Stall(1.0, "serving", 0.0, gil_held=None), diagnosis=Diagnosis(summary="x"),
    context=ContextLeak("a:b", "käse", "request"),
    death=Death("crash", signal="SIGSEGV", last_beat_age_s=0.5, raw_stacks="a\nb"),
    stage=Stage("startup", 30.5, ended=True, holder="task", holder_name="käse", connections=2),
)
"""With all that is left out in the plain form, and must not take its surroundings with it."""
REAL = [recorded.told(recorded.load(name)) for name in recorded.NAMES]


@pytest.mark.parametrize("told", [*REAL, reports.pre_kill(), WIDE],
                         ids=[*recorded.NAMES, "by hand", "wide"])
def test_a_report_comes_back_as_it_was(told: Report) -> None:
    """From its plain form, by way of JSON: every value, with its type."""
    again = revived(json.loads(json_render.line(told)))
    assert again == told
    assert repr(again) == repr(told)
    assert text_render.text(again) == text_render.text(told)


def plain(**parts: Any) -> dict[str, Any]:
    """A genuine report's plain form, with these in the place of its own."""
    found: dict[str, Any] = json.loads(json_render.line(reports.pre_kill()))
    return {**found, **parts}


@pytest.mark.parametrize("told", [
    None, 1, "report", [], {}, [plain()], {"schema": 2}, {"schema": "1"}, {"schema": 1},
    {"schema": None}, {"schema": [1]}, {1: 2},
    plain(schema=2), plain(pid=None), plain(pid="1"), plain(pid=True), plain(pid=math.nan),
    plain(pid=10 ** 400), plain(worker_age=2 ** 63), plain(app=1), plain(headline=None),
    plain(headline=[]), plain(severity=1), plain(event=None), plain(time=0),
])
def test_what_is_no_report_is_refused(told: object) -> None:
    """Where what every report has is missing, or of another type."""
    with pytest.raises(NotAReport):
        revived(told)


@pytest.mark.parametrize("parts", [
    {"event": "../../etc/cron.d/x"}, {"event": ""}, {"event": "stall\n"}, {"event": "new_event"},
    {"time": "../x"}, {"time": ""}, {"time": "2026-01-02T12:00:00Z/../x"},
    {"time": "2026-01-02T12:00:00Z\n"}, {"time": "٢٠٢٦-01-02T12:00:00Z"},
    {"severity": "\x1b[31m"}, {"severity": "x" * 101},
])
def test_what_names_a_file_or_a_level_cannot_be_chosen(parts: dict[str, str]) -> None:
    """An event that there is, and a time of day."""
    with pytest.raises(NotAReport):
        revived(plain(**parts))


FORGED = "x\n[CRITICAL] WORKER TIMEOUT (pid:1)\x1b[2K"


@pytest.mark.parametrize("parts", [
    {"stall": {"blocked_s": 1.0, "phase": FORGED, "timeout_s": 1.0}},
    {"diagnosis": {"cause": FORGED, "fingerprint": FORGED, "call": FORGED}},
    {"threads": [{"id": 1, "name": FORGED, "loop": True, "frames": [], "state": FORGED,
                  "wait": {"syscall": FORGED, "target": FORGED, "wchan": FORGED}}]},
    {"process": {"cgroup": {FORGED: 1}}, "capture_s": 1.0},
    {"death": {"reason": FORGED}}, {"death": {"reason": "killed", "signal": FORGED}},
    {"death": {"reason": "killed", "phase": FORGED, "raw_stacks": FORGED}},
    {"app": FORGED, "headline": FORGED},
    {"event": "slow_startup", "stage": {"name": FORGED, "seconds": 1.0, "limit_s": 2.0}},
    {"event": "slow_shutdown", "stage": {
        "name": "shutdown", "seconds": 1.0, "holder": FORGED, "holder_name": FORGED}},
])
def test_no_text_of_a_report_reaches_the_margin_of_a_log(parts: dict[str, Any]) -> None:
    """Neither those that an application can choose, nor those that are always ours."""
    first, *rest = text_render.text(revived(plain(**parts))).split("\n")
    assert all(line == "" or line.startswith("  ") for line in rest)
    assert "\x1b" not in "".join([first, *rest])


@pytest.mark.parametrize("name", ["startup", "shutdown", FORGED])
@pytest.mark.parametrize("holder", ["task", "thread", "import", "loop", "requests", FORGED])
def test_no_text_of_a_stage_reaches_beyond_the_first_line(name: str, holder: str) -> None:
    """Should a headline be made of it anew."""
    frame = {"file": FORGED, "line": 1, "function": FORGED}
    again = revived(plain(
        stage={"name": name, "seconds": 1.0, "holder": holder, "holder_name": FORGED},
        diagnosis={"call": FORGED, "culprit": frame, "blocking_call": frame}))
    line = headline("slow_shutdown", again.snapshot, again.stall, again.diagnosis,
                    stage=again.stage)
    assert line.startswith("watchdog slow s") and line.isprintable()


@pytest.mark.parametrize("part, kept", [
    ({"name": "startup"}, None), ({"name": 1, "seconds": 1.0}, None), ([FORGED], None),
    ({"name": "startup", "seconds": "1"}, None), ({"name": "startup", "seconds": math.inf}, None),
    ({"name": "shutdown", "seconds": 1, "limit_s": math.nan, "ended": 1, "holder": [],
      "holder_name": {}, "connections": "2"}, Stage("shutdown", 1.0)),
    ({"name": "startup", "seconds": 1.0, "holder_name": "x" * 5_001},
     Stage("startup", 1.0, holder_name="x" * 5_000)),
])
def test_a_stage_is_taken_as_far_as_it_is_one(part: object, kept: Stage | None) -> None:
    """What is needed, and of the rest what has its type."""
    assert repr(revived(plain(stage=part)).stage) == repr(kept)


@pytest.mark.parametrize("name, part, kept", [
    ("process", {"cpu_user_s": 1.0}, None),
    ("process", {"cpu_user_s": 1.0, "cpu_system_s": math.nan}, None),
    ("process", {"cgroup": {"\n": 1}}, Process(cgroup={})),
    ("profile", {"samples": 0, "seconds": 1.0, "stacks": []}, None),
    ("profile", {"samples": -1, "seconds": 1.0}, None),
    ("profile", {"samples": 1, "seconds": 1.0}, Profile(1, 1.0, ())),
    ("loop_lag", {"le": [1.0], "counts": [1], "sum_s": 0.0, "max_s": 0.0}, None),
    ("loop_lag", {"le": [1.0], "counts": [1, "x"], "sum_s": 0.0, "max_s": 0.0}, None),
    ("loop_lag", {"counts": [1], "sum_s": 0.0, "max_s": 0.0}, LoopLag((), (1,), 0.0, 0.0)),
])
def test_what_no_renderer_could_show_is_left_out(
    name: str, part: dict[str, Any], kept: object
) -> None:
    """Shares of nothing, half of a pair, buckets without bounds."""
    again = revived(plain(**{name: part}))
    assert getattr(again.snapshot, name) == kept
    assert text_render.text(again)


@pytest.mark.parametrize("name", ["stall", "diagnosis", "threads", "tasks", "requests", "process",
                                  "loop_lag", "profile", "incomplete", "effort", "death"])
@pytest.mark.parametrize("part", [
    None, True, 0, -1.5, "text", [], {}, [None], [[]], [{}], {"": {}}, {"frames": 1},
    {"count": {}}, [{"id": 1, "name": "x", "loop": 1, "frames": {}}],
])
def test_a_part_of_another_shape_is_as_if_it_did_not_apply(name: str, part: object) -> None:
    """And the rest of the report stays."""
    again = revived(plain(**{name: part}))
    own: Any = again if name in Report._fields else again.snapshot
    assert not getattr(own, name) or getattr(own, name) in (Diagnosis(), Process())
    assert again.headline == reports.pre_kill().headline
    assert text_render.text(again) and json_render.line(again)


def test_one_bad_item_costs_no_other() -> None:
    """Of a list, or of a dict."""
    frame = {"file": "a", "line": 1, "function": "f"}
    thread = {"id": 1, "name": "x", "loop": True, "frames": [frame, {**frame, "line": "1"}, frame]}
    again = revived(plain(threads=[thread, {**thread, "loop": "yes"}, None],
                          incomplete=["a", 1, "b"], process={"cgroup": {"a": 1, "b": "2"}}))
    assert again.snapshot.threads == (
        ThreadStack(1, "x", True, (Frame("a", 1, "f"), Frame("a", 1, "f"))),)
    assert again.snapshot.incomplete == ("a", "b")
    assert again.snapshot.process == Process(cgroup={"a": 1})


def test_numbers_take_the_type_that_is_theirs() -> None:
    """JSON does not tell 5 from 5.0; what is no number is none."""
    again = revived(plain(stall={"blocked_s": 5, "phase": "serving", "timeout_s": 6,
                                 "kill_in_s": math.inf, "withheld": 2.0, "gil_held": 1}))
    assert repr(again.stall) == repr(Stall(5.0, "serving", 6.0, withheld=2))


def test_length_is_bounded_everywhere() -> None:
    """Of texts, of lists, of dicts, and of all together."""
    again = revived(plain(
        app="a" * 10_000, incomplete=["x"] * 10_000, threads_total=2 ** 63 - 1,
        process={"cgroup": {str(at): at for at in range(10_000)}}))
    assert len(again.app) == 5_000
    assert len(again.snapshot.incomplete) == 2_000
    assert again.snapshot.process is not None
    assert len(again.snapshot.process.cgroup or {}) == 2_000
    frames = [{"file": "", "line": 0, "function": ""}] * 2_000
    many = [{"id": 0, "name": "", "loop": False, "frames": frames}] * 100
    with pytest.raises(NotAReport):
        revived(plain(threads=many))


def test_a_group_without_names_is_a_group() -> None:
    """A plain form has no empty lists."""
    again = revived(plain(tasks={"total": 3, "groups": [{"count": 3}]}))
    assert again.snapshot.tasks == Tasks(3, (TaskGroup(3, (), ()),))
