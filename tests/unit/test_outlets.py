"""The user's hook as a sink."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from watchdog_worker import kinds
from watchdog_worker.outlets import UsersHook
from watchdog_worker.ownthread import Leave


class Story:
    """A hook that cannot be imported, and what is said of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[str] = []
        self.imports = 0
        self.raises: BaseException = kinds.InvalidValue("cannot import it")
        self.other = threading.Thread(target=self._resolve, daemon=True)
        log = SimpleNamespace(error=lambda text, error: self.errors.append(text % error))
        self.hook = UsersHook(SimpleNamespace(
            log=log, cfg=SimpleNamespace(watchdog_on_report="hooks:hook")))
        monkeypatch.setattr("watchdog_worker.settings.ON_REPORT.resolve", self._import)

    def _resolve(self) -> None:
        self.hook.resolve()

    def _import(self, value: object) -> None:
        self.imports += 1
        if self.imports == 1:  # the other thread comes in the middle of it
            self.other.start()
            self.other.join(0.05)
        raise self.raises


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(monkeypatch)


def test_what_is_wrong_with_it_is_said_once(story: Story) -> None:
    """The boot imports it and the first report does, maybe at the same time."""
    story.hook.resolve()
    story.other.join(10.0)
    story.hook.resolve()
    assert story.imports == 1
    assert story.errors == [
        "watchdog: watchdog_on_report: cannot import it; reports go without it"]


def test_an_import_that_was_left_has_said_nothing_of_the_hook(story: Story) -> None:
    """It goes on its way, and nobody waits for it."""
    story.raises = Leave(0)
    with pytest.raises(Leave):
        story.hook.resolve()
    story.raises = kinds.InvalidValue("cannot import it")
    story.other.join(10.0)
    assert not story.other.is_alive() and story.imports == 2
