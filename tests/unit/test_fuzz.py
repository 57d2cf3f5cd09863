"""Some hundred spoilt recorders; `make fuzz` reads a million."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import corpus, mutations, reading, recordings
from tests.fuzz.corpus import Base
from tests.fuzz.recordings import Figures, Reader
from watchdog_worker import revive
from watchdog_worker.model import Report
from watchdog_worker.render import text
from watchdog_worker.vitals import layout, recording

_SEED = 1
_FILES = 300


@pytest.fixture(scope="module")
def bases() -> list[Base]:
    return corpus.bases()


def read(bases: list[Base], folder: Path, files: int, limit_s: float = 10.0) -> Figures:
    """The first so many cases."""
    # Whatever has run in this process before counts for its peak.
    reader = Reader(bases, _SEED, str(folder), peak_before=recordings.peak(), limit_s=limit_s)
    return reader.read(range(files))


def test_nothing_in_a_recorder_disturbs_its_reader(bases: list[Base], tmp_path: Path) -> None:
    """No exception, no hang, no memory, whatever has been done to it; and much of it is told."""
    figures = read(bases, tmp_path, _FILES)
    assert figures.failures == ()
    assert figures.files == _FILES
    assert figures.rendered > 30 and figures.examined > 60
    assert 0 < figures.refused < _FILES / 10
    assert list(tmp_path.iterdir()) == []


def test_unspoilt_files_are_read_in_full(bases: list[Base]) -> None:
    """What a fuzz begins with is worth spoiling: every report in it can be told."""
    found = {base.name: recording.read(base.data, base.data[layout.RAW_AT:])
             for base in bases if base.genuine}
    assert len(found["slots"].requests) == layout.SLOTS + 1
    assert found["both"].raw.startswith("Timeout (") and "Fatal Python error" in found["both"].raw
    assert {each.method for each in found["small"].requests} == {"GET", "websocket"}
    for base in bases:
        if base.genuine:
            kept = found[base.name].reports
            assert len(kept) == len(base.texts)
            assert all(isinstance(revive.revived(each.plain()), Report) for each in kept)


def test_a_case_comes_again_by_its_number(bases: list[Base]) -> None:
    """In another process, and whatever came before it."""
    anew = corpus.bases()
    for number in (0, 40, 41, 42):
        case = mutations.case(bases, _SEED, number)
        assert mutations.case(anew, _SEED, number) == case
    for number in (40, 41, 42):
        case = mutations.case(bases, _SEED, number)
        assert mutations.case(bases, _SEED + 1, number) != case


def test_processes_share_the_cases(bases: list[Base], tmp_path: Path) -> None:
    """Each is read once, and becomes what it becomes elsewhere."""
    alone, shared = read(bases, tmp_path, 60), recordings.run(60, _SEED, 2, seconds_most=60.0)
    assert shared[:5] == alone[:5] and alone.files == 60
    assert shared.failures == ()


def test_what_a_reader_raises_is_told_with_its_number(
    bases: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it can be looked at alone."""
    cases = itertools.count()
    real = recording.load

    def load(fd: int) -> recording.Recording:
        if next(cases) == 3:
            raise KeyError("planted")
        return real(fd)

    monkeypatch.setattr(recording, "load", load)
    figures = read(bases, tmp_path, 5)
    (failure,) = figures.failures
    assert failure.startswith("--seed 1 --only 3: KeyError: 'planted' (")
    assert figures.files == 5


def test_a_reader_that_hangs_is_stopped(
    bases: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second try, and the next case is read."""
    tries: list[int] = []

    def load(fd: int) -> recording.Recording:
        tries.append(fd)
        while len(tries) < 3:
            pass
        raise recording.NotARecording("planted")

    monkeypatch.setattr(recording, "load", load)
    figures = read(bases, tmp_path, 2, limit_s=0.02)
    assert len(tries) == 3
    assert [failure.split(" (")[0] for failure in figures.failures] == [
        "--seed 1 --only 0: Overdue: it takes too long"]
    assert (figures.files, figures.refused) == (2, 1)


def test_memory_beyond_the_bound_is_told(
    bases: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the case in which it was taken."""
    peaks = iter([0, 0, 0, recordings.GROWTH_MOST + 2 ** 20])
    monkeypatch.setattr(recordings, "peak", lambda: next(peaks))
    assert read(bases, tmp_path, 3).failures == ("--seed 1 --only 2: 129 MiB more",)


@pytest.mark.parametrize("said, broken", [
    ("watchdog\n  a\x1b[2K", "a control character"), ("watchdog\n  a\u2028b", "a control"),
    ("watchdog\n[CRITICAL] x", "a line at the margin"),
    ("watchdog\n  " + "x" * reading.LINE_MOST, "a line of"),
])
def test_a_text_that_breaks_a_promise_is_found(
    said: str, broken: str, bases: list[Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape sequences, forged lines, lines without an end."""
    told = next(_genuine(bases[2]))
    reading.hold_to_promises(told)
    monkeypatch.setattr(text, "text", lambda report: said)
    with pytest.raises(reading.BrokenPromise, match=broken):
        reading.hold_to_promises(told)


@pytest.mark.parametrize("parts", [{"event": "../x"}, {"time": "../2026-01-02T12:00:00Z"}])
def test_a_name_of_a_file_that_leads_elsewhere_is_found(
    parts: dict[str, Any], bases: list[Base]
) -> None:
    """Of a dump in `watchdog_dump_dir`."""
    told = next(_genuine(bases[2]))
    with pytest.raises(reading.BrokenPromise, match="a file's name"):
        reading.hold_to_promises(told._replace(**parts))


def _genuine(base: Base) -> Iterator[Report]:
    for kept in recording.read(base.data).reports:
        yield revive.revived(kept.plain())
