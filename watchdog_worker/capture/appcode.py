"""Which code is the application's own, by the path of its file alone."""

from __future__ import annotations

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


@lru_cache(maxsize=4096)
def is_application(filename: str) -> bool:
    """True unless it is the standard library, an installed package, this package or made up."""
    if not filename or filename.startswith("<"):
        return False
    try:
        path = os.path.abspath(filename)
    except OSError:  # a relative path, and the working directory has been removed
        path = filename
    if path.startswith(_LIBRARY) or any(part in path for part in _PARTS):
        return False
    return not path.startswith(_SCRIPTS)
