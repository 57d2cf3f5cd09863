"""What Starlette's tests do, over real sockets: the same on our worker and on uvicorn's own."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.gunicorn_server import PATIENCE_S, Gunicorn, until
from tests.raw_client import RawClient, request
from tests.stall_case import PAIRS


@pytest.mark.smoke
@pytest.mark.parametrize(
    "worker", [f"workers.{kind}{pair}" for pair in PAIRS for kind in ("", "Plain")])
def test_an_application_behaves_as_on_uvicorns_own_worker(tmp_path: Path, worker: str) -> None:
    """Requests, streams, background tasks, WebSockets, disconnects, errors."""
    with Gunicorn(tmp_path, "idioms:app", worker=worker, wait_path="/pid") as server:
        requests(server)
        background_tasks(server)
        websockets(server)
        disconnects(server)
        assert "Traceback" not in server.log
        errors(server)
        assert "was never" not in server.log and "watchdog: " not in server.log


def get(server: Gunicorn, path: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode(), dict(response.getheaders())
    connection.close()
    return found


def told(server: Gunicorn) -> list[str]:
    """What has happened behind the client's back, since it was last asked."""
    found: list[str] = json.loads(get(server, "/told")[1])
    return found


def requests(server: Gunicorn) -> None:
    """Variables through both kinds of middleware, streams both ways, groups and scopes."""
    status, body, headers = get(server, "/variables")
    assert (status, json.loads(body)) == (
        200, ["/variables", "/variables", "/variables", "lifespan"])
    assert headers["x-dispatched"] == "/variables"
    assert get(server, "/stream")[1] == "".join(f"{number} /stream\n" for number in range(5))
    assert json.loads(get(server, "/under/groups")[1]) == [
        ["a/under/groups", "b/under/groups"], True]
    assert get(server, "/teapot")[:2] == (418, "I'm a Teapot")
    assert get(server, "/nowhere")[0] == 404
    with RawClient(server.port) as client:
        client.send(request("/upload", b"x" * 1_000_000) + request("/upload", b"yy"))
        assert [client.response(), client.response()] == [(200, b"1000000"), (200, b"2")]


def background_tasks(server: Gunicorn) -> None:
    """They run after the response, in the request's context; pipelined requests' too."""
    expected = [f"{name} background of /background" for name in ("async", "thread")]
    assert get(server, "/background")[1] == "before"
    assert until(lambda: len(found := told(server)) == 2 and found) == expected
    with RawClient(server.port) as client:
        client.send(request("/background") + request("/background"))
        assert [client.response(), client.response()] == [(200, b"before")] * 2
    assert sorted(until(lambda: len(found := told(server)) == 6 and found)) == sorted(3 * expected)


def websockets(server: Gunicorn) -> None:
    """Echo, subprotocols, refusal, closing from either side."""
    before = len(told(server))
    with socket(server, "/echo") as echo:
        echo.send("one")
        assert echo.recv() == "one /echo"
        echo.send("x" * 200_000)
        assert len(str(echo.recv())) == 200_006
    until(lambda: told(server)[before:] == ["websocket closed"])
    with connect(f"ws://127.0.0.1:{server.port}/echo", proxy=None,
                 subprotocols=[Subprotocol("other"), Subprotocol("echo")]) as echo:
        assert echo.subprotocol == "echo"
    with pytest.raises(InvalidStatus, match="403"):
        socket(server, "/rejected")
    with socket(server, "/closing") as closing:
        assert closing.recv() == '{"last":"words"}'
        with pytest.raises(ConnectionClosed) as end:
            closing.recv()
        assert end.value.rcvd is not None
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (4001, "enough")


def socket(server: Gunicorn, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE_S, proxy=None)


def disconnects(server: Gunicorn) -> None:
    """A client that goes ends an endless stream, a waiting request and a WebSocket."""
    for path, event in (("/endless", "the endless stream was closed"),
                        ("/disconnect", "the client has gone")):
        connection = server.send(path)
        if path == "/endless":
            assert connection.recv(1000)
        connection.close()
        until(lambda: event in told(server), what=event)
    count = told(server).count("websocket closed")
    with RawClient(server.port) as client:
        client.send(request("/echo", headers=(
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")))
        assert client.response()[0] == 101
    until(lambda: told(server).count("websocket closed") == count + 1)


def errors(server: Gunicorn) -> None:
    """An exception is a 500 and in the log; one in a background task leaves the response be."""
    assert get(server, "/fails")[:2] == (500, "Internal Server Error")
    server.logged("RuntimeError: as it should")
    assert get(server, "/broken_background")[:2] == (200, "fine")
    server.logged("RuntimeError: in the background")
    assert get(server, "/pid")[0] == 200
