"""A process that only looks at the machine: where that is to blame, no worker is.

    python -m tests.chaos.control FILE

Appends a line `late since until` (time of day) for each time in which it could not run itself, and
`busy since until` where more was ready to run than there are processors for; until it is ended.
"""

from __future__ import annotations

import os
import sys
import time

LATE_S = 0.2
_SLEEP_S = 0.02
_WINDOW_S = 0.5
_BUSY = 1.25


def main(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    processors = os.cpu_count() or 1
    last = window = time.time()
    ready = list[int]()
    while True:
        time.sleep(_SLEEP_S)
        now = time.time()
        ready.append(runnable())
        if now - last > LATE_S:
            os.write(file, f"late {last:.6f} {now:.6f}\n".encode())
        if now - window > _WINDOW_S:
            if sum(ready) / len(ready) > _BUSY * processors:
                os.write(file, f"busy {window:.6f} {now:.6f}\n".encode())
            window, ready = now, []
        last = now


def runnable() -> int:
    """How many others could run now."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[0]) - 1


if __name__ == "__main__":
    main(sys.argv[1])
