"""A report as one line of JSON."""

from __future__ import annotations

import json

from watchdog_worker.model import Report


def line(report: Report) -> str:
    """The report of schema 1 on one line; ASCII only, so that nothing in it acts on a terminal."""
    return json.dumps(report.to_dict()).replace("\x7f", "\\u007f")
