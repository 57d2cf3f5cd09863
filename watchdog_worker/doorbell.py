"""The dump signal: rings the monitor's bell from C, whatever the main thread does.

A Python signal handler runs in the main thread only, between two bytecodes: never while a C
call blocks. `faulthandler.register` installs one in C that writes the current traceback to a
descriptor; ours is the monitor's bell, and what it writes is read and thrown away. System calls
of the application are resumed, by the kernel (SA_RESTART) or by Python, and no signal mask
changes, so that child processes start with the mask they would have had.
"""

from __future__ import annotations

import faulthandler
import os
import signal

_installed: signal.Signals | None = None
_handler_before: object = None


def install(name: str, write_end: int) -> None:
    """Ring on this signal; call it in the worker, after gunicorn has set up its own."""
    global _installed, _handler_before
    _installed = signal.Signals[name]
    _handler_before = signal.getsignal(_installed)
    faulthandler.register(_installed, file=write_end, all_threads=False, chain=False)


def _remove_in_child() -> None:
    # A child that the application forks shares our pipe: it would ring the parent's bell. Where
    # the application has put a handler of its own in our place since, it keeps that.
    if _installed is not None and signal.getsignal(_installed) == _handler_before:
        faulthandler.unregister(_installed)


os.register_at_fork(after_in_child=_remove_in_child)
