"""Whose code a file is, by its path."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import gunicorn
import pytest

from watchdog_worker import watch
from watchdog_worker.capture import appcode
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


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(appcode, "_claimed", ())
    return folder


def test_an_application_that_is_installed_is_still_the_application(installed: Path) -> None:
    """As in an image that has `pip install .` in it; its neighbours are not."""
    for name in ("shopfront", "neighbour"):
        (installed / name).mkdir()
        (installed / name / "__init__.py").touch()
    assert not is_application(str(installed / "shopfront" / "views.py"))
    appcode.claim("shopfront.main:app")
    assert is_application(str(installed / "shopfront" / "views.py"))
    assert not is_application(str(installed / "neighbour" / "views.py"))
    inner = installed / "shopfront" / ".venv" / "site-packages" / "lib.py"
    assert not is_application(str(inner))


def test_a_single_installed_module_is_claimed_alone(installed: Path) -> None:
    """Not the folder that it lies in."""
    (installed / "shopfile.py").touch()
    appcode.claim("shopfile:create()")
    assert is_application(str(installed / "shopfile.py"))
    assert not is_application(str(installed / "other.py"))


@pytest.mark.parametrize("target", ["", "nowhere.to.be:found", "builtins:x", "a b:c", ":"])
def test_what_cannot_be_found_claims_nothing(installed: Path, target: str) -> None:
    """And is no error."""
    appcode.claim(target)
    assert not is_application(asyncio.__file__)


def test_a_namespace_package_below_the_working_directory(installed: Path) -> None:
    """One without `__init__.py`, and an editable install, lie where they are worked on."""
    assert is_application("/srv/checkout/shop/plugins/pay.py")
    assert is_application("/srv/app.pyz/shop/views.py")
