"""What the ContextVars of a request start from. Runs in the loop thread.

A server starts the task of a request in a copy of whatever context it is in when it has read
the request. As a rule that is the context in which it began to listen; after pipelining, or
after a body that paused the reading, it is the context of another request on that connection.

So the context is held against the start that it should be, value by value and by identity.
`protocol` does so where the server goes on to read in a context that may not be right, and has
it read in a fresh one. `Boundary` does so where the request enters the application: nearly all
run where they are, and one that has come in a wrong context all the same runs in a task of its
own, in a fresh one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from functools import partial
from inspect import iscoroutine, isgenerator
from typing import Any, NamedTuple

from watchdog_worker.vitals.asgi import Application, Receive, Scope, Send
from watchdog_worker.vitals.inflight import Entry, InFlight

STARTUP, EMPTY, INHERIT = "startup", "empty", "inherit"

_MAX_CROSSED = 100
"""So many variables are noted; an application that makes them by the thousand leaks anyway."""

Hook = Callable[[Scope], object]
Factory = Callable[[], object]
Values = dict[ContextVar[Any], Any]
Types = dict[ContextVar[Any], type]
Run = Callable[[], Coroutine[Any, Any, Any]]
_MISSING = object()

_KEPT_FROM: ContextVar[Types | None] = ContextVar("watchdog_kept_from")
"""What the request that is read next would have inherited: it is told when that request enters.

Types and no values: a reader's context lives as long as its connection.
"""


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

    __slots__ = ("baseline", "policy", "renewed", "crossed", "enough", "_bare", "_start",
                 "_plan", "_in_flight", "_say", "_set", "_unset", "_told", "_failed")

    def __init__(
        self, plan: Plan, in_flight: InFlight, say: Callable[[str, BaseException], None]
    ) -> None:
        """Call it in the context in which serving begins: that is the baseline."""
        self.baseline = copy_context()
        self.policy = plan.policy
        self.renewed = frozenset(plan.factories)
        """What is set afresh or unset for every request."""
        self.crossed: deque[Crossed] = deque(maxlen=_MAX_CROSSED)
        """For the monitor to take, each variable once in a worker's life."""
        self._plan, self._in_flight, self._say = plan, in_flight, say
        self._set = {variable: make for variable, make in plan.factories.items() if make}
        self._unset = {variable for variable, make in plan.factories.items() if make is None}
        self._start = self._without_unset({} if plan.policy == EMPTY else self.baseline)
        self._bare = not (self._set or plan.on_start or plan.on_end)
        """Nothing is to be done in a request's context, once it is the right one."""
        simple = self._bare and plan.policy != INHERIT and not self._start
        self.enough = 0 if simple else -1
        """A context of this size needs no second look; -1: every one does."""
        self._told: set[ContextVar[Any]] = set()
        self._failed: set[str] = set()

    @property
    def reads_elsewhere(self) -> bool:
        """Whether no request can start from the context in which the server listens."""
        return not self._is_right(self.baseline)

    def to_read_in(self) -> Context | None:
        """The context in which the server is to read on; None: the one in which it is."""
        context = copy_context()
        if self._is_right(context):
            return None
        fresh = self._fresh(context)
        # Reading may have been resumed in a fresh context that was to tell the same.
        kept: Types | None = context.get(_KEPT_FROM, None)
        inherited = {**(kept or {}), **self._inherited(context)}
        if not self._told.issuperset(inherited):
            fresh.run(_KEPT_FROM.set, inherited)
        return fresh

    def fits(self) -> bool:
        """Whether a request that comes now can run where it is, with nothing to be done."""
        return self._bare and self._is_right(copy_context())

    async def enter(
        self, application: Application, scope: Scope, receive: Receive, send: Send, number: int
    ) -> Any:
        """Run a request whose context does not fit."""
        context = copy_context()
        inherited = context.get(_KEPT_FROM)
        if inherited is not None:
            _KEPT_FROM.set(None)
        right = inherited is not None or self._is_right(context)
        self._tell(inherited or ({} if right else self._inherited(context)), number)
        request = partial(self.run, application, scope, receive, send, number)
        if right:
            return await request()
        return await _in_a_task_of_its_own(self._fresh(context), request)

    async def run(
        self, application: Application, scope: Scope, receive: Receive, send: Send, number: int
    ) -> Any:
        """The request itself, in its own context. The monitor reads `number` in this frame."""
        for variable, make in self._set.items():
            self._attempt(f"watchdog_contextvars, {variable.name}", _renew, variable, make)
        if self._plan.on_start is not None:
            self._attempt("watchdog_on_request_start", self._plan.on_start, scope)
        try:
            return await application(scope, receive, send)
        finally:
            if self._plan.on_end is not None:
                self._attempt("watchdog_on_request_end", self._plan.on_end, scope)

    def _is_right(self, context: Context) -> bool:
        if self.policy == INHERIT:
            return self._unset.isdisjoint(context)
        # By identity: `==` would run foreign code, and take another's empty dict for our own.
        if len(context) != len(self._start):
            return False
        for variable, value in self._start.items():
            if context.get(variable, _MISSING) is not value:
                return False
        return True

    def _fresh(self, context: Context) -> Context:
        """A context that nobody else has, for a request that comes in this one."""
        start = self._without_unset(context) if self.policy == INHERIT else self._start
        if len(start) == len(self.baseline) and self.policy == STARTUP:
            return self.baseline.copy()
        # A context has no "unset": a variable can only be left out of a new one.
        fresh = Context()
        for variable, value in start.items():
            fresh.run(variable.set, value)
        return fresh

    def _without_unset(self, values: Mapping[ContextVar[Any], Any]) -> Values:
        return {variable: value for variable, value in values.items()
                if variable not in self._unset}

    def _inherited(self, context: Context) -> Types:
        """What a request would get from this context that another request has left there."""
        if self.policy == INHERIT or len(self._told) >= _MAX_CROSSED:
            return {}
        return {
            variable: type(value) for variable, value in context.items()
            if variable not in self._told and variable not in self.renewed
            and variable is not _KEPT_FROM
            and self.baseline.get(variable, _MISSING) is not value}

    def _tell(self, inherited: Types, number: int) -> None:
        for variable, kind in inherited.items():
            if variable not in self._told and len(self._told) < _MAX_CROSSED:
                self._told.add(variable)
                request = Entry(number, *self._in_flight.requests[number])
                self.crossed.append(Crossed(variable, kind, request))

    def _attempt(self, name: str, do: Callable[..., object], *arguments: object) -> None:
        """Run foreign code whose failure is said once and costs the request nothing."""
        try:
            result = do(*arguments)
            if result is not None and (iscoroutine(result) or isgenerator(result)):
                result.close()
                raise TypeError("it is to be a plain function, and gave something to await")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may call sys.exit, which ends no worker
            if name not in self._failed:
                self._failed.add(name)
                self._say(name, error)


def _renew(variable: ContextVar[Any], make: Factory) -> object:
    value = make()
    if iscoroutine(value):
        return value
    variable.set(value)
    return None


async def _in_a_task_of_its_own(context: Context, request: Run) -> Any:
    """Run it in this context; it is cancelled and fails as if it ran here.

    Not with `create_task(context=...)`: CPython 3.10 lacks it, and so may a task factory.
    """
    ended: list[BaseException] = []
    result = await context.run(
        asyncio.get_running_loop().create_task, _caught(request, ended))
    if ended:
        raise ended.pop()
    return result


async def _caught(request: Run, ended: list[BaseException]) -> Any:
    """A task that ends with SystemExit or KeyboardInterrupt throws it out of the loop; in the
    server's own task, it would have been caught."""
    try:
        return await request()
    except (SystemExit, KeyboardInterrupt) as error:
        ended.append(error)
        return None


CODE = Contexts.run.__code__
"""By this a frame of a request in its own context is known."""
