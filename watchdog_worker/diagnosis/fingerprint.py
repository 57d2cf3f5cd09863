"""What makes two reports one fault. Pure."""

from __future__ import annotations

import hashlib
import os

from watchdog_worker.model import Frame

_LENGTH = 16


def fingerprint(cause: str, culprit: Frame | None, call: str | None) -> str:
    """Of the cause, the function of the application, and what it calls.

    No line, no path and no address: it is the same after an edit elsewhere in the file, in another
    worker, on another host, and on another release of the interpreter.
    """
    parts = [cause]
    if culprit is not None:
        parts.append(culprit.module or os.path.basename(culprit.file))
        parts.append(culprit.qualname or culprit.function)
    parts.append(call or "")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:_LENGTH]
