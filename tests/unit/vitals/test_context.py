"""What a request's context starts from, policy by policy, without a server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest

from watchdog_worker.vitals.boundary import Boundary
from watchdog_worker.vitals.context import Contexts, Plan
from watchdog_worker.vitals.heartbeat import Heartbeat
from watchdog_worker.vitals.inflight import InFlight

user: ContextVar[Any] = ContextVar("user")
boot: ContextVar[Any] = ContextVar("boot")


class Fixture:
    """A boundary around an application, both begun in a context where `boot` is set."""

    def __init__(self, plan: Plan, application: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await application()

        self.said: list[str] = []
        self.in_flight = InFlight()
        self.baseline = Context()
        self.baseline.run(boot.set, "boot")
        self.contexts = self.baseline.run(Contexts, plan, self.in_flight, self._say)
        self.boundary = Boundary(
            app, Heartbeat(0.5, lambda: None, lambda error: None), self.in_flight, self.contexts)

    def _say(self, name: str, error: BaseException) -> None:
        self.said.append(f"{name}: {error}")

    def request(self, context: Context, kind: str = "http") -> asyncio.Task[None]:
        """One that the server starts in a copy of `context`."""
        return context.run(asyncio.ensure_future, self.boundary(
            {"type": kind, "path": "/"}, None, None))  # type: ignore[arg-type]

    @property
    def foreign(self) -> Context:
        """The context of another request."""
        context = self.baseline.copy()
        context.run(user.set, "other")
        return context


def run(main: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(main)


def seen() -> tuple[Any, Any]:
    return user.get(None), boot.get(None)


@pytest.mark.parametrize("policy, clean, foreign", [
    ("startup", (None, "boot"), (None, "boot")),
    ("inherit", (None, "boot"), ("other", "boot")),
    ("empty", (None, None), (None, None)),
])
def test_what_each_policy_starts_from(policy: str, clean: Any, foreign: Any) -> None:
    """In the server's own task where the context is right, else in one of our own."""
    found: list[Any] = []

    async def application() -> None:
        found.append((seen(), asyncio.current_task()))
        user.set("me")

    async def main() -> None:
        it = Fixture(Plan(policy), application)
        tasks = []
        for context in (it.baseline, it.foreign, Context()):
            tasks.append(it.request(context))
            await tasks[-1]
        assert [values for values, _ in found[:2]] == [clean, foreign]
        own = [task is server for (_, task), server in zip(found, tasks, strict=True)]
        assert own == {"startup": [True, False, False], "inherit": [True, True, True],
                       "empty": [False, False, True]}[policy]
        assert it.baseline.get(user) is None and it.in_flight.requests == {}

    run(main())


def test_a_value_that_is_only_equal_is_another_requests() -> None:
    """Two empty dicts are not the same dict."""
    shared: dict[str, int] = {}

    async def application() -> None:
        assert boot.get() is shared

    async def main() -> None:
        it = Fixture(Plan(), application)
        it.baseline.run(boot.set, shared)
        it.contexts = it.baseline.run(Contexts, Plan(), it.in_flight, print)
        it.boundary._contexts = it.contexts
        foreign = it.baseline.copy()
        foreign.run(boot.set, {})
        await it.request(foreign)
        assert [(each.variable, each.type) for each in it.contexts.crossed] == [(boot, dict)]

    run(main())


def test_factories_and_unset_variables() -> None:
    """A fresh value each time; a variable of the baseline is lacking where it is to be."""
    found: list[Any] = []

    async def application() -> None:
        found.append((user.get(), boot.get("unset")))

    async def main() -> None:
        it = Fixture(Plan(factories={user: dict, boot: None}), application)
        await asyncio.gather(*(
            it.request(context) for context in (it.baseline, it.foreign, Context())))
        assert [values for values in found] == [({}, "unset")] * 3
        assert len({id(values[0]) for values in found}) == 3
        assert not it.contexts.crossed  # nothing that matters has

    run(main())


def test_each_variable_is_told_once_and_at_most_so_many() -> None:
    """Also where an application makes them without end."""
    async def application() -> None:
        pass

    async def main() -> None:
        it = Fixture(Plan(), application)
        for _ in range(3):
            await it.request(it.foreign)
        assert [each.variable for each in it.contexts.crossed] == [user]
        foreign = it.foreign
        for at in range(1000):
            foreign.run(ContextVar[int](f"v{at}").set, at)
        await it.request(foreign)
        assert len(it.contexts.crossed) == 100

    run(main())


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_in_a_task_of_its_own_reaches_the_server(error: BaseException) -> None:
    """SystemExit does not fly out of the loop on the way."""
    async def application() -> None:
        raise error

    async def main() -> None:
        it = Fixture(Plan(), application)

        async def server() -> BaseException | None:
            try:
                await it.boundary({"type": "http"}, None, None)  # type: ignore[arg-type]
            except BaseException as raised:
                return raised
            return None

        raised = await it.foreign.run(asyncio.ensure_future, server())
        assert raised is error

    run(main())


def test_cancelling_reaches_the_application_in_a_task_of_its_own() -> None:
    """And one that is cancelled before it has begun leaves nothing behind."""
    ended: list[str] = []

    async def application() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        it = Fixture(Plan(), application)
        late, early = it.request(it.foreign), it.request(it.foreign)
        await asyncio.sleep(0.01)
        late.cancel()
        never = it.request(it.foreign)
        await asyncio.sleep(0)
        never.cancel()
        early.cancel()
        results = await asyncio.gather(late, early, never, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert ended == ["cancelled"] * 2 and it.in_flight.requests == {}
        gc.collect()  # "was never awaited" would be a warning, and so an error

    run(main())


def test_a_task_factory_gets_the_request_in_its_context() -> None:
    """Also one that knows nothing of contexts."""
    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        assert not options
        return asyncio.Task(coro, loop=loop)

    found: list[Any] = []

    async def application() -> None:
        found.append(seen())

    async def main() -> None:
        it = Fixture(Plan(), application)
        task = it.request(it.foreign)
        asyncio.get_running_loop().set_task_factory(factory)
        await task
        assert found == [(None, "boot")]

    run(main())


def test_what_gives_something_to_await_is_said_and_left(recwarn: pytest.WarningsRecorder) -> None:
    """It looked like a plain function."""
    async def late(*arguments: Any) -> None:
        raise AssertionError("nobody awaits it")

    def generator(scope: Any) -> Any:
        yield 1

    async def application() -> None:
        assert user.get("unset") == "unset"

    async def main() -> None:
        it = Fixture(Plan("startup", {user: lambda: late()}, generator, late), application)
        for _ in range(2):
            await it.request(it.baseline)
        assert [line.partition(":")[0] for line in it.said] == [
            "watchdog_contextvars, user", "watchdog_on_request_start", "watchdog_on_request_end"]
        gc.collect()

    run(main())
    assert not recwarn.list


def test_what_the_application_returns_is_returned() -> None:
    """The server says what is wrong with it."""
    async def application() -> None:
        pass

    async def returns(scope: Any, receive: Any, send: Any) -> int:
        return 42

    async def main() -> None:
        it = Fixture(Plan(), application)
        it.boundary._application = returns
        assert await it.request(it.baseline) == 42  # type: ignore[func-returns-value]
        assert await it.request(it.foreign) == 42  # type: ignore[func-returns-value]
        assert await it.request(it.foreign, "lifespan") == 42  # type: ignore[func-returns-value]

    run(main())


def test_the_server_reads_on_in_a_context_that_is_right() -> None:
    """And the request that comes there is told of what it would have had, and keeps nothing."""
    found: list[Any] = []

    async def application() -> None:
        found.append((seen(), asyncio.current_task(), set(copy_context().values())))

    async def main() -> None:
        it = Fixture(Plan(), application)
        assert it.baseline.copy().run(it.contexts.to_read_in) is None
        context = it.foreign.run(it.contexts.to_read_in)
        assert context is not None and context.get(boot) == "boot" and user not in context
        task = it.request(context)
        await task
        assert found == [((None, "boot"), task, {"boot", None})]
        assert [(each.variable, each.type) for each in it.contexts.crossed] == [(user, str)]
        context = it.foreign.run(it.contexts.to_read_in)
        assert context is not None and list(context.values()) == ["boot"]  # it has been told

    run(main())


def test_hooks_run_around_the_application_whatever_happens() -> None:
    """In the request's context; the first failure of each is said."""
    order: list[Any] = []

    def start(scope: Any) -> None:
        user.set("from the hook")
        order.append(("start", scope["path"]))

    def end(scope: Any) -> None:
        order.append(("end", user.get()))
        raise SystemExit("at the end")

    async def application() -> None:
        order.append(user.get())
        user.set("from the application")
        raise ZeroDivisionError

    async def main() -> None:
        it = Fixture(Plan(on_start=start, on_end=end), application)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await it.request(it.baseline)
        assert order == [("start", "/"), "from the hook", ("end", "from the application")] * 2
        assert it.said == ["watchdog_on_request_end: at the end"]

    run(main())


def test_lifespan_is_left_alone() -> None:
    """Its context is nobody's business."""
    found: list[Any] = []

    async def application() -> None:
        found.append((seen(), len(copy_context())))

    async def main() -> None:
        it = Fixture(Plan("empty", {user: dict}), application)
        await it.request(it.foreign, "lifespan")
        assert found == [(("other", "boot"), 2)]

    run(main())
