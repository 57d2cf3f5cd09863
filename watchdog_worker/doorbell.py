"""The dump signal: rings the monitor's bell from C, whatever the main thread does.

A Python signal handler runs in the main thread only, between two bytecodes: never while a C
call blocks. `faulthandler.register` installs one in C that writes the current traceback to a
descriptor; ours is the monitor's bell, and what it writes is read and thrown away. No system
call of the application is interrupted (SA_RESTART) and no signal mask changes, so that child
processes start with the mask they would have had.
"""

from __future__ import annotations

import faulthandler
import os
import signal

_installed: signal.Signals | None = None


def install(name: str, write_end: int) -> None:
    """Ring on this signal; call it in the worker, after gunicorn has set up its own."""
    global _installed
    _installed = signal.Signals[name]
    faulthandler.register(_installed, file=write_end, all_threads=False, chain=False)


def _remove_in_child() -> None:
    # A child that the application forks shares our pipe: it would ring the parent's bell.
    if _installed is not None:
        faulthandler.unregister(_installed)


os.register_at_fork(after_in_child=_remove_in_child)
