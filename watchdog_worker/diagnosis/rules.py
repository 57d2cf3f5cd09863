"""The table of what blocks an event loop: what is on the stack, what the thread may be at, why.

A rule holds where one of its `names` is on the stack below the application's own code, and the
kernel says one of its `standings` (or nothing). The first rule that holds gives the cause: so what
is the case whoever calls (an import, a look-up of a name, a pause) comes before the libraries, and
these before the standard library, which they stand on. To teach it a library, add a line.

Names are modules, or functions in them; a name covers all that begins with it and a dot.
"""

from __future__ import annotations

from typing import NamedTuple

from watchdog_worker.diagnosis.standing import Standing

SLEEP, HTTP_CLIENT, DATABASE, FILE_IO = "sleep", "http_client", "database", "file_io"
SUBPROCESS, DNS, SOCKET_IO, LOCK = "subprocess", "dns", "socket_io", "lock"
FUTURE_WAIT, CPU_BOUND, GIL_HELD = "future_wait", "cpu_bound", "gil_held"
IMPORT, LOGGING, SUSPENDED, UNKNOWN = "import", "logging", "suspended", "unknown"

TIMER, SOCKET, PIPE, FILE = Standing.TIMER, Standing.SOCKET, Standing.PIPE, Standing.FILE
OUTPUT, FILE_LOCK, CHILD = Standing.OUTPUT, Standing.FILE_LOCK, Standing.CHILD
FUTEX, COMPUTING, STARVED = Standing.FUTEX, Standing.COMPUTING, Standing.STARVED

_REMOTE = frozenset({SOCKET, FUTEX})
_EMBEDDED = frozenset({TIMER, FILE, FILE_LOCK, FUTEX})
_WRITING = frozenset({PIPE, OUTPUT, FILE, SOCKET, FUTEX, FILE_LOCK, CHILD})
_ANY = frozenset(Standing)


class Rule(NamedTuple):
    """One line of the table."""

    cause: str
    names: tuple[str, ...]
    standings: frozenset[Standing]
    library: str = ""
    """What a person calls it; empty for the standard library's own."""
    instead: str = ""
    """What to use in its place, in an `async def`."""
    innermost: bool = False
    """Holds only where it is the very call that the thread is in."""
    told: bool = False
    """Holds only where the kernel says so: what is on the stack could be something else, too."""


_REDIS = "redis.asyncio, which comes with it"
_HTTPX = "httpx.AsyncClient, one for the whole process"

_FUTURES = (
    "concurrent.futures._base.Future", "concurrent.futures._base.result",  # 3.10 tells no classes
    "concurrent.futures._base.exception", "concurrent.futures._base.wait",
    "concurrent.futures._base.as_completed", "multiprocessing.pool.ApplyResult",
    "multiprocessing.pool.get", "multiprocessing.pool.wait",
)
_FILE_CALLS = (
    "io.FileIO", "io.BufferedReader", "io.BufferedWriter", "io.BufferedRandom", "io.TextIOWrapper",
    "io.open", "os.read", "os.write", "os.open", "os.stat", "os.lstat", "os.scandir", "os.listdir",
    "os.unlink", "os.remove", "os.rename", "os.replace", "os.mkdir", "os.rmdir", "os.fsync",
    "os.sendfile", "os.copy_file_range", "os.truncate",
)
"""What computes in them is the kernel, for a file; not so in io.StringIO or os.urandom."""

RULES: tuple[Rule, ...] = (
    # What is the case whoever calls.
    Rule(IMPORT, ("importlib._bootstrap", "importlib._bootstrap_external",
                  "importlib.import_module"), _ANY),
    Rule(LOGGING, ("logging", "loguru", "structlog"), _WRITING),
    Rule(LOGGING, ("print", "io", "os"), frozenset({OUTPUT}), told=True),
    Rule(DNS, ("socket.getaddrinfo", "socket.gethostbyname",
               "socket.gethostbyname_ex", "socket.gethostbyaddr", "socket.getfqdn",
               "socket.getnameinfo", "dns.resolver"),
         frozenset({SOCKET, FUTEX, FILE, PIPE})),
    Rule(LOCK, ("multiprocessing.queues", "multiprocessing.connection",
                "multiprocessing.synchronize", "multiprocessing.managers"),
         frozenset({FUTEX, PIPE, SOCKET, CHILD}), "multiprocessing"),
    Rule(SUBPROCESS, ("subprocess", "os.system", "os.wait", "os.waitpid", "os.wait4", "os.waitid",
                      "multiprocessing.popen_fork", "multiprocessing.process", "pexpect",
                      "plumbum", "os._wrap_close"),
         frozenset({CHILD, PIPE, TIMER, FUTEX, FILE})),
    Rule(SUBPROCESS, ("io", "os"), frozenset({CHILD}),
         told=True),  # our end of its pipe
    Rule(LOCK, ("filelock", "portalocker", "fasteners"),
         frozenset({TIMER, FILE_LOCK, FUTEX}), "filelock"),
    Rule(SLEEP, ("time.sleep",), frozenset({TIMER}), innermost=True),
    Rule(FUTURE_WAIT, _FUTURES, frozenset({FUTEX})),

    # Databases; those in the same process compute in their own code, too.
    Rule(DATABASE, ("sqlalchemy",), _REMOTE, "SQLAlchemy",
         "create_async_engine with an async driver (asyncpg, psycopg, aiosqlite)"),
    Rule(DATABASE, ("sqlalchemy",), _EMBEDDED, "SQLAlchemy",
         "create_async_engine with aiosqlite"),
    Rule(DATABASE, ("django.db",), _REMOTE | _EMBEDDED, "Django's ORM",
         "its async methods (aget, acreate, `async for`), or sync_to_async around the query"),
    Rule(DATABASE, ("psycopg2",), _REMOTE | {COMPUTING}, "psycopg2",
         "asyncpg, or psycopg's AsyncConnection"),
    Rule(DATABASE, ("psycopg", "psycopg_pool", "psycopg_c", "psycopg_binary"), _REMOTE, "psycopg",
         "its own AsyncConnection (AsyncConnectionPool)"),
    Rule(DATABASE, ("pg8000",), _REMOTE, "pg8000", "asyncpg"),
    Rule(DATABASE, ("pymysql", "MySQLdb", "_mysql", "mysql.connector"), _REMOTE,
         "this MySQL client", "asyncmy or aiomysql"),
    Rule(DATABASE, ("redis",), _REMOTE, "redis", _REDIS),
    Rule(DATABASE, ("valkey",), _REMOTE, "valkey", "valkey.asyncio, which comes with it"),
    Rule(DATABASE, ("pymongo", "mongoengine"), _REMOTE, "pymongo",
         "its own AsyncMongoClient"),
    Rule(DATABASE, ("elastic_transport", "elasticsearch"), _REMOTE, "elasticsearch",
         "its own AsyncElasticsearch"),
    Rule(DATABASE, ("cassandra",), _REMOTE, "the Cassandra driver",
         "execute_async with a callback, or a thread"),
    Rule(DATABASE, ("pymemcache", "memcache", "pylibmc"), _REMOTE, "this memcached client",
         "aiomcache"),
    Rule(DATABASE, ("pyodbc", "pymssql", "oracledb", "cx_Oracle", "clickhouse_driver",
                    "clickhouse_connect", "snowflake.connector"), _REMOTE | {COMPUTING},
         "this database driver", "the driver's async interface, if it has one"),
    Rule(DATABASE, ("sqlite3",), _EMBEDDED, "sqlite3", "aiosqlite"),
    Rule(DATABASE, ("sqlite3", "duckdb"), frozenset({COMPUTING}), "this embedded database",
         "aiosqlite, or a thread", innermost=True, told=True),

    # HTTP clients, the one that the application calls before those that it stands on.
    Rule(HTTP_CLIENT, ("botocore", "boto3", "s3transfer"), _REMOTE, "boto3", "aioboto3"),
    Rule(HTTP_CLIENT, ("requests", "requests_toolbelt"), _REMOTE, "requests", _HTTPX),
    Rule(HTTP_CLIENT, ("httpx", "httpcore"), _REMOTE, "httpx's synchronous client", _HTTPX),
    Rule(HTTP_CLIENT, ("grpc",), _REMOTE, "grpc's synchronous channel", "grpc.aio"),
    Rule(HTTP_CLIENT, ("urllib3",), _REMOTE, "urllib3", _HTTPX),
    Rule(HTTP_CLIENT, ("pycurl", "curl_cffi"), _REMOTE | {PIPE}, "curl", _HTTPX),
    Rule(HTTP_CLIENT, ("httplib2", "urllib.request", "http.client", "xmlrpc.client"), _REMOTE,
         "urllib", _HTTPX),

    # Other protocols.
    Rule(SOCKET_IO, ("smtplib",), _REMOTE, "smtplib", "aiosmtplib"),
    Rule(SOCKET_IO, ("paramiko",), _REMOTE, "paramiko", "asyncssh"),
    Rule(SOCKET_IO, ("kafka", "confluent_kafka"), _REMOTE, "this Kafka client", "aiokafka"),
    Rule(SOCKET_IO, ("pika", "amqp", "kombu"), _REMOTE, "this AMQP client", "aio-pika"),
    Rule(SOCKET_IO, ("ftplib", "imaplib", "poplib", "telnetlib", "ldap3", "ldap"), _REMOTE,
         "this client"),
    Rule(SOCKET_IO, ("ssl", "socket", "socketserver", "select", "selectors"),
         frozenset({SOCKET}), "a blocking socket", "asyncio.open_connection (streams)"),

    # Threads, files.
    Rule(LOCK, ("fcntl.flock", "fcntl.lockf", "fcntl.fcntl", "os.lockf"),
         frozenset({FILE_LOCK})),
    Rule(LOCK, ("threading", "queue", "_thread", "multiprocessing.Lock"),
         frozenset({FUTEX})),
    Rule(FILE_IO, ("open", "print", "io", "os", "shutil", "pathlib", "tempfile", "zipfile",
                   "tarfile", "gzip", "bz2", "lzma", "csv", "pickle", "mmap", "glob"),
         frozenset({FILE, PIPE})),
    Rule(FILE_IO, _FILE_CALLS, frozenset({COMPUTING}), innermost=True, told=True),
)

BY_KERNEL = {
    CHILD: SUBPROCESS, SOCKET: SOCKET_IO, FILE: FILE_IO, PIPE: FILE_IO, FILE_LOCK: LOCK,
    OUTPUT: LOGGING,
}
"""Where no rule knows what is on the stack, as with a C extension: what the kernel alone says."""
SELF_EVIDENT = frozenset({OUTPUT, CHILD, FILE_LOCK})
"""Where it does not even have to be known what is called."""


def matches(name: str, rule: Rule) -> bool:
    """Whether this name is one of the rule's, or belongs to one of them."""
    return any(name == each or name.startswith(each + ".") for each in rule.names)
