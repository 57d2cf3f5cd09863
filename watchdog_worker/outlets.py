"""The sinks of a process, as its settings want them: a worker's, and those of the arbiter's side.

Built before anything is to be told; the threads begin with `Sinks.start`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from watchdog_worker import kinds, report, settings
from watchdog_worker.model import Report
from watchdog_worker.render import json as json_render
from watchdog_worker.render import text as text_render
from watchdog_worker.sinks import Keep, Sinks
from watchdog_worker.sinks.files import DumpFolder
from watchdog_worker.sinks.log import Entry, LogSink
from watchdog_worker.vitals.outbox import Outbox


def sinks_of(worker: Any, keep: Keep, hook: UsersHook | None) -> Sinks:
    """Log, file and hook for what is to be told of this worker."""
    cfg = worker.cfg
    as_json = cfg.watchdog_log_format == "json"

    def entry(told: Report) -> Entry:
        message = json_render.line(told) if as_json else text_render.text(told)
        by = worker.ppid if told.event == report.POST_MORTEM else told.pid
        return Entry(report.level(told), message, {"watchdog": told.to_dict()}, by)

    folder = cfg.watchdog_dump_dir and DumpFolder(
        cfg.watchdog_dump_dir, cfg.watchdog_dump_keep, json_render.line)
    return Sinks(
        LogSink(worker.log.error_log),
        entry,
        keep,
        file=folder.write if folder else None,
        hook=hook,
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


class UsersHook:
    """The user's `watchdog_on_report` as a sink: it gets the report as a dict of schema 1.

    Where it is only named, it is imported when `resolve` is called, or with the first report.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._once = threading.Lock()
        self._resolved = False
        self._hook: Callable[[Any, dict[str, Any]], object] | None = None

    def resolve(self) -> None:
        """Import it now; what is wrong with it is said in the log."""
        self._resolve()

    def __call__(self, told: Report) -> None:
        hook = self._resolve()
        if hook is not None:
            hook(self._worker, told.to_dict())

    def _resolve(self) -> Callable[[Any, dict[str, Any]], object] | None:
        """Once, whichever thread comes first: the other waits for it, as for any import."""
        with self._once:
            if not self._resolved:
                self._hook = self._imported()
                self._resolved = True
            return self._hook

    def _imported(self) -> Callable[[Any, dict[str, Any]], object] | None:
        try:
            return settings.ON_REPORT.resolve(self._worker.cfg.watchdog_on_report)
        except kinds.InvalidValue as error:
            self._worker.log.error(
                "watchdog: watchdog_on_report: %s; reports go without it", error)
            return None


def hook_of(worker: Any) -> UsersHook | None:
    """None where the user has none."""
    return UsersHook(worker) if worker.cfg.watchdog_on_report is not None else None
