"""Small files of /proc and /sys. Runs in the monitor thread."""

from __future__ import annotations

import os


def read(path: str) -> str:
    """The first 4 KiB of a file; empty where there is none or it is refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
