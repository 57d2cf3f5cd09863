"""The sinks of a process, as its settings want them: a worker's, and those of the arbiter's side.

Built before anything is to be told; the threads begin with `Sinks.start`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchdog_worker import kinds, report, settings
from watchdog_worker.model import Report
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.sinks import Keep, Sinks, plain_hook
from watchdog_worker.sinks.files import DumpFolder
from watchdog_worker.sinks.log import Entry, LogSink
from watchdog_worker.vitals.outbox import Outbox


def sinks_of(worker: Any, keep: Keep) -> Sinks:
    """Log, file and hook for what is to be told of this worker."""
    cfg = worker.cfg
    as_json = cfg.watchdog_log_format == "json"

    def entry(told: Report) -> Entry:
        message = json_render.line(told) if as_json else text_render.text(told)
        by = worker.ppid if told.event == report.POST_MORTEM else told.pid
        return Entry(report.level(told), message, {"watchdog": told.to_dict()}, by)

    folder = cfg.watchdog_dump_dir and DumpFolder(
        cfg.watchdog_dump_dir, cfg.watchdog_dump_keep, json_render.line)
    hook = _hook(worker)
    return Sinks(
        LogSink(worker.log.error_log),
        entry,
        keep,
        file=folder.write if folder else None,
        hook=plain_hook(hook, worker) if hook else None,
    )


def kept_in(outbox: Outbox) -> Keep:
    """Keeps reports in a recorder; one that is too long for it without most of its stacks."""
    def keep(told: Report, silent_since: float) -> Callable[[], None]:
        number = outbox.put(json_render.line(told).encode(), silent_since)
        if not number:
            shorter = report.shortened(told)
            number = outbox.put(json_render.line(shorter).encode(), silent_since)
        return lambda: outbox.delivered(number)

    return keep


def unkept(told: Report, silent_since: float) -> Callable[[], None]:
    """Where nobody comes after us who could deliver it."""
    return lambda: None


def _hook(worker: Any) -> Callable[[Any, dict[str, Any]], object] | None:
    try:
        return settings.ON_REPORT.resolve(worker.cfg.watchdog_on_report)
    except kinds.InvalidValue as error:
        worker.log.error("watchdog: watchdog_on_report: %s; reports go without it", error)
        return None
