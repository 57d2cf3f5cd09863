"""How far a worker has got, in words. Known to every room, knows none."""

from __future__ import annotations

WHILE = {
    "boot": "while it booted",
    "startup": "while it started up",
    "serving": "while it served",
    "shutdown": "while it shut down",
    "left": "as it left",
}

BEFORE_LOOP, LOOP_ENDED = "before the loop", "after the loop"
LIFESPAN_STARTUP, LISTENING = "lifespan startup", "listening"
SERVING, DRAIN = "serving", "drain"
LIFESPAN_SHUTDOWN, SERVER_ENDED = "lifespan shutdown", "after the server"
"""The steps of a life: what the server and the watch know for a fact."""
