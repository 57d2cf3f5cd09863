"""Small files of /proc and /sys. Runs in the monitor thread."""

from __future__ import annotations

import os

_PAGE = 4096


def read(path: str, size: int = _PAGE) -> str:
    """The first bytes of a file; empty where there is none or it is refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        data = part = os.read(fd, size)
        while part and len(data) < size > _PAGE:  # long ones are handed out a page at a time
            part = os.read(fd, size - len(data))
            data += part
        return data.decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
