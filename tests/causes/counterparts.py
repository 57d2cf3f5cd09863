"""What the stalls wait for: a silent server, PostgreSQL, Redis, a name server that is none.

Each is started here, on 127.0.0.1 and a free port, and ended by its pid; what this machine does
not have is named, and the cases that need it are skipped.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.gunicorn_server import free_port, until

NAME_SERVER = "127.53.0.53"


@contextlib.contextmanager
def all_of_them(folder: Path) -> Iterator[dict[str, str]]:
    """Everything that can be started here, as environment variables for the applications."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(_silent())
        full = stack.enter_context(_full())
        found = {"SILENT_PORT": str(silent), "FULL_PORT": str(full)}
        for start in (_postgres, _redis, _name_server):
            found |= stack.enter_context(start(folder))
        yield found


def missing(needs: tuple[str, ...], found: dict[str, str]) -> list[str]:
    """What of these is not here."""
    lacking = []
    for need in needs:
        if need == "root":
            here = os.geteuid() == 0 and "RESOLV_CONF" in found
        elif need.isupper():
            here = need in found or need.split("_")[0] + "_PORT" in found
        else:
            here = importlib.util.find_spec(need) is not None
        lacking += [] if here else [need]
    return lacking


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        taken = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        for each in taken:
            each.close()


@contextlib.contextmanager
def _full() -> Iterator[int]:
    """A port whose queue is full: a connection to it never comes about."""
    with contextlib.ExitStack() as stack, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, str]]:
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [
        os.path.dirname(shutil.which("initdb") or "/nowhere/initdb")]
    initdb, server = (os.path.join(programs[-1], name) for name in ("initdb", "postgres"))
    if not os.path.exists(initdb):
        yield {}
        return
    data, port = folder / "postgres", free_port()
    data.mkdir()
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _is_user(name)), None)
        shutil.chown(data, user or "nobody")
        for parent in (folder, *folder.parents):
            if parent.name.startswith("causes-"):  # mkdtemp makes it ours alone
                parent.chmod(0o755)
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "me", "-N"], check=True, user=user,
                   cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(
        [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(data), "-F"],
        user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), what="PostgreSQL to listen")
        dsn = f"host=127.0.0.1 port={port} user=me dbname=postgres"
        yield {"PG_DSN": dsn, "PG_PORT": str(port),
               "PG_URL": f"postgresql+psycopg2://me@127.0.0.1:{port}/postgres"}
    finally:
        process.send_signal(3)  # SIGQUIT: at once, its children too
        process.wait()


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[dict[str, str]]:
    server = shutil.which("redis-server")
    if server is None:
        yield {}
        return
    port = free_port()
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), what="Redis to listen")
        yield {"REDIS_PORT": str(port)}
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _name_server(folder: Path) -> Iterator[dict[str, str]]:
    """One that never answers, on the port that only root may have."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        try:
            server.bind((NAME_SERVER, 53))
            subprocess.run(["unshare", "--mount", "true"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            yield {}
            return
        config = folder / "resolv.conf"
        config.write_text(f"nameserver {NAME_SERVER}\noptions timeout:30\n")
        yield {"RESOLV_CONF": str(config)}


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
