"""Small files of /proc and /sys. Runs in the monitor thread."""

from __future__ import annotations

import os


def read(path: str, size: int = 4096) -> str:
    """The first bytes of a file; empty where there is none or it is refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, size).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
