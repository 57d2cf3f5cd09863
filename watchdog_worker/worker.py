"""The worker class: gunicorn's and uvicorn's overrides, and the wiring of our parts."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from watchdog_worker import plan, settings
from watchdog_worker.birth import arbiter, birth
from watchdog_worker.ownthread import words
from watchdog_worker.server import WatchedServer
from watchdog_worker.vitals.context import INHERIT

if TYPE_CHECKING:
    from watchdog_worker.postmortem.registry import Registry
    from watchdog_worker.vitals.recorder import RecorderFile
    from watchdog_worker.watch import Watch


class Worker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's gunicorn worker with a watchdog for its event loop.

    `gunicorn -k watchdog_worker.Worker app:app`; settings are `watchdog_*` names in the gunicorn
    config file. With `watchdog_enabled = False` it is a plain UvicornWorker.
    """

    _last_good: ClassVar[dict[str, Any]] = {}
    """The settings of the last config that was right; lives in the arbiter."""

    watch: Watch | None = None
    """What watches this worker; None in the arbiter and while it is switched off."""

    reloaded: ClassVar[bool] = False
    """The config has come with a HUP; lives in the arbiter, and so in the workers after it."""

    recorders: ClassVar[Registry | None] = None
    """The flight recorders of all workers; lives in the arbiter."""

    recorder_file: RecorderFile | None = None
    """This worker's own; None where none could be had."""

    _forked = False

    notifications = 0
    """How often this worker has notified the arbiter."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Arbiter, first start: adopt the settings. Raises RuntimeError, gunicorn's clean end."""
        try:
            cls._last_good, warnings = settings.adopt(cfg)
        except settings.SettingsError as error:
            raise RuntimeError(str(error)) from None
        for warning in warnings:
            log.warning("watchdog: %s", warning)
        if cfg.watchdog_enabled:
            # Now that it is known to be needed: once, before the fork, for all workers.
            importlib.import_module("watchdog_worker.watch")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Arbiter, before every fork; the first worker after HUP brings a config to adopt."""
        super().__init__(*args, **kwargs)
        if not settings.adopted(self.cfg):
            self._adopt_reloaded()
        if self.cfg.watchdog_enabled:
            birth.expect()
            if self.cfg.watchdog_context_policy != INHERIT:
                self.config.reset_contextvars = False  # it would stand in the way
        if self.cfg.watchdog_enabled or Worker.recorders is not None:
            self._keep_recorders()

    def _keep_recorders(self) -> None:
        """Where HUP has switched the watchdog off, those who still have one are looked after."""
        try:
            from watchdog_worker.postmortem import hooks

            registry = hooks.registry(Worker)
            hooks.install(self.cfg, registry)
            if self.cfg.watchdog_enabled:
                self.recorder_file = registry.open(self)
            else:
                registry.look_after()
        except Exception as error:  # the arbiter must live
            self.log.error("watchdog: no flight recorder can be kept: %s", words(error))

    def _adopt_reloaded(self) -> None:
        cls = type(self)
        cls.reloaded = True
        try:
            cls._last_good, _ = settings.adopt(self.cfg)
        except Exception as error:  # whatever it is, the arbiter must live
            reason = error if isinstance(error, settings.SettingsError) else words(error)
            self.log.error("watchdog: %s; all watchdog settings stay as they were", reason)
            settings.insert(self.cfg, cls._last_good)

    def notify(self) -> None:
        """Worker process: touch the file that the arbiter looks at. May raise.

        Not in a process that the application has forked: its parent's life is not its to tell of.
        """
        if os.getpid() == self.pid:
            super().notify()
            self.notifications += 1

    def forked(self) -> None:
        """Worker process, right after the fork: begin to watch."""
        self._forked = True
        if Worker.recorders is not None:
            Worker.recorders.forked(self)
        if self.cfg.watchdog_enabled:
            self._begin_watch()

    def init_signals(self) -> None:
        """Worker process: uvicorn's worker leaves them at their defaults until the loop runs."""
        super().init_signals()
        if self.watch is not None:
            self.watch.leaving.install()

    def load_wsgi(self) -> None:
        """Worker process: import the application, under watch."""
        if not self._forked:  # gunicorn's hook could not be had
            self.forked()
        if self.watch is not None:
            self._settle_in(self.watch)
        try:
            self._leave_if_asked()
            super().load_wsgi()
        except Exception:
            # What was raised to leave may have become an error on its way through the import:
            # gunicorn would take it for a boot that has failed, and end everything.
            self._leave_if_asked()
            raise
        if getattr(self.wsgi, "__module__", "") == "gunicorn.util":
            # The page about a SyntaxError that gunicorn serves under `--reload`, until the file is
            # mended: a WSGI application.
            self.config.interface, self.config.lifespan = "wsgi", "off"
        if self.watch is not None:
            self.watch.loaded()
            self._plan_requests()

    def _leave_if_asked(self) -> None:
        if self.watch is not None and self.watch.leaving.asked_at is not None:
            sys.exit(self.watch.leaving.status)

    def _begin_watch(self) -> None:
        try:
            from watchdog_worker.watch import Watch

            watch = Watch(self, arbiter(), birth.at)
            watch.start()
            self.watch = watch
        except Exception as error:  # an unwatched worker is better than none
            self.log.error("watchdog: could not start, the worker serves without: %s",
                           words(error))

    def _settle_in(self, watch: Watch) -> None:
        try:
            watch.settle_in()
        except Exception as error:
            self.log.error("watchdog: signals are not all watched: %s", words(error))

    def _plan_requests(self) -> None:
        """With a wrong setting, none of the first workers starts; a later one does without.

        A service that has been running is not ended by it, but told.
        """
        assert self.watch is not None
        self.watch.requests.plan, problems = plan.read(self.cfg)
        self._leave_if_asked()
        first = not self.reloaded and self.age <= self.cfg.workers
        for problem in problems:
            self.log.error(
                "watchdog: %s%s", problem, "" if first else "; requests go without it")
        if problems and first:
            sys.exit(Arbiter.APP_LOAD_ERROR)

    async def _serve(self) -> None:
        if self.watch is None:
            await super()._serve()
            return
        self.watch.heartbeat.start(asyncio.get_running_loop())
        self.config.app = self.wsgi
        server = WatchedServer(config=self.config)
        server.watch = self.watch
        self.watch.leaving.server = server
        self.watch.life.server = server
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def run(self) -> None:
        """Worker process: run the loop until the server has ended."""
        try:
            super().run()
        except asyncio.CancelledError:
            if self.watch is None or self.watch.leaving.asked_at is None:
                raise
            sys.exit(self.watch.leaving.status)  # it has given up to start
        finally:
            if self.watch is not None:
                self.watch.loop_ended()


class H11Worker(Worker):
    """The same on asyncio's own loop and the h11 parser, in pure Python."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "asyncio", "http": "h11"}
