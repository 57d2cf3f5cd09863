"""Every way to die, again and again, with a request in flight: is each told, rightly and soon?

    python -m tests.deaths [--repeat 100] [--jobs 4] [--only PART_OF_NAME]

Prints a line for each way. Exits 1 if anything was told wrongly, late, twice or not at all.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.deaths.cases import CASES, Case, die, possible, serving


def run(case: Case, repeat: int) -> bool:
    """Have it happen so often in one gunicorn, and print what came out; whether all was right."""
    if not possible(case):
        print(f"{case.name:32} skipped: no control group with a limit of memory can be made here")
        return True
    took, wrong = [], []
    with tempfile.TemporaryDirectory() as folder, serving(case, Path(folder)) as server:
        for at in range(repeat):
            try:
                told = die(case, server, at)
            except AssertionError as error:
                wrong.append(f"repetition {at}: {error}")
                break
            took.append(told.took_s)
            wrong += [f"repetition {at}: {each}" for each in told.wrong]
    right = len(took) - len({each.partition(":")[0] for each in wrong})
    print(f"{case.name:32} {right} of {repeat} right; told after median "
          f"{statistics.median(took or [0]):.2f} s, at most {max(took, default=0):.2f} s",
          flush=True)
    for each in wrong[:5]:
        print(f"    {each}", flush=True)
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if arguments.only in case.name]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        # The ones that take longest first.
        ordered = sorted(chosen, key=lambda case: case.reason != "timeout")
        results = list(pool.map(lambda case: run(case, arguments.repeat), ordered))
    print(f"{sum(results)} of {len(results)} ways right")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
