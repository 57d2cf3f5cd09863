"""Kill after kill on a busy machine: is the dump there before each, and is it right?

    python -m tests.bench.kills [--kills 50] [--timeout 6]

Both cores are kept busy by other processes. Prints a line a kill and a sum; exits 1 if one
dump was missing, late or wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests import stall_case


def burn() -> None:
    """Keep one core busy until killed."""
    while True:
        sum(range(10_000))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--timeout", type=int, default=6)
    arguments = parser.parse_args()
    burners = [multiprocessing.Process(target=burn, daemon=True)
               for _ in range(os.cpu_count() or 1)]
    for burner in burners:
        burner.start()
    try:
        outcomes = [_one(at, arguments.timeout) for at in range(arguments.kills)]
    finally:
        for burner in burners:
            burner.kill()
            burner.join()
    right = sum(outcome is not None and outcome.right for outcome in outcomes)
    told = [outcome for outcome in outcomes if outcome is not None]
    leads = [outcome.lead_s for outcome in told]
    offs = [abs(outcome.deadline_off_s) for outcome in told]
    print(f"{right} of {len(outcomes)} kills had a dump that was in time and right; "
          f"{len(burners)} busy processes beside")
    if told:
        print(f"dump before WORKER TIMEOUT: median {statistics.median(leads):.2f} s, least "
              f"{min(leads):.2f} s, most {max(leads):.2f} s")
        print(f"kill_in_s off the arbiter's deadline: median {statistics.median(offs):.3f} s, "
              f"most {max(offs):.3f} s")
    return 0 if right == len(outcomes) else 1


def _one(at: int, timeout: int) -> stall_case.Outcome | None:
    stalls = list(stall_case.LINES)
    stall = stalls[at % len(stalls)]
    # Shifted by one each time round, so that every stall meets every pair.
    pair = stall_case.PAIRS[(at + at // len(stalls)) % len(stall_case.PAIRS)]
    try:
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            outcome = stall_case.run(Path(folder), stall, pair, timeout)
    except AssertionError as error:
        print(f"{at + 1:3} {stall:10} {pair:16} FAILED: {error}", flush=True)
        return None
    print(f"{at + 1:3} {stall:10} {pair:16} {'right' if outcome.right else 'WRONG'} "
          f"lead {outcome.lead_s:5.2f} s, deadline off {outcome.deadline_off_s:+.3f} s",
          flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
