"""A process kept from its processor by its control group, as a CPU limit does it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_PERIOD_US, _QUOTA_US = 100_000, 5_000


def possible() -> bool:
    """Whether this machine lets us make such a group."""
    return os.geteuid() == 0 and (
        (_V1 / "cpu.cfs_quota_us").exists() and os.access(_V1, os.W_OK)
        or (_V2 / "cgroup.controllers").exists() and os.access(_V2, os.W_OK))


@contextlib.contextmanager
def throttled(pid: int) -> Iterator[None]:
    """For so long this process gets a twentieth of a processor."""
    if (_V1 / "cpu.cfs_quota_us").exists():
        root, limits = _V1, {"cpu.cfs_period_us": str(_PERIOD_US),
                             "cpu.cfs_quota_us": str(_QUOTA_US)}
    else:
        root, limits = _V2, {"cpu.max": f"{_QUOTA_US} {_PERIOD_US}"}
    group = root / f"watchdog-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(value)
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(OSError):
            (root / "cgroup.procs").write_text(str(pid))
        group.rmdir()
