"""Whose code it is, however the application is shipped: the diagnosis degrades and never fails."""

from __future__ import annotations

import py_compile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.gunicorn_server import ROOT, Gunicorn

CONFIG = 'watchdog_dump_dir = "dumps"\n'
APP = '''
import os, time

class Shop:
    def pay(self):
        time.sleep(60)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/pay":
        Shop().pay()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
'''


def told(folder: Path, path: Path, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """The diagnosis of the first report of an application in this folder or archive."""
    with Gunicorn(
        folder, "shopfront.main:app", config=CONFIG, arguments=arguments,
        environment={"PYTHONPATH": f"{ROOT}:{path}"},
    ) as server, server.send("/pay"):
        found: dict[str, Any] = server.report("stall")["diagnosis"]
        return found


def package(folder: Path) -> Path:
    """The application's package in this folder; a namespace package, without `__init__.py`."""
    (folder / "shopfront").mkdir(parents=True)
    (folder / "shopfront" / "main.py").write_text(APP)
    return folder / "shopfront" / "main.py"


def check(diagnosis: dict[str, Any], code: str | None) -> None:
    assert diagnosis["cause"] == "sleep"
    culprit = diagnosis["culprit"]
    assert (culprit["function"], culprit["line"]) == ("pay", 6)
    assert (culprit["module"], culprit["calls"]) == ("shopfront.main", "time.sleep")
    assert culprit.get("code") == code


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["", "preload"])
def test_a_namespace_package(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Imported in the worker or before the fork."""
    package(tmp_path / "src")
    check(told(tmp_path, tmp_path / "src", arguments), "time.sleep(60)")


@pytest.mark.smoke
def test_an_installed_application(tmp_path: Path) -> None:
    """It lies among the libraries and is still the application."""
    package(tmp_path / "site-packages")
    check(told(tmp_path, tmp_path / "site-packages"), "time.sleep(60)")


def test_a_zipped_application(tmp_path: Path) -> None:
    """Its source is not read; its names are known."""
    source, archive = package(tmp_path / "src"), tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("shopfront/__init__.py", "")  # zipimport wants one
        packed.write(source, "shopfront/main.py")
    check(told(tmp_path, archive), None)


def test_an_application_without_sources(tmp_path: Path) -> None:
    """Only compiled files."""
    source = package(tmp_path / "src")
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
    source.unlink()
    check(told(tmp_path, tmp_path / "src"), None)
