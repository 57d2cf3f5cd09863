"""uvicorn's HTTP protocols, made to read the next request in a context that is right.

Runs in the loop thread. The server starts a request's task where it has read the request, and
its own lines about it (the access log, "Exception in ASGI application") come from there too: so
it is here that the context has to be right, and not only inside the application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchdog_worker.vitals.context import Contexts


def isolated(protocol: Any, contexts: Contexts, on_uvloop: bool) -> Any:
    """A subclass of this protocol class; itself if it is not made as uvicorn's are.

    A response that is complete, with the next request waiting, goes on to that request in the
    context of the one that has just been answered. On asyncio, a body that paused the reading
    has it resumed in the context of its request; uvloop reads on in that of the connection.
    """
    if not (hasattr(protocol, "on_response_complete") and hasattr(protocol, "data_received")):
        return protocol

    complete, receive = protocol.on_response_complete, protocol.data_received

    def read_on(go_on: Callable[..., None], *arguments: Any) -> None:
        context = contexts.to_read_in()
        if context is None:
            go_on(*arguments)
        else:
            context.run(go_on, *arguments)

    class Isolated(protocol):  # type: ignore[misc]
        def on_response_complete(self, *arguments: Any) -> None:
            try:
                waiting = self.pipeline
            except AttributeError:  # only httptools' protocol knows whether a request waits
                waiting = True
            if waiting:
                read_on(complete, self, *arguments)
            else:
                complete(self, *arguments)

    class ReadsIsolated(Isolated):
        def data_received(self, data: bytes) -> None:
            read_on(receive, self, data)

    made = Isolated if on_uvloop and not contexts.reads_elsewhere else ReadsIsolated
    made.__name__, made.__qualname__ = protocol.__name__, protocol.__qualname__
    return made
