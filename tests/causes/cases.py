"""The matrix: what blocks, and what the watchdog has to say about it."""

from __future__ import annotations

from typing import NamedTuple

SILENT = r"tcp 127\.0\.0\.1:{SILENT_PORT}\b"
POSTGRES = r"(tcp 127\.0\.0\.1:{PG_PORT}\b|unix .*PGSQL)"
REDIS = r"tcp 127\.0\.0\.1:{REDIS_PORT}\b"
CHILD = r"child process \d+ .*time\.sleep\(600\)"
HOLDER = r"a threading\.R?Lock held by thread {}"


class Case(NamedTuple):
    """One stall."""

    app: str
    """`module:function` in `apps`."""
    cause: str
    line: str
    """What stands on the line of the application that is to blame; empty: any of `function`."""
    waits: str = ""
    """What it waits for, as a pattern; empty: nothing is to be told."""
    needs: tuple[str, ...] = ()
    """Modules, or `PG_DSN` and `REDIS_PORT` for servers, `root` for rights."""
    event: str = "pre_kill"
    """`stall`: it ends by itself, and that is the only report."""
    function: str = ""
    """The function that is to blame, where it is not the case's own."""
    done: str = ""
    """What is done to the worker from outside."""
    alone: bool = False
    """Computes: not beside others."""

    @property
    def name(self) -> str:
        return self.app.replace(":", ".")

    @property
    def blamed(self) -> str:
        return self.function or self.app.partition(":")[2]


_NET = ("requests", "httpx", "urllib3", "boto3")
_DATA = ("psycopg2", "psycopg", "sqlalchemy", "redis", "pymysql", "pymongo")
_PG, _REDIS = (*_DATA, "PG_DSN"), (*_DATA, "REDIS_PORT")


def _net(name: str, cause: str, line: str, waits: str = SILENT, function: str = "") -> Case:
    return Case(f"network:{name}", cause, line, waits, _NET, function=function)


def _local(name: str, cause: str, line: str, waits: str = "", function: str = "") -> Case:
    return Case(f"local:{name}", cause, line, waits, function=function)


def _computing(name: str, cause: str, line: str, function: str = "") -> Case:
    ends = cause == "gil_held"
    return Case(f"processor:{name}", cause, line, function=function, alone=True,
                event="stall" if ends else "pre_kill")


CASES = (
    _local("time_sleep", "sleep", "time.sleep(600)"),
    _local("imported_sleep", "sleep", "nap(600)"),
    _local("library_sleep", "sleep", "thinlib.patiently(lambda: None)"),
    _local("executed_sleep", "sleep", 'exec("import time'),
    _local("busy_sleep", "sleep", "time.sleep(0.03)", function="short")._replace(event="stall"),
    # A library of which nobody knows anything: the kernel alone is no evidence for a cause.
    _local("foreign_sleep", "unknown", "ctypes.CDLL(None).sleep(600)"),
    _local("deep_decorators", "sleep", "time.sleep(600)", function="charged"),

    _net("requests_get", "http_client", "requests.get(URL)"),
    _net("requests_session", "http_client", "SESSION.post(URL"),
    _net("httpx_client", "http_client", "self.client.get(URL)", function="fetch"),
    _net("urllib_urlopen", "http_client", "urlopen(URL)"),
    _net("http_client", "http_client", "connection.getresponse()"),
    _net("urllib3_pool", "http_client", 'PoolManager().request("GET", URL)'),
    _net("boto3_s3", "http_client", "S3.list_buckets()"),
    Case("web:app", "http_client", "self.session.get(URL)", SILENT, _NET, function="today"),

    _net("socket_recv", "socket_io", "client.recv(1)"),
    _net("socket_timeout", "socket_io", "client.recv(1)"),
    _net("socket_accept", "socket_io", "server.accept()", r"local 127\.0\.0\.1:\d+"),
    _net("socket_connect", "socket_io", "client.connect(", r"tcp 127\.0\.0\.1:{FULL_PORT}\b"),
    _net("tls_handshake", "socket_io", "wrap_socket(plain"),
    _net("smtp", "socket_io", 'smtplib.SMTP("127.0.0.1", PORT)'),
    Case("network:dns_getaddrinfo", "dns", "socket.getaddrinfo(",
         r"db\.internal\.example.*udp .*:53\b", (*_NET, "root")),
    Case("network:dns_requests", "dns", "requests.get(",
         r"api\.internal\.example.*udp .*:53\b", (*_NET, "root")),

    Case("databases:psycopg2_execute", "database", "cursor.execute(", POSTGRES, _PG),
    Case("databases:psycopg2_chained", "database", "cursor().execute(", POSTGRES, _PG),
    Case("databases:psycopg2_row_lock", "database", "rival.execute(", POSTGRES, _PG),
    Case("databases:psycopg_execute", "database", "connection.execute(", POSTGRES, _PG),
    Case("databases:sqlalchemy_core", "database", "connection.execute(", POSTGRES, _PG,
         function="slow"),
    Case("databases:sqlalchemy_orm", "database", "session.scalars(", POSTGRES, _PG),
    Case("databases:sqlalchemy_psycopg", "database", ".execute(sqlalchemy.text(", POSTGRES, _PG),
    Case("databases:sqlalchemy_pool", "database", "engine.connect()", "connection of SQLAlchemy",
         _PG),
    Case("databases:redis_blpop", "database", ".blpop(", REDIS, _REDIS),
    Case("databases:redis_silent", "database", '.get("key")', SILENT, _DATA),
    Case("databases:pymysql_connect", "database", "pymysql.connect(", SILENT, _DATA),
    Case("databases:pymongo_find", "database", "find_one()", "", _DATA),
    Case("databases:sqlite_locked", "database", "second.execute(",
         r"shop\.sqlite, locked by this very process", _DATA),
    Case("databases:sqlite_locked_by_thread", "database", "sqlite3.connect(path, timeout=600)",
         r"thread\.sqlite, locked by this very process", _DATA),
    Case("databases:sqlite_computes", "database", "connection.execute(", "", _DATA, alone=True),

    _local("fifo_open", "file_io", "open(FIFO)", r"orders\.fifo"),
    _local("fifo_read", "file_io", "file.read()", r"orders\.fifo"),
    _local("fifo_lines", "file_io", "for line in file", r"orders\.fifo"),
    _local("fifo_pathlib", "file_io", "Path(FIFO).read_text()", r"orders\.fifo"),
    _local("flock", "lock", "fcntl.flock(second", r"lockfile, locked by this very process"),

    _local("subprocess_run", "subprocess", "subprocess.run(SLEEPER)", CHILD),
    _local("subprocess_output", "subprocess", "subprocess.check_output(", CHILD),
    _local("subprocess_timeout", "subprocess", ".wait(timeout=600)", CHILD),
    _local("subprocess_read", "subprocess", "child.stdout.read()", CHILD),
    _local("os_system", "subprocess", "os.system(SHELL)", CHILD),
    _local("os_popen", "subprocess", "os.popen(SHELL).read()", CHILD),
    _local("process_join", "subprocess", "process.join()", r"child process \d+"),

    _local("lock_with", "lock", "with self.lock:", HOLDER.format("refresher"), "read"),
    _local("lock_twice", "lock", "with lock:  # again", "held by this very thread"),
    _local("rlock", "lock", "lock.acquire(timeout=600)", HOLDER.format("keeper")),
    _local("queue_get", "lock", "queue.Queue[int]().get()", r"queue\.Queue"),
    _local("simple_queue", "lock", "queue.SimpleQueue[int]().get(", "SimpleQueue"),
    _local("event_wait", "lock", "threading.Event().wait(600)", r"threading\.Event"),
    _local("thread_join", "lock", "thread.join()", "thread importer"),
    _local("multiprocessing_queue", "lock", ".Queue().get()", "pipe"),
    _local("future_of_loop", "future_wait", ".result()", "a future"),
    _local("future_of_thread", "future_wait", ".result()", "thread jobs_0"),
    _local("futures_wait", "future_wait", "wait([", "futures"),

    _local("slow_import", "import", "import slowlib"),
    _local("computing_import", "import", "import hardlib")._replace(alone=True),
    _local("waits_for_import", "import", "import slowlib",
           "module slowlib, which is being imported by thread first-importer"),
    _local("logging_pipe", "logging", "log.error(", "pipe"),
    _local("print_pipe", "logging", "print(", "pipe"),

    _computing("python_loop", "cpu_bound", ""),
    _computing("python_recursion", "cpu_bound", "", function="fib"),
    _computing("json_dumps", "cpu_bound", "json.dumps("),
    _computing("hashing", "cpu_bound", "hashlib.pbkdf2_hmac("),
    _computing("compressing", "cpu_bound", "zlib.compress("),
    Case("arrays:matrices", "cpu_bound", "matrix @ matrix", needs=("numpy",), alone=True),
    _computing("pattern", "gil_held", "re.match("),
    _computing("compiled_pattern", "gil_held", "words.match("),
    _computing("json_loads", "gil_held", "json.loads("),
    _computing("big_sort", "gil_held", "sorted("),
    _computing("big_number", "gil_held", "7 ** 1_200_000"),
    _computing("big_sum", "gil_held", "sum("),
    Case("collecting:collect", "gil_held", "gc.collect()", event="stall", alone=True),
    _computing("another_thread", "gil_held", ""),

    Case("processor:nothing", "suspended", "", event="suspended", done="stop",
         alone=True),
    Case("processor:one_second", "suspended", "", event="stall",
         done="throttle", alone=True),
)
