"""A gunicorn worker class for ASGI applications whose event loop is watched.

`gunicorn -k watchdog_worker.Worker app:app` behaves as uvicorn's worker does until the loop
blocks; then the log says which line blocks, seconds before the arbiter kills the worker.
"""

from __future__ import annotations

from watchdog_worker.worker import H11Worker, Worker

__all__ = ["H11Worker", "Worker", "__version__"]

__version__ = "0.1.0.dev0"
