"""Every stall of the matrix, run for real: is the cause right, the line, what it waits for?

    python -m tests.causes [--only PART] [--jobs 4] [--show] [--record]

Prints a line a case and the shares. Exits 1 if fewer than 95 % of the causes are right, or one is
wrong: `unknown` is allowed in the rest. What this machine lacks is skipped by name.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.causes import counterparts, matrix
from tests.causes.cases import CASES, Case
from tests.causes.record import record
from tests.causes.throttle import possible
from tests.stall_case import PAIRS

_SHARE = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=4, help="waiting cases run so many at a time")
    parser.add_argument("--record", action="store_true", help="renew tests/recorded")
    parser.add_argument("--show", action="store_true", help="print each report's headline")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if arguments.only in case.name]
    with tempfile.TemporaryDirectory(prefix="causes-") as name:
        folder = Path(name)
        with counterparts.all_of_them(folder) as found:
            lacking = {case: _lacking(case, found) for case in chosen}
            runs = [case for case in chosen if not lacking[case]]

            def one(case: Case) -> matrix.Outcome:
                own = folder / case.name
                own.mkdir()
                outcome = _one(case, own, found)
                _print(outcome, arguments.show)
                if arguments.record:
                    record(outcome, own, found)
                return outcome

            with ThreadPoolExecutor(arguments.jobs) as pool:
                outcomes = list(pool.map(one, (case for case in runs if not case.alone)))
            outcomes += [one(case) for case in runs if case.alone]
    for case in chosen:
        if lacking[case]:
            print(f"skipped  {case.name}: this machine lacks {', '.join(lacking[case])}")
    return _sum(outcomes)


def _lacking(case: Case, found: dict[str, str]) -> list[str]:
    lacking = counterparts.missing(case.needs, found)
    if case.done == "throttle" and not possible():
        lacking.append("a cgroup to write to")
    return lacking


def _one(case: Case, folder: Path, found: dict[str, str]) -> matrix.Outcome:
    try:
        return matrix.run(case, folder, PAIRS[CASES.index(case) % len(PAIRS)], found)
    except AssertionError as error:
        print(f"FAILED   {case.name}: {error}", flush=True)
        return matrix.Outcome(case, [], cause=False, line=False, waits=False)


def _print(outcome: matrix.Outcome, show: bool) -> None:
    case, told = outcome.case, [report["diagnosis"] for report in outcome.reports]
    word = "right" if outcome.right else "WRONG" if outcome.wrong else "missed"
    causes = ", ".join(sorted({str(each.get("cause")) for each in told})) or "no report"
    print(f"{word:8} {case.name:36} {causes:14} line {_yes(outcome.line)}, "
          f"waits for {_yes(outcome.waits)}", flush=True)
    if show or not outcome.right:
        for report in outcome.reports:
            print(f"         {report['headline']}")
            print(f"         waits for: {report['diagnosis'].get('waits_for')}")
            for sentence in report["diagnosis"].get("evidence", ()):
                print(f"         {sentence}")


def _yes(right: bool) -> str:
    return "right" if right else "WRONG"


def _sum(outcomes: list[matrix.Outcome]) -> int:
    count = len(outcomes)
    right = {what: sum(getattr(outcome, what) for outcome in outcomes)
             for what in ("cause", "line", "waits")}
    wrong = [outcome.case.name for outcome in outcomes if outcome.wrong]
    print(f"\n{count} real stalls: cause right in {right['cause']}, line in {right['line']}, what "
          f"it waits for in {right['waits']}; wrong causes: {', '.join(wrong) or 'none'}")
    return 0 if count and right["cause"] >= _SHARE * count and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
