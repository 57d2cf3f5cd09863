"""The whole picture, of this very process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.gunicorn_server import until
from watchdog_worker.capture import Camera, Limits, process, stacks
from watchdog_worker.capture.profile import Samples
from watchdog_worker.capture.requests import Choice
from watchdog_worker.model import Snapshot
from watchdog_worker.vitals.inflight import InFlight

CHOICE = Choice(max_requests=100, headers=(), with_query=False)
LIMITS = Limits(max_tasks=200, max_threads=100, max_frames=60, with_locals=False)


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera(LIMITS, CHOICE, InFlight())
    made.start()
    yield made


def taken(camera: Camera, samples: Samples | None = None, moved_on: bool = False) -> Snapshot:
    """A picture as the monitor takes it, while this thread, the loop's, waits in here."""
    seen: list[Snapshot] = []

    def waits() -> bool:
        stack = camera.sample()
        return stack is not None and "join" in [frame.code.co_name for frame in stack.frames]

    def take() -> None:
        until(waits)
        seen.append(camera.take(None, None, samples, moved_on=lambda: moved_on))

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return seen[0]


def test_a_picture_shows_the_loop_thread_with_its_source(camera: Camera) -> None:
    """And the figures of the process."""
    snapshot = taken(camera)
    assert snapshot.incomplete == ()
    loop = snapshot.loop_thread
    assert loop is not None and loop is snapshot.threads[0]
    frame = next(frame for frame in loop.frames if frame.function == "taken")
    assert frame.code == "thread.join()"
    assert frame.app
    assert snapshot.process is not None


def test_a_loop_that_has_moved_on_is_shown_as_it_was_sampled(camera: Camera) -> None:
    """The picture takes longer than a sample, and the loop does not wait for it."""
    samples = Samples()

    def guilty() -> None:
        stack = camera.sample()
        assert stack is not None
        samples.add(stack, 1.0)

    guilty()
    for moved_on, function in ((True, "guilty"), (False, "join")):
        loop = taken(camera, samples, moved_on).loop_thread
        assert loop is not None
        assert function in [frame.function for frame in loop.frames]
        assert ("guilty" in [frame.function for frame in loop.frames]) == moved_on


def test_a_part_that_fails_is_missing_and_said_to_be(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is there."""
    def fail() -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(process, "figures", fail)
    snapshot = taken(camera)
    assert snapshot.process is None
    assert snapshot.threads
    assert snapshot.incomplete == ("process: ZeroDivisionError: a bug of ours",)


def test_samples_at_one_place_are_counted_together(camera: Camera) -> None:
    """The most frequent first."""
    samples = Samples()

    def one() -> None:
        stack = camera.sample()
        assert stack is not None
        samples.add(stack, 10.0)

    def other() -> None:
        stack = camera.sample()
        assert stack is not None
        samples.add(stack, 12.5)

    for _ in range(3):
        one()
    other()
    profile = camera.develop_samples(samples).profile
    assert profile is not None
    assert (profile.samples, profile.seconds) == (4, 2.5)
    assert [stack.count for stack in profile.stacks] == [3, 1]
    assert "one" in [frame.function for frame in profile.stacks[0].frames]


def test_a_callback_is_told_by_its_outermost_coroutine() -> None:
    """What it starts or calls on the way is the same callback still."""
    seen: list[int | None] = []
    me = threading.get_ident()

    async def inner() -> None:
        seen.append(stacks.callback_of(me))

    async def outer() -> None:
        seen.append(stacks.callback_of(me))
        await inner()
        await asyncio.sleep(0)  # it lives on while the next one has its turn

    async def two() -> None:
        await asyncio.gather(outer(), outer())

    assert stacks.callback_of(me) is None
    asyncio.run(two())
    assert None not in seen
    assert seen[0] == seen[1] != seen[2] == seen[3]
