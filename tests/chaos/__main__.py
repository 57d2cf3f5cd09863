"""A service that is hurt in every way there is, under load; and what was told of it, judged.

    python -m tests.chaos [--seconds 600] [--seed N] [--workers 2..4] [--judge FOLDER]

The same seed does the same at the same times. `--judge` reads the folder of an earlier run again.
Prints each check, and exits 1 if anything is wrong; the folder with log and dumps is kept then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import forgery, story, verdict
from tests.chaos.scene import Scene, Setting
from tests.lifecycle.case import OURS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--workers", default="2..4", help="from so many to so many")
    parser.add_argument("--worker-class", default=OURS)
    parser.add_argument("--judge", type=Path, help="the folder of an earlier run")
    parser.add_argument("--keep", action="store_true", help="the folder, in any case")
    parser.add_argument("--all", action="store_true", help="print all that is wrong")
    arguments = parser.parse_args()
    least, most = map(int, arguments.workers.split(".."))
    setting = Setting(
        arguments.seconds, arguments.seed, least, most, arguments.worker_class)
    folder = arguments.judge or _run(setting)
    fine = _tell(folder, 10_000 if arguments.all else 5)
    if arguments.judge is None and fine and not arguments.keep:
        shutil.rmtree(folder)
    else:
        print(f"log and dumps are in {folder}")
    return 0 if fine else 1


def _run(setting: Setting) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {setting.seed}, {setting.seconds:g} s, {setting.least} to {setting.most} workers "
          f"of {setting.worker}, in {folder}", flush=True)
    began = time.monotonic()
    Scene(folder, setting).run()
    print(f"done after {time.monotonic() - began:.0f} s", flush=True)
    return folder


def _tell(folder: Path, most: int) -> bool:
    """Print the verdict, and whether it can be trusted; whether all is well."""
    happened = story.read(folder)
    print(f"faults: {verdict.faults(happened)}")
    checks = verdict.judged(happened)
    checks.append(forgery.check(happened, checks))
    for check in checks:
        print(verdict.shown(check, most))
    wrong = sum(bool(check.wrong) for check in checks)
    print(f"{len(checks) - wrong} of {len(checks)} checks OK")
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
