"""A gunicorn worker class for ASGI applications whose event loop is watched.

`gunicorn -k watchdog_worker.Worker app:app` behaves as uvicorn's worker does until the loop
blocks; then the log says which line blocks, seconds before the arbiter kills the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["H11Worker", "Worker", "__version__"]

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from watchdog_worker.worker import H11Worker, Worker
else:
    def __getattr__(name: str) -> type:
        """The worker classes, imported when they are asked for: commands do without gunicorn."""
        if name in ("H11Worker", "Worker"):
            from watchdog_worker import worker

            return getattr(worker, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
