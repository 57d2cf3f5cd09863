"""`python -m watchdog_worker` is `watchdog-worker`."""

from __future__ import annotations

import sys

from watchdog_worker.cli import main

if __name__ == "__main__":
    sys.exit(main())
