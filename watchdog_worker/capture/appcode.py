"""Which code is the application's own, by the path of its file alone."""

from __future__ import annotations

import importlib.util
import os
import site
import sysconfig
from functools import lru_cache

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(getattr(site, "getsitepackages", list)())
    folders.add(_PACKAGE)
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(folder.rstrip(os.sep) + os.sep for folder in sorted(folders))


_LIBRARY = _library_folders()
_PARTS = tuple(os.sep + part + os.sep for part in ("site-packages", "dist-packages"))
# The console script that started gunicorn: the outermost frame of a worker's main thread.
_SCRIPTS = sysconfig.get_path("scripts").rstrip(os.sep) + os.sep


_CYTHON = (".pyx", ".pxi")


_claimed: tuple[str, ...] = ()


def claim(target: str) -> None:
    """The package of gunicorn's `module:app` is the application, also where it is installed.

    Imports nothing of it; a package that cannot be found here claims nothing.
    """
    global _claimed
    name = target.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # a finder of the application's, a module without a spec
        return
    if spec is not None:
        folders = [os.path.abspath(each) + os.sep
                   for each in spec.submodule_search_locations or ()]
        _claimed = tuple(folders or ([spec.origin] if spec.has_location and spec.origin else []))
        is_application.cache_clear()


@lru_cache(maxsize=4096)
def is_application(filename: str) -> bool:
    """True unless it is the standard library, an installed package, this package or made up."""
    if not filename or filename.startswith("<"):
        return False
    try:
        path = os.path.abspath(filename)
    except OSError:  # a relative path, and the working directory has been removed
        path = filename
    if filename.endswith(_CYTHON) and not os.path.isabs(filename) and not os.path.exists(path):
        return False  # compiled elsewhere, as uvloop is
    for claimed in _claimed:
        if path.startswith(claimed):  # it may hold an environment of its own
            path = os.sep + path[len(claimed):]
            return not any(part in path for part in _PARTS)
    if path.startswith(_LIBRARY) or any(part in path for part in _PARTS):
        return False
    return not path.startswith(_SCRIPTS)
