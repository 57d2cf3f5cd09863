"""No request sees what another one has left in a ContextVar."""

from __future__ import annotations

import itertools
import os
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gunicorn_server import PATIENCE_S, Gunicorn, until
from tests.raw_client import RawClient, request
from tests.stall_case import PAIRS

BIG = b"x" * 1_000_000
Finds = Callable[[RawClient], list[Any]]


def pipelining(client: RawClient) -> list[Any]:
    """Two requests before the first is answered."""
    client.send(request("/?me=first") + request("/?me=second"))
    return [client.json(), client.json()]


def large_body(client: RawClient) -> list[Any]:
    """A body that pauses the reading; then the next request, and one more."""
    found = []
    for name in ("first", "second", "third"):
        body, wait = (BIG, "0.05") if name == "first" else (b"", "0")
        client.send(request(f"/?me={name}&wait={wait}", body))
        found.append(client.json())
    return found


def keep_alive(client: RawClient) -> list[Any]:
    """One request after the other."""
    found = []
    for name in ("first", "second"):
        client.send(request(f"/?me={name}"))
        found.append(client.json())
    return found


def websocket_after_http(client: RawClient) -> list[Any]:
    """The connection is upgraded when a request has left its context behind."""
    client.send(request("/?me=first&wait=0.05", BIG))
    return [client.json(), client.websocket("/?me=second")]


CASES: tuple[Finds, ...] = (pipelining, large_body, keep_alive, websocket_after_http)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> Iterator[tuple[list[str], ssl.SSLContext]]:
    """gunicorn's arguments and the client's context."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    file = str(tmp_path / "server.pem")
    yield ["--certfile", file, "--keyfile", file], context


def crossings(port: int, case: Finds, context: ssl.SSLContext | None = None) -> list[str]:
    """What each request of the case saw that an earlier one had set."""
    with RawClient(port, context) as client:
        answers = case(client)
    assert all(answer["boot"] == "set at import" for answer in answers)
    assert len(answers) > 1
    return [answer["user"] for answer in answers if answer["user"] is not None]


@pytest.mark.smoke
@pytest.mark.parametrize("pair", PAIRS)
def test_nothing_crosses_from_one_request_to_another(tmp_path: Path, pair: str) -> None:
    """And what import time has set is there for all."""
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}", wait_path="/pid") as server:
        for case in CASES:
            assert crossings(server.port, case) == [], case.__name__


@pytest.mark.parametrize("pair", PAIRS)
def test_nothing_crosses_over_tls(
    tmp_path: Path, pair: str, tls: tuple[list[str], ssl.SSLContext]
) -> None:
    """The same through the TLS transports of both loops."""
    arguments, context = tls
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}",
                  arguments=arguments, wait=False) as server:
        server.logged("Application startup complete")
        for case in CASES:
            assert crossings(server.port, case, context) == [], case.__name__


@pytest.mark.parametrize("pair", PAIRS)
def test_on_plain_uvicorn_the_same_cases_leak(
    tmp_path: Path, pair: str, tls: tuple[list[str], ssl.SSLContext]
) -> None:
    """So the tests above are known to be able to fail.

    A body pauses the reading only if it comes faster than it is read: not every time.
    """
    arguments, context = tls
    leaks = {pipelining: ["first"], keep_alive: []}
    if pair.startswith("Asyncio"):
        leaks |= {large_body: ["first", "first"], websocket_after_http: ["first"]}
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.Plain{pair}",
                  wait_path="/pid") as server:
        for case, leaked in leaks.items():
            until(lambda: crossings(server.port, case) == leaked, what=case.__name__)
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.Plain{pair}",
                  arguments=arguments, wait=False) as server:
        server.logged("Application startup complete")
        assert crossings(server.port, pipelining, context) == ["first"]


@pytest.mark.smoke
@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_request_starts_sees_its_context(tmp_path: Path, pair: str) -> None:
    """In its own task, and in one of ours; timeouts, groups and scopes work as ever."""
    paths = [f"/children?me={name}" for name in ("first", "second", "third")]
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}", wait_path="/pid") as server:
        with RawClient(server.port) as client:
            client.send(b"".join(map(request, paths)))
            for name in ("first", "second", "third"):
                assert client.json() == {
                    "task": name, "to_thread": name, "anyio": name, "thread": name,
                    "waited": name, "group": name, "cancelled": True, "in_all_tasks": True}


@pytest.mark.parametrize("config", ["", 'watchdog_contextvars = {"contexts:boot": None}\n'])
@pytest.mark.parametrize("pair", PAIRS)
def test_what_the_server_logs_of_a_request_is_in_its_context(
    tmp_path: Path, pair: str, config: str
) -> None:
    """Its failure is logged with its own user, however it came."""
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}", config=config,
                  wait_path="/pid") as server:
        with RawClient(server.port) as client:
            client.send(request("/?me=alice") + request("/fail?me=bob"))
            client.json()
            assert client.response()[0] == 500
        with RawClient(server.port) as client:
            client.send(request("/?me=carol&wait=0.05", BIG))
            client.json()
            client.send(request("/fail?me=dave"))
            assert client.response()[0] == 500
        for name in ("bob", "dave"):
            server.logged(rf"\[user {name}\] Exception in ASGI application")
        users = set(re.findall(r"\[user (\w+)\] Exception in ASGI application", server.log))
        assert users == {"bob", "dave"}


BOX = 'watchdog_contextvars = {"contexts:shared_box": dict}\n'


def test_fifty_requests_that_fill_their_own_box(tmp_path: Path) -> None:
    """A dict from a factory is each request's own; the shared one is known to be shared."""
    def foreign(config: str) -> list[str]:
        with Gunicorn(tmp_path, "contexts:app", config=config, wait_path="/pid") as server:
            clients = [RawClient(server.port) for _ in range(50)]
            for at, client in enumerate(clients):
                client.send(request(f"/fill?me=r{at}"))
            found = [name for client in clients for name in client.json()["foreign"]]
            for client in clients:
                client.__exit__(None, None, None)
            return found

    assert foreign("") != []
    assert foreign(BOX) == []


@pytest.mark.parametrize("pair", PAIRS)
def test_no_story_of_requests_makes_anything_cross(tmp_path: Path, pair: str) -> None:
    """Sets, awaits, tasks and threads at random, in requests pipelined, parallel or alone."""
    step = st.text(alphabet="sawtx", max_size=6)
    connection = st.lists(st.tuples(st.integers(0, 2), step), min_size=1, max_size=4)

    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}", config=BOX,
                  wait_path="/pid") as server:
        numbers = itertools.count()

        @settings(max_examples=40, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))
        @given(st.lists(connection, min_size=1, max_size=4))
        def tell(story: list[list[tuple[int, str]]]) -> None:
            clients = [RawClient(server.port) for _ in story]
            for client, requests in zip(clients, story, strict=True):
                client.send(b"".join(
                    request(f"/story?me=r{next(numbers)}-&steps={steps}",
                            body=(b"", b"x", b"x" * 100_000)[body])
                    for body, steps in requests))
            for client, requests in zip(clients, story, strict=True):
                assert [client.json() for _ in requests] == [[] for _ in requests]
                client.__exit__(None, None, None)

        tell()


def test_the_policies(tmp_path: Path) -> None:
    """Empty is empty, for WebSockets too; inherit is what uvicorn does."""
    empty = 'watchdog_context_policy = "empty"\n'
    with Gunicorn(tmp_path, "contexts:app", config=empty, wait_path="/pid",
                  worker="workers.AsyncioHttptools") as server:
        for case in CASES:
            with RawClient(server.port) as client:
                answers = case(client)
            assert [answer["boot"] for answer in answers] == [None] * len(answers)
            assert [answer["user"] for answer in answers] == [None] * len(answers)
    inherit = 'watchdog_context_policy = "inherit"\n'
    with Gunicorn(tmp_path, "contexts:app", config=inherit, wait_path="/pid",
                  worker="workers.AsyncioHttptools") as server:
        assert crossings(server.port, pipelining) == ["first"]
        until(lambda: crossings(server.port, large_body) == ["first", "first"])


@pytest.mark.parametrize("policy", ["startup", "inherit", "empty"])
def test_a_variable_without_a_factory_is_unset(tmp_path: Path, policy: str) -> None:
    """Also one that import time has set, and in every request of a connection."""
    config = (f'watchdog_context_policy = "{policy}"\n'
              'watchdog_contextvars = {"contexts:boot": None, "contexts:user": "builtins:str"}\n')
    with Gunicorn(tmp_path, "contexts:app", config=config, wait_path="/pid") as server:
        with RawClient(server.port) as client:
            answers = pipelining(client)
            answers.append(client.websocket("/?me=third"))
    assert [(answer["boot"], answer["user"]) for answer in answers] == [(None, "")] * 3


HOOKS = """
watchdog_on_request_start = "contexts:note_start"
watchdog_on_request_end = "contexts:note_end"
"""


def test_the_hooks_run_in_the_requests_own_context(tmp_path: Path) -> None:
    """What the first sets the application sees; what it sets the second sees."""
    with Gunicorn(tmp_path, "contexts:app", config=HOOKS, wait_path="/pid") as server:
        with RawClient(server.port) as client:
            client.send(request("/one?me=first") + request("/two?me=second"))
            one, two = client.json(), client.json()
            client.send(request("/three"))
            three = client.json()
    assert (one["on_start"], two["on_start"], three["on_start"]) == ("/one", "/two", "/three")
    assert three["ended"][-2:] == [["/one", "first"], ["/two", "second"]]


def test_a_hook_or_factory_that_raises_is_told_once_and_fails_no_request(tmp_path: Path) -> None:
    """Not even by SystemExit."""
    config = """
watchdog_on_request_start = watchdog_on_request_end = "contexts:broken_hook"
watchdog_contextvars = {"contexts:shared_box": "contexts:broken_factory"}
"""
    with Gunicorn(tmp_path, "contexts:app", config=config, wait_path="/pid") as server:
        for _ in range(5):
            assert server.get("/")[0] == 200
        server.logged("watchdog_on_request_end failed")
        for name, error in (("watchdog_on_request_start", "SystemExit: broken hook"),
                            ("watchdog_on_request_end", "SystemExit: broken hook"),
                            ("watchdog_contextvars, crate", "ZeroDivisionError: broken factory")):
            assert server.log.count(f"{name} failed") == 1
            server.logged(f"ERROR. watchdog: {name} failed, .*: {error}$")


@pytest.mark.parametrize("setting, error", [
    ('watchdog_contextvars = {"contexts:missing": None}',
     "watchdog_contextvars: cannot import 'contexts:missing': AttributeError: .*"),
    ('watchdog_contextvars = {"no_such_module:user": None}',
     "watchdog_contextvars: cannot import 'no_such_module:user': ModuleNotFoundError: .*"),
    ('watchdog_contextvars = {"contexts:not_a_variable": None}',
     "watchdog_contextvars: 'contexts:not_a_variable' is no ContextVar but of type dict"),
    ('watchdog_contextvars = {"contexts:user": "contexts:not_a_variable"}',
     "watchdog_contextvars: expected a callable .*, not {}"),
    ('watchdog_contextvars = {"contexts:user": None, "contexts:alias": str}',
     "watchdog_contextvars: 'contexts:alias' is a variable that another path names too"),
    ('watchdog_on_request_start = "contexts:missing"',
     "watchdog_on_request_start: cannot import 'contexts:missing': AttributeError: .*"),
    ('watchdog_on_request_end = "contexts:websocket"',
     "watchdog_on_request_end: expected a callable .*"),
])
def test_a_wrong_path_is_a_clear_error_at_the_first_boot(
    tmp_path: Path, setting: str, error: str
) -> None:
    """One line, no traceback, and gunicorn ends as it does on a wrong application."""
    with Gunicorn(tmp_path, "contexts:app", config=setting + "\n", wait=False) as server:
        assert server.process.wait(PATIENCE_S) == 4
        server.logged(rf"\[ERROR\] watchdog: {error}$")
        assert "Traceback" not in server.log


def test_a_wrong_path_after_hup_does_not_end_the_service(tmp_path: Path) -> None:
    """The new worker says it, and does what is right of the settings."""
    with Gunicorn(tmp_path, "contexts:app", wait_path="/pid") as server:
        old = server.worker_pid()
        server.write_config(
            'watchdog_contextvars = {"contexts:missing": None, "contexts:boot": None}\n')
        server.hang_up()
        server.logged(r"\[ERROR\] watchdog: .*contexts:missing.*; requests go without it$")
        server.replaced(old)
        with RawClient(server.port) as client:
            assert pipelining(client)[1]["boot"] is None


def test_a_wrong_path_in_a_later_worker_does_not_end_the_service(tmp_path: Path) -> None:
    """A module that has changed on disk since."""
    module = tmp_path / "changing.py"
    module.write_text("from contextvars import ContextVar\nextra = ContextVar('extra')\n")
    with Gunicorn(tmp_path, "contexts:app", wait_path="/pid",
                  config='watchdog_contextvars = {"changing:extra": None}\n') as server:
        module.write_text("extra_is_gone = 1\n")
        old = server.worker_pid()
        os.kill(old, signal.SIGKILL)
        server.replaced(old)
        server.logged(r"\[ERROR\] watchdog: .*changing:extra.*; requests go without it$")


LEAK = 'watchdog_dump_dir = "dumps"\n'


def test_what_would_have_crossed_is_told_once(tmp_path: Path) -> None:
    """By name and type, with the request and the fix, and never by value."""
    with Gunicorn(tmp_path, "contexts:app", config=LEAK, wait_path="/pid") as server:
        for _ in range(3):
            with RawClient(server.port) as client:
                client.send(request("/?me=hunter2") + request("/victim?me=x"))
                client.json(), client.json()
        reports = until(lambda: [report for report in server.reports("context_leak")
                                 if report["context"]["origin"] == "request"])
        until(lambda: len(server.reports("context_leak")) == 2)
        server.get("/")
        assert [report["context"] for report in reports] == [
            {"variable": "contexts:user", "type": "str", "origin": "request"}]
        (report,) = reports
        assert report["severity"] == "warning"
        assert [each["path"] for each in report["requests"]] == ["/victim"]
        assert report["headline"] == (
            "watchdog ContextVar contexts:user would have crossed: GET /victim was kept from "
            "another request's str")
        assert report["diagnosis"]["remedy"]
        assert "hunter2" not in server.log + str(server.reports())


@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_large_body_would_have_left_is_told(tmp_path: Path, pair: str) -> None:
    """On asyncio's loop, where it leaves something."""
    with Gunicorn(tmp_path, "contexts:app", worker=f"workers.{pair}", config=LEAK + BOX,
                  wait_path="/pid") as server:
        for _ in range(5):
            with RawClient(server.port) as client:
                assert [answer["user"] for answer in large_body(client)] == [None] * 3
        if pair.startswith("Asyncio"):
            assert server.report("context_leak")["context"]["variable"] == "contexts:user"
        else:
            time.sleep(1.5)
            assert server.reports() == []


def test_a_mutable_object_that_all_requests_share_is_told_when_serving_begins(
    tmp_path: Path
) -> None:
    """Once a worker, and not where each request gets one of its own."""
    with Gunicorn(tmp_path, "contexts:app", config=LEAK, wait_path="/pid") as server:
        report = server.report("context_leak")
        assert report["context"] == {
            "variable": "contexts:shared_box (crate)", "type": "dict", "origin": "startup"}
        assert "{'contexts:shared_box': dict}" in report["diagnosis"]["remedy"]
        server.logged(r"WARNING\] watchdog ContextVar contexts:shared_box \(crate\) is shared by")
        server.write_config(LEAK + BOX)
        old = server.worker_pid()
        server.hang_up()
        pid = server.replaced(old)
        with RawClient(server.port) as client:
            pipelining(client)
        reports = until(lambda: [each for each in server.reports() if each["pid"] == pid])
        assert [each["context"]["origin"] for each in reports] == ["request"]
