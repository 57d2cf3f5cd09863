"""gunicorn's server hooks through which we hear of workers' beginnings and ends.

They are put before the user's own, which run as ever. Arbiter, main thread; before gunicorn 25 in
the middle of whatever it was doing, as a signal handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import watchdog_worker
from watchdog_worker.ownthread import words
from watchdog_worker.postmortem.ending import is_stopping, status_from_halt, status_in_caller
from watchdog_worker.postmortem.registry import Registry


class ChildExit:
    """`child_exit(server, worker)`: a worker has been reaped."""

    def __init__(self, registry: Registry, theirs: Callable[[Any, Any], object]) -> None:
        self._registry, self._theirs = registry, theirs

    def __call__(self, server: Any, worker: Any) -> None:
        try:
            self._registry.reaped(worker, status_in_caller(worker.pid), is_stopping())
        except Exception as error:
            server.log.error("watchdog: no post-mortem of worker %s: %s", worker.pid, words(error))
        self._theirs(server, worker)


class PostFork:
    """`post_fork(server, worker)`: in the worker, before anything else is done there."""

    def __init__(self, theirs: Callable[[Any, Any], object]) -> None:
        self._theirs = theirs

    def __call__(self, server: Any, worker: Any) -> None:
        try:
            worker.forked()
        except Exception as error:
            server.log.error("watchdog: %s", words(error))
        self._theirs(server, worker)


class OnExit:
    """`on_exit(server)`: the arbiter is about to end."""

    def __init__(self, registry: Registry, theirs: Callable[[Any], object]) -> None:
        self._registry, self._theirs = registry, theirs

    def __call__(self, server: Any) -> None:
        try:
            self._registry.ending(status_from_halt())
        except Exception as error:
            server.log.error("watchdog: %s", words(error))
        self._theirs(server)


def registry(worker_class: Any) -> Registry:
    """The one of this arbiter, made when it is first asked for."""
    if worker_class.recorders is None:
        worker_class.recorders = Registry(watchdog_worker.__version__)
    found: Registry = worker_class.recorders
    return found


def install(cfg: Any, recorders: Registry) -> None:
    """Put the hooks into a config, once; HUP brings a new one."""
    if not isinstance(cfg.child_exit, ChildExit):
        cfg.set("child_exit", ChildExit(recorders, cfg.child_exit))
        cfg.set("post_fork", PostFork(cfg.post_fork))
        cfg.set("on_exit", OnExit(recorders, cfg.on_exit))
