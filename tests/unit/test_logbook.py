"""What the monitor writes to the recorder with every look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.freed import kept_after
from tests.unit.recorders import Made
from watchdog_worker import rawstacks
from watchdog_worker.logbook import Logbook
from watchdog_worker.signs import Rules, Signs
from watchdog_worker.vitals import layout, recording
from watchdog_worker.vitals.inflight import InFlight


class Story:
    """A logbook with a recorder of its own."""

    def __init__(self, folder: Path) -> None:
        self.made, self.problems = Made(folder), []  # type: Made, list[Exception]
        self.fd = self.made.file.fd
        self.logbook = Logbook(
            self.made.recorder, InFlight(self.made.recorder.slots), Rules(1.0, 10, 0.05, 1.0),
            describe=lambda entry: None,  # type: ignore[arg-type,return-value]
            failed=self.problems.append)

    def look(self, now: float) -> None:
        self.logbook.write(Signs(now, now, now + 30.0), None)


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    monkeypatch.setattr(rawstacks.RawStacks, "_arm", lambda *args: None)
    story = Story(tmp_path)
    yield story
    assert story.problems == []
    story.made.die()


def test_readers_are_told_where_the_raw_stacks_begin(story: Story) -> None:
    """With the very look that forgets them."""
    story.look(1.0)
    os.lseek(story.fd, 0, os.SEEK_END)
    os.write(story.fd, b"Timeout (0:00:09)!\n")
    assert recording.load(story.fd).raw
    story.look(40.0)
    assert recording.load(story.fd).raw == ""


def test_figures_are_counted_once_a_second_and_written_with_every_look(story: Story) -> None:
    """What is read from files is as of then."""
    for now in (1.0, 1.9, 2.1):
        story.look(now)
        pulse = recording.load(story.fd).pulse
        assert pulse.at == now and pulse.rss_bytes > 2 ** 20
        assert pulse.figures_at == (1.0 if now < 2 else now)


def test_a_look_leaves_nothing_behind_in_memory(
    story: Story, capfd: pytest.CaptureFixture[str]
) -> None:
    """CPython would keep up to 2,000 freed tuples of a pulse's size, 350 KB of a worker."""
    kept = kept_after(lambda at: story.look(1.0 + at / 1000), 300, capfd)
    assert kept[len(layout.Pulse._fields)] < 100
