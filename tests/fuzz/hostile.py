"""Reports and details that mean harm: well packed, and made to cost or to confuse a reader."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

NEEDED = ("schema", "event", "severity", "time", "pid", "worker_age", "app", "headline")
"""Without these it is no report at all, and nobody looks at the rest."""
_MIB = 2 ** 20
_TEXT_MOST = 600_000
FORGED = "\n[2026-01-02 12:00:00 +0000] [1] [CRITICAL] WORKER TIMEOUT (pid:1)\r\x1b[2K\x9b\u202e"


class Letter(NamedTuple):
    """What is in a letter, and how it is packed."""

    text: bytes
    packed: bytes


SCALARS = (
    None, True, False, 0, -1, 1, 2 ** 31, 2 ** 53, 2 ** 63, -2 ** 63, 10 ** 19, 10 ** 30, 0.5,
    -0.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"), "", "\0", " ", "\ud800",
    FORGED, "x" * 6_000, "\x7f" * 3_000, "../../../etc/cron.d/x", "%s%n{0}", "1", "true",
    "2026-01-02T12:00:00Z", "post_mortem",
)
_SHORT = [each for each in SCALARS if not isinstance(each, str) or len(each) < 200]
_CONTAINERS: tuple[Callable[[], Any], ...] = (
    list, dict, lambda: [[]], lambda: [None], lambda: {"": {}}, lambda: {"\n": "\n"},
    lambda: [0] * 3_000, lambda: [{}] * 2_500, lambda: {str(at): at for at in range(2_500)},
    lambda: _nested(200), lambda: _nested(900),
)


def value(rng: random.Random) -> Any:
    """To be put in the place of any other."""
    return rng.choice(SCALARS) if rng.random() < 0.8 else rng.choice(_CONTAINERS)()


TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999999", b"-1e-999999", b"9" * 5_000, b"-0", b"1E400",
    b"0." + b"1" * 5_000, b"[" * 5_000, b'{"a":' * 5_000, b'"\\ud800"', b'"\\udfff\\ud800"',
    b'"\\u0000"', b'"\x1b"', b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"null", b"{}", b"[]",
    b'"":', b",", b":", b'"', b"\\", b"\0", b'"schema": true', b'"snapshot": {"threads": 1}',
)
"""To be put anywhere in the text of a letter."""


def letters(report: bytes) -> Iterator[Letter]:
    """`report`: a genuine one, to be spoilt."""
    for text in _texts(report):
        yield Letter(text[:_TEXT_MOST], zlib.compress(text, 9))
    packed = zlib.compress(report, 9)
    yield Letter(report, packed[:-10])
    yield Letter(report, packed + packed)
    yield Letter(report, b"x" + packed)
    yield Letter(report, _many_empty_blocks() + packed)


def details() -> Iterator[bytes]:
    """Of requests, each within the bounds of its place."""
    yield b"[" * 502
    yield b'{"a":' * 83 + b"1" + b"}" * 83
    yield b'{"client": ' + b"9" * 490 + b"}"
    yield b'{"client": 1e999, "headers": NaN, "path": -Infinity}'
    yield b'{"client": {"a": []}, "headers": [["a", "b"]], "path": ["/"]}'
    yield json.dumps({"client": FORGED, "headers": {FORGED: FORGED}, "path": "\ud800"}).encode()
    yield b'{"client": "\xff\xfe\x80"}'
    yield '{"client": "utf-16"}'.encode("utf-16")
    yield b"[1, 2]"
    yield b"{}"


def _texts(report: bytes) -> Iterator[bytes]:
    plain = json.loads(report)
    yield b"\0" * 10 * _MIB
    yield b" " * 10 * _MIB + report
    yield b"[" * 200_000
    yield b'{"schema":1,"threads":' * 20_000
    yield b"[" * 900 + b"]" * 900
    yield b"[" + b"[]," * 170_000 + b"[]]"
    yield b"[" + b"[]," * 9_000_000 + b"[]]"
    yield b"[" + b"0," * 260_000 + b"0]"
    yield _report_with(plain, pid=10 ** 5_000)
    yield _report_with(plain, threads=[{}] * 100_000)
    yield _report_with(plain, **{f"{at:x}": 0 for at in range(100_000)})
    yield _report_with(plain, **{f"{at:x}": 0 for at in range(12_000)})
    yield report[:-1] + b',"a":0' * 80_000 + b"}"
    yield report[:-1] + b',"pid":NaN,"time":Infinity,"worker_age":1e999}'
    yield _inside(plain, lambda old: FORGED if isinstance(old, str) else old)
    yield _inside(plain, lambda old: "\ud800" if isinstance(old, str) else old)
    for seed in range(8):
        yield _inside(plain, partial(_other_type, random.Random(seed)))
    yield _report_with(plain, event="../../../etc/cron.d/x")
    yield _report_with(plain, time="2026-01-02T12:00:00Z/../../x")
    yield _report_with(plain, process={"cgroup": {FORGED: 1}})
    yield _report_with(plain, process={"cpu_user_s": 1.0})
    yield _report_with(plain, profile={"samples": 0, "seconds": 0, "stacks": [
        {"count": 1, "frames": plain["threads"][0]["frames"]}]})
    yield _report_with(plain, loop_lag={"le": [1, 2, 3], "counts": [1], "sum_s": 1, "max_s": 1})
    yield _report_with(plain, death={"reason": FORGED, "raw_stacks": FORGED * 2_000})
    yield _report_with(plain, event="slow_startup", stage={
        "name": FORGED, "seconds": 1e18, "limit_s": -1, "holder": FORGED, "holder_name": FORGED})
    yield _report_with(plain, event="slow_shutdown", stage={
        "name": "shutdown", "seconds": 1, "connections": 10 ** 18, "holder": "thread",
        "holder_name": FORGED * 2_000})
    yield _report_with(plain, requests=[_wide(plain["requests"][0])] * 2)
    yield _wide_threads(plain)
    for encoding in ("utf-16", "utf-32-be", "utf-8-sig"):
        yield json.dumps(plain).encode(encoding)
    yield from (b"", b"null", b"1", b'"text"', b"[]", b'{"schema": 1}', b'{"schema": [1]}')


def _report_with(plain: dict[str, Any], **parts: Any) -> bytes:
    shown = {name: "%HUGE%" if isinstance(value, int) and value > 10 ** 100 else value
             for name, value in parts.items()}
    return json.dumps({**plain, **shown}, separators=(",", ":")).replace(
        '"%HUGE%"', "9" * 400_000).encode()


def _wide(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "headers": {f"{at}\x7f": "\x7f" * 90 for at in range(1_500)}}


def _wide_threads(plain: dict[str, Any]) -> bytes:
    """As many values as the text has room for."""
    frame = {"file": "", "line": 0, "function": ""}
    threads = [{"id": 0, "name": "", "loop": False, "frames": [frame] * 1_000}] * 12
    return _report_with(plain, threads=threads)


def _inside(plain: dict[str, Any], changed: Callable[[Any], Any]) -> bytes:
    """Every scalar changed, but for those without which it is no report at all."""
    kept = {name: plain[name] for name in NEEDED}
    return json.dumps({**_each(plain, changed), **kept, "headline": FORGED, "app": FORGED}).encode()


def _each(part: Any, changed: Callable[[Any], Any]) -> Any:
    if isinstance(part, dict):
        return {name: _each(each, changed) for name, each in part.items()}
    if isinstance(part, list):
        return [_each(each, changed) for each in part]
    return changed(part)


def _other_type(rng: random.Random, old: Any) -> Any:
    return old if rng.random() < 0.3 else rng.choice(_SHORT)


def _nested(depth: int) -> Any:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _many_empty_blocks() -> bytes:
    """A stream that decompresses to nothing for as long as there is room."""
    packer = zlib.compressobj(0)
    return b"".join(packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(3_000))
