"""How much one post-mortem may list, as the settings say. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from watchdog_worker.vitals.recording import KeptRequest

_WEBSOCKETS_MOST = 10
_NEWEST = 10


class Caps(NamedTuple):
    """The settings' own limits."""

    requests: int = 100
    threads: int = 100
    frames: int = 60

    @classmethod
    def of(cls, cfg: Any) -> Caps:
        """Of this gunicorn."""
        return cls(cfg.watchdog_max_requests, cfg.watchdog_max_threads, cfg.watchdog_max_frames)

    def of_requests(
        self, requests: tuple[KeptRequest, ...], blocking: int | None
    ) -> tuple[KeptRequest, ...]:
        """The oldest first. Where not all fit, the one that blocked stays, and the newest few do:
        what has just begun is what a crash comes from."""
        sockets = [each for each in requests if each.method == "websocket"]
        left_out = {each.number for each in sockets[_WEBSOCKETS_MOST:]}
        listed = [each for each in requests
                  if each.number not in left_out or each.number == blocking]
        if len(listed) <= self.requests:
            return tuple(listed)
        newest = min(_NEWEST, self.requests // 2)
        kept = {each.number for each in (*listed[:self.requests - newest], *listed[-newest:])}
        return tuple(each for each in listed
                     if each.number in kept or each.number == blocking)
