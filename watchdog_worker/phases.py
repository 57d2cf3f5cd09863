"""What a worker was at when it died, in words. Known to every room, knows none."""

from __future__ import annotations

WHILE = {
    "boot": "while it booted",
    "startup": "while it started up",
    "serving": "while it served",
    "shutdown": "while it shut down",
    "left": "as it left",
}
