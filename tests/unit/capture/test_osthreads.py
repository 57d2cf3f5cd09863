"""What the kernel says of threads of this very process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gunicorn_server import until
from watchdog_worker.capture import descriptors, memory, osthreads
from watchdog_worker.capture.process import figures

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/task"), reason="this platform has no /proc")


def waiting(block: Callable[[], object], syscall: tuple[str, ...]) -> osthreads.KernelView:
    """Block a thread this way and look at it once it waits."""
    ids: list[int] = []

    def body() -> None:
        ids.append(threading.get_native_id())
        try:
            block()
        except OSError:  # the test is over and has closed what it waited on
            pass

    threading.Thread(target=body, daemon=True).start()
    until(lambda: ids)

    def look() -> osthreads.KernelView | None:
        view = osthreads.look(ids[0])
        return view if view.wait and view.wait.syscall in syscall else None

    view = until(look, what=f"a thread in {syscall}")
    assert isinstance(view, osthreads.KernelView)
    return view


def send_a_byte(server: socket.socket) -> None:
    with server.accept()[0] as peer:
        peer.sendall(b"x")


def test_a_sleep() -> None:
    """State, CPU time, and where in the kernel."""
    view = waiting(lambda: time.sleep(5), ("clock_nanosleep", "pselect6", "select"))
    assert view.state == "S (sleeping)"
    assert view.cpu_s is not None and view.cpu_s < 5


def test_a_socket_with_its_peer() -> None:
    """Blocking and with a timeout, over TCP and a Unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            view = waiting(lambda: client.recv(1), ("recvfrom",))
            assert view.wait is not None
            assert view.wait.fd == client.fileno()
            assert view.wait.target == f"tcp 127.0.0.1:{address[1]}"
            send_a_byte(server)
        with socket.create_connection(address, timeout=5) as client:
            view = waiting(lambda: client.recv(1), ("poll", "ppoll"))
            assert view.wait is not None
            assert view.wait.target == f"tcp 127.0.0.1:{address[1]}"
            send_a_byte(server)


def test_a_unix_socket_by_its_path(tmp_path: Path) -> None:
    """As databases on the same machine have it."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        assert descriptors.target_of(client.fileno()) == f"unix {path}"


def test_a_listening_socket_has_no_peer() -> None:
    """It says so, and where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert descriptors.target_of(server.fileno()) == f"tcp (no peer) local 127.0.0.1:{port}"


def test_a_connection_under_way_is_found_in_the_kernels_table() -> None:
    """A port whose queue is full keeps a client in connect()."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            clients.append(client)
        try:
            time.sleep(0.05)
            port = server.getsockname()[1]
            assert {descriptors.target_of(client.fileno()) for client in clients} == {
                f"tcp 127.0.0.1:{port}"}
        finally:
            for client in clients:
                client.close()


def test_looking_does_not_touch_the_applications_socket() -> None:
    """Python makes a socket object non-blocking where a default timeout is set."""
    socket.setdefaulttimeout(20)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname(), timeout=None) as client:
                os.set_blocking(client.fileno(), True)
                assert descriptors.target_of(client.fileno()) is not None
                assert os.get_blocking(client.fileno())
    finally:
        socket.setdefaulttimeout(None)


def test_a_pipe_and_a_child() -> None:
    """What a read waits on, and whom a wait waits for."""
    read, write = os.pipe()
    view = waiting(lambda: os.read(read, 1), ("read",))
    assert view.wait is not None and view.wait.fd == read
    assert (view.wait.target or "").startswith("pipe:[")
    os.write(write, b"x")
    child = subprocess.Popen([sys.executable, "-c", "input('sleeping child')"],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    view = waiting(lambda: child.wait(), ("wait4", "waitid"))
    assert view.wait is not None
    assert f"child process {child.pid} (" in (view.wait.target or "")
    assert "sleeping child" in (view.wait.target or "")
    child.kill()
    child.communicate()
    os.close(read)
    os.close(write)


def test_a_thread_that_is_gone() -> None:
    """Nothing is told, nothing is raised."""
    assert osthreads.look(2 ** 22 + 1) == osthreads.KernelView()


def test_bad_addresses_and_descriptors_are_no_crash() -> None:
    """They come from a thread that goes on while we look."""
    assert memory.pollfds(0, 3) == []
    assert memory.pollfds(2 ** 64 - 8, 10 ** 9) == []
    assert descriptors.target_of(10 ** 6) is None


def test_the_process_has_figures() -> None:
    """Those that top shows."""
    found = figures()
    assert found.rss_bytes is not None and found.rss_bytes > 2 ** 20
    assert found.threads is not None and found.threads >= 1
    assert found.open_fds is not None and found.open_fds >= 3
    assert found.cpu_user_s is not None
