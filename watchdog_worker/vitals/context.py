"""What the ContextVars of a request start from. Runs in the loop thread.

A server starts the task of a request in a copy of whatever context it is in when it has read
the request. As a rule that is the context in which it began to listen; after pipelining, or
after a body that paused the reading, it is the context of another request on that connection.

So each request's context is held against the baseline, value by value and by identity. Nearly
all are the same, and run where they are; one that differs runs in a task of its own, in a fresh
context.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, NamedTuple

from watchdog_worker.vitals.asgi import Application, Receive, Scope, Send
from watchdog_worker.vitals.inflight import Entry, InFlight

STARTUP, EMPTY, INHERIT = "startup", "empty", "inherit"

_MAX_CROSSED = 200
"""So many variables are told of; an application that makes them by the thousand leaks anyway."""

Hook = Callable[[Scope], object]
Factory = Callable[[], object]
Run = Callable[[], Coroutine[Any, Any, None]]
_MISSING = object()


class Crossed(NamedTuple):
    """A variable that a request would have seen with another request's value."""

    variable: ContextVar[Any]
    type: type
    request: Entry
    """The one that would have seen it."""


class Plan(NamedTuple):
    """What is to be done with the contexts of all requests."""

    policy: str = STARTUP
    factories: Mapping[ContextVar[Any], Factory | None] = {}
    """Values to set afresh for every request; None: the variable is to be unset."""
    on_start: Hook | None = None
    on_end: Hook | None = None

    @property
    def idle(self) -> bool:
        """Nothing is to be done at all."""
        return self == Plan(INHERIT)


class Contexts:
    """Gives every request the context that it is to start from.

    `say` gets the first failure of each hook and factory, in words; it may not block.
    """

    __slots__ = ("baseline", "shows_baseline", "renewed", "crossed", "enough", "_values",
                 "_special", "_plan", "_in_flight", "_say", "_set", "_unset", "_told", "_failed")

    def __init__(
        self, plan: Plan, in_flight: InFlight, say: Callable[[str, BaseException], None]
    ) -> None:
        """Call it in the context in which serving begins: that is the baseline."""
        self.baseline = copy_context()
        self.shows_baseline = plan.policy != EMPTY
        self.renewed = frozenset(plan.factories)
        """What is set afresh or unset for every request."""
        self.crossed: deque[Crossed] = deque(maxlen=_MAX_CROSSED)
        """For the monitor to take, each variable once in a worker's life."""
        self._values = tuple(self.baseline.items())
        self._special = plan != Plan()
        """A request needs more than a look at the context in which it comes."""
        self.enough = -1 if self._special or self._values else 0
        """A context of this size needs no second look; -1: every one does."""
        self._plan, self._in_flight, self._say = plan, in_flight, say
        self._set = {variable: make for variable, make in plan.factories.items() if make}
        self._unset = {variable for variable, make in plan.factories.items() if make is None}
        self._told: set[ContextVar[Any]] = set()
        self._failed: set[str] = set()

    def fits(self) -> bool:
        """Whether a request that comes now can run where it is, with nothing to be done."""
        return not self._special and self._is_baseline(copy_context())

    def _is_baseline(self, context: Context) -> bool:
        # By identity: `==` would run foreign code, and take another's empty dict for our own.
        if len(context) != len(self._values):
            return False
        for variable, value in self._values:
            if context.get(variable, _MISSING) is not value:
                return False
        return True

    async def enter(
        self, application: Application, scope: Scope, receive: Receive, send: Send, number: int
    ) -> None:
        """Run a request whose context does not fit."""
        context, policy = copy_context(), self._plan.policy
        is_baseline = self._is_baseline(context)
        if policy != INHERIT and not is_baseline:
            self._note_crossed(context, number)
        if policy == EMPTY:  # uvicorn has seen to it, but for WebSockets
            here = not len(context)
        else:
            here = (policy == INHERIT or is_baseline) and self._unset.isdisjoint(context)
        request = partial(self.run, application, scope, receive, send, number)
        await (request() if here else _in_a_task_of_its_own(self._fresh(), request))

    async def run(
        self, application: Application, scope: Scope, receive: Receive, send: Send, number: int
    ) -> None:
        """The request itself, in its own context. The monitor reads `number` in this frame."""
        for variable, make in self._set.items():
            self._attempt(f"watchdog_contextvars, {variable.name}", _renew, variable, make)
        if self._plan.on_start is not None:
            self._attempt("watchdog_on_request_start", self._plan.on_start, scope)
        try:
            await application(scope, receive, send)
        finally:
            if self._plan.on_end is not None:
                self._attempt("watchdog_on_request_end", self._plan.on_end, scope)

    def _fresh(self) -> Context:
        """A context that nobody else has."""
        if self._plan.policy == EMPTY:
            return Context()
        start = self.baseline if self._plan.policy == STARTUP else copy_context()
        if self._unset.isdisjoint(start):
            return start.copy()
        # A context has no "unset": a variable can only be left out of a new one.
        fresh = Context()
        for variable, value in start.items():
            if variable not in self._unset:
                fresh.run(variable.set, value)
        return fresh

    def _attempt(self, name: str, do: Callable[..., object], *arguments: object) -> None:
        """Run foreign code whose failure is said once and costs the request nothing."""
        try:
            do(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may call sys.exit, which ends no worker
            if name not in self._failed:
                self._failed.add(name)
                self._say(name, error)

    def _note_crossed(self, context: Context, number: int) -> None:
        """What this request would have inherited that it was not to see."""
        for variable, value in context.items():
            if (variable in self._told or variable in self.renewed
                    or len(self._told) >= _MAX_CROSSED):
                continue
            if self.baseline.get(variable, _MISSING) is not value:
                self._told.add(variable)
                request = Entry(number, *self._in_flight.requests[number])
                self.crossed.append(Crossed(variable, type(value), request))


def _renew(variable: ContextVar[Any], make: Factory) -> None:
    variable.set(make())


async def _in_a_task_of_its_own(context: Context, request: Run) -> None:
    """Run it in this context; it is cancelled and fails as if it ran here.

    Not with `create_task(context=...)`: CPython 3.10 lacks it, and so may a task factory.
    """
    ended: list[BaseException] = []
    await context.run(asyncio.get_running_loop().create_task, _caught(request, ended))
    if ended:
        raise ended[0]


async def _caught(request: Run, ended: list[BaseException]) -> None:
    """A task that ends with SystemExit or KeyboardInterrupt throws it out of the loop; in the
    server's own task, it would have been caught."""
    try:
        await request()
    except (SystemExit, KeyboardInterrupt) as error:
        ended.append(error)


CODE = Contexts.run.__code__
"""By this a frame of a request in its own context is known."""
