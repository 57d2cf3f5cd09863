"""CPU time that a worker spends on a request: ours against uvicorn's, in turns.

    python -m tests.bench.requests [--pairs 40] [--burst 3000] [--app raw|fast]

Both servers run at once, one worker each. A client sends a burst to the one and then to the
other, over and over; the worker's CPU time (user and system, of all its threads, as the
operating system counts it) over each burst gives one ratio a pair. Prints the median ratio with
its spread and the microseconds a request. Exits 1 above the limit that the project has set
itself (1.03 raw, 1.01 FastAPI).
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import statistics
import sys
import tempfile
from pathlib import Path

from tests.bench.cpu import cpu_s
from tests.gunicorn_server import Gunicorn

OURS, THEIRS = "watchdog_worker.Worker", "uvicorn_worker.UvicornWorker"
LIMITS = {"raw": 1.03, "fast": 1.01}
CONNECTIONS = 8
REQUEST = (
    b"GET /7?q=x HTTP/1.1\r\nHost: shop.example\r\nX-Real-IP: 203.0.113.7\r\n"
    b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Request-ID: 5f0c7a1e\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: application/json\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\n"
    b"Cookie: session=8f14e45fceea167a5a36dedd4bea2543\r\n\r\n")
"""As nginx passes a browser's request on."""
SHORT = b"GET /7?q=x HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n"
"""The least that a client sends; what the watchdog adds is a larger share of that."""


class Client:
    """Keeps a few connections busy with one request each at a time."""

    def __init__(self, port: int, request: bytes) -> None:
        self._request = request
        self._selector = selectors.DefaultSelector()
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)

        self._size = self._answer_size()

    def _answer_size(self) -> int:
        """Every answer is as long as the first: head and body may come in two pieces."""
        connection: socket.socket = next(iter(
            self._selector.get_map().values())).fileobj  # type: ignore[assignment]
        connection.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        while len(body) < int(length[1]):
            body += connection.recv(65536)
        return len(head) + 4 + int(length[1])

    def burst(self, requests: int) -> None:
        """So many requests, each answered before its connection sends the next."""
        sent = done = 0
        missing: dict[object, int] = {}
        for key in self._selector.get_map().values():
            key.fileobj.sendall(self._request)  # type: ignore[union-attr]
            missing[key.fileobj] = self._size
            sent += 1
        while done < requests:
            for key, _ in self._selector.select():
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                missing[connection] -= len(connection.recv(65536))
                if missing[connection]:
                    continue
                done += 1
                if sent < requests:
                    missing[connection] = self._size
                    connection.sendall(self._request)
                    sent += 1

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


class Side:
    """One of the two servers."""

    def __init__(self, server: Gunicorn, request: bytes = REQUEST) -> None:
        self.pid = int(server.get("/pid")[1])
        self.client = Client(server.port, request)
        self.client.burst(2000)  # warm

    def cost(self, requests: int) -> float:
        """CPU seconds a request over one burst."""
        before = cpu_s(self.pid)
        self.client.burst(requests)
        return (cpu_s(self.pid) - before) / requests


def compare(app: str, pairs: int, burst: int, request: bytes) -> float:
    """Run the pairs, print what came out, and give the median ratio."""
    target = {"raw": "hello:raw", "fast": "hello:fast()"}[app]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        with Gunicorn(Path(one), target, worker=OURS, wait_path="/pid") as ours, \
                Gunicorn(Path(other), target, worker=THEIRS, wait_path="/pid") as theirs:
            left, right = Side(ours, request), Side(theirs, request)
            costs = []
            for at in range(pairs):  # whoever goes first in one pair goes second in the next
                order = (left, right) if at % 2 else (right, left)
                cost = {side: side.cost(burst) for side in order}
                costs.append((cost[left], cost[right]))
            left.client.close()
            right.client.close()
    ratios = sorted(a / b for a, b in costs)
    median = statistics.median(ratios)
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    print(f"{app}: {statistics.median(a for a, _ in costs) * 1e6:.1f} us a request ours, "
          f"{statistics.median(b for _, b in costs) * 1e6:.1f} us uvicorn's; ratio median "
          f"{median:.4f}, 10 to 90 % of {pairs} pairs from {low:.4f} to {high:.4f}")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--burst", type=int, default=3000)
    parser.add_argument("--app", choices=["raw", "fast"], action="append")
    parser.add_argument("--short", action="store_true", help="requests with two headers only")
    arguments = parser.parse_args()
    failed = False
    for app in arguments.app or ["raw", "fast"]:
        ratio = compare(app, arguments.pairs, arguments.burst,
                        SHORT if arguments.short else REQUEST)
        failed |= ratio > LIMITS[app]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
