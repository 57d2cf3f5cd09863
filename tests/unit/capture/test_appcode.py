"""Whose code a file is, by its path."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import gunicorn
import pytest

from watchdog_worker import watch
from watchdog_worker.capture.appcode import is_application


@pytest.mark.parametrize("file", [
    asyncio.__file__, os.__file__, gunicorn.__file__, watch.__file__,
    "<string>", "<frozen importlib._bootstrap>", "", "/x/site-packages/a/b.py",
    "/usr/lib/python3/dist-packages/a.py",
])
def test_libraries_the_interpreter_and_ourselves_are_not_the_applications(file: str) -> None:
    """Nor is code that has no file."""
    assert not is_application(file)


@pytest.mark.parametrize("file", [__file__, "/srv/shop/views.py", "shop/views.py"])
def test_everything_else_is(file: str) -> None:
    """Wherever it lies."""
    assert is_application(file)


def test_a_relative_path_in_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template's name is one, and a deployment removes old folders."""
    folder = tmp_path / "release"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert is_application("templates/vanished.html")
