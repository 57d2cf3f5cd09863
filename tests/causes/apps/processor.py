"""Blocks by computing, with the GIL and without."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import threading
import time
import zlib
from typing import Any


SECONDS = 600
TREE: Any = [{"name": str(at), "list": list(range(5))} for at in range(30_000)]
TEXT = json.dumps(TREE)


def python_loop() -> None:
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        count += 1


def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def python_recursion() -> None:
    fib(60)


def json_dumps() -> None:
    while True:
        json.dumps(TREE, indent=1)


def hashing() -> None:
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2_000_000_000)


def compressing() -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))
    while True:
        zlib.compress(data, 9)


def pattern() -> None:
    re.match(r"(a+)+$", "a" * 27 + "b")


def compiled_pattern() -> None:
    words = re.compile(r"^(\w+\s?)*$")
    words.match("a" * 27 + "!")


def json_loads() -> None:
    text = "[" + ",".join([TEXT] * 150) + "]"
    gc.disable()
    json.loads(text)


def big_sort() -> None:
    numbers = [number * 7919 % 10_000_019 for number in range(6_000_000)]
    sorted(numbers + numbers)


def big_number() -> None:
    str(7 ** 1_200_000 % 10 ** 900_000 > 3 ** 9_000_000)


def big_sum() -> None:
    sum(range(150_000_000))


def another_thread() -> None:
    thread = threading.Thread(target=sum, args=(range(200_000_000),), name="summing")
    thread.start()


def one_second() -> None:
    end = time.thread_time() + 1.0
    while time.thread_time() < end:
        pass


def nothing() -> None:
    """Only what is done to the process from outside."""
