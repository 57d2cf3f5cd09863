"""What the kernel says of the threads in a picture. Runs in the monitor thread."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from watchdog_worker.capture import filelocks, osthreads, process
from watchdog_worker.capture.stacks import RawStack, RawThread

_KERNEL_S = 0.2
_FILE_DATABASES = "sqlite3."


def views(threads: Sequence[RawThread]) -> dict[int, osthreads.KernelView]:
    """The loop thread's view always, the others' as far as the time goes; by ident.

    Each file read gives up the GIL; beside a thread that computes without pause it comes back
    only after a switch interval, so a hundred threads could cost seconds.
    """
    found: dict[int, osthreads.KernelView] = {}
    deadline = monotonic() + _KERNEL_S
    for thread in threads:
        if thread.native_id is not None and (thread.loop or monotonic() < deadline):
            found[thread.id] = osthreads.look(thread.native_id)
    return found


def file_lock(own: RawStack | None) -> str | None:
    """The file that a database asks for in vain: neither frames nor /proc/<tid> tell of it."""
    asks = own is not None and (own.frames[-1].calls or "").startswith(_FILE_DATABASES)
    return filelocks.locked_database() if asks else None


def behind_pipe(view: osthreads.KernelView | None) -> osthreads.KernelView | None:
    """The same view with the child process behind its pipe."""
    wait = view.wait if view is not None else None
    if view is None or wait is None or not (wait.target or "").startswith("pipe:"):
        return view
    reads = (wait.syscall or "").startswith(("read", "poll", "ppoll", "select", "pselect"))
    target = process.other_end(wait.target or "", reads) or wait.target
    return view._replace(wait=wait._replace(target=target))
