"""What is done to a recorder's file: to its bytes, to the JSON in it, to its raw text."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.fuzz import hostile
from tests.fuzz.corpus import Base, put_letter
from watchdog_worker.vitals import layout
from watchdog_worker.vitals.recording import RAW_MOST

_SLOTS_END = layout.slot_at(layout.SLOTS + 1)
_PARTS = (
    (layout.IDENTITY_AT, layout.IDENTITY.size), (layout.BOOT_AT, layout.BOOT.size),
    (layout.VITALS_AT, 256), (layout.PULSE_AT, layout.PULSE.size),
    (layout.SLOT_AT, 8 * layout.SLOT.size), (layout.SLOT_AT, _SLOTS_END - layout.SLOT_AT),
    (layout.DETAIL_AT, 8 * layout.DETAIL.size),
    *((layout.letter_at(index), layout.LETTER.size) for index in range(layout.LETTERS)),
    (layout.letter_at(0), layout.LETTER_SIZE),
)
"""Where bytes matter most: where each begins and how long it is."""

_NUMBERS = (
    b"\0" * 8, b"\xff" * 8, b"\x01" + b"\0" * 7, b"\x02" + b"\0" * 7, b"\xff" * 7 + b"\x7f",
    b"\0" * 7 + b"\x80", b"\xff\xff\xff\xff\0\0\0\0", b"\x80\0\0\0\x80\0\0\0", b"\x7f" * 8,
    *(struct.pack("<d", each) for each in (
        float("nan"), float("inf"), -float("inf"), -1.0, -0.0, 1e12, 1e308, 5e-324)),
    *(struct.pack("<Q", each) for each in (2 ** 53 - 1, 2 ** 53, 32_728, 32_729, 502, 503)),
)


_LINE_MOST = 50_000
_REPEATED_MOST = 600_000
"""So long may a list become by repeating a part of it, in JSON."""


class Case(NamedTuple):
    """One file to be read."""

    data: bytes
    size: int
    """Of the file; what is beyond `data` is a hole."""


class Material(NamedTuple):
    """What a mutation works with."""

    rng: random.Random
    base: Base
    other: Base
    """To take from."""


Mutation = Callable[[bytearray, Material], None]


def case(bases: Sequence[Base], seed: int, number: int) -> Case:
    """The case of this number; the first of them are the unspoilt ones."""
    if number < len(bases):
        data = bases[number].data
        return Case(data, len(data))
    rng = random.Random(f"{seed} {number}")
    genuine = [base for base in bases if base.genuine]
    base = rng.choice(genuine if rng.random() < 0.9 else bases)
    material = Material(rng, base, rng.choice(bases))
    spoilt = bytearray(material.base.data)
    for mutation in rng.choices(_ALL, _WEIGHTS, k=rng.choice((1, 1, 1, 2, 3))):
        mutation(spoilt, material)
    size = len(spoilt)
    if rng.random() < 0.02:
        size += rng.choice((1, 4096, RAW_MOST, 2 ** 20, 64 * 2 ** 20, 2 ** 40))
    return Case(bytes(spoilt), size)


def _flip(data: bytearray, it: Material) -> None:
    for _ in range(it.rng.randint(1, 32)):
        at = _place(data, it.rng)
        if at < len(data):
            data[at] ^= 1 << it.rng.randrange(8)


def _run(data: bytearray, it: Material) -> None:
    at, length = _place(data, it.rng), it.rng.choice((1, 2, 3, 8, 50, 256, 4096))
    length = max(0, min(length, len(data) - at))
    data[at:at + length] = it.rng.choice((
        b"\0" * length, b"\xff" * length, b"A" * length, it.rng.randbytes(length)))


def _number(data: bytearray, it: Material) -> None:
    for _ in range(it.rng.randint(1, 8)):
        at, number = _place(data, it.rng) & ~7, it.rng.choice(_NUMBERS)
        if at + 8 <= len(data):
            data[at:at + 8] = number if it.rng.random() < 0.8 else number[:4] + data[at + 4:at + 8]


def _cut(data: bytearray, it: Material) -> None:
    del data[it.rng.choice((
        0, 1, 511, 4096, layout.SIZE - 1, layout.SIZE, layout.SIZE + 1,
        it.rng.randrange(layout.SIZE), it.rng.randrange(layout.SIZE, layout.SIZE + RAW_MOST))):]


def _extend(data: bytearray, it: Material) -> None:
    more = it.rng.choice((1, 7, 512, 5_000, 50_000))
    data += it.rng.choice((
        b"\0" * more, b"\n" * more, it.rng.randbytes(more), it.other.data[:more],
        it.other.data[layout.RAW_AT:]))


def _splice(data: bytearray, it: Material) -> None:
    at, length = _place(data, it.rng), it.rng.choice((8, 64, 512, 4096, layout.LETTER_SIZE))
    begin = at if it.rng.random() < 0.6 else _place(data, it.rng)
    piece = it.other.data[begin:begin + length]
    data[at:at + len(piece)] = piece


def _letter_shape(data: bytearray, it: Material) -> None:
    """The values in a report."""
    try:
        root = [json.loads(_chosen_text(it))]
        needed = {name: root[0][name] for name in hostile.NEEDED} if (
            it.rng.random() < 0.9 and isinstance(root[0], dict)) else {}
        donor = [json.loads(it.rng.choice(it.other.texts))] if it.rng.random() < 0.2 else root
        for _ in range(it.rng.choice((1, 1, 2, 4, 12))):
            _change(root, it.rng, donor)
        if isinstance(root[0], dict):
            root[0].update(needed)
        spoilt = json.dumps(root[0], ensure_ascii=it.rng.random() < 0.7)
    except (ValueError, LookupError, RecursionError):  # it is spoilt already
        return _letter_text(data, it)
    _put(data, it, zlib.compress(spoilt.encode("utf-8", "surrogatepass"), 1))


def _letter_text(data: bytearray, it: Material) -> None:
    """The text of a report's JSON."""
    rng, text = it.rng, bytearray(_chosen_text(it)[:600_000])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text[at:at] = rng.choice(hostile.TOKENS)
        elif kind == 1:
            text[at:at + rng.randint(1, 40)] = rng.choice(hostile.TOKENS)
        elif kind == 2:
            del text[at:at + rng.choice((1, 10, 1_000))]
        elif kind == 3:
            text[at:at] = text[at:at + rng.choice((1, 10, 1_000))] * rng.choice((1, 10, 100))
        elif text:
            text[at % len(text)] = rng.randrange(256)
    _put(data, it, zlib.compress(text, 1))


def _letter_packed(data: bytearray, it: Material) -> None:
    """What is packed, with a checksum that is right again."""
    packed = bytearray(zlib.compress(_chosen_text(it)[:600_000], 1))
    for _ in range(it.rng.randint(1, 4)):
        packed[it.rng.randrange(min(len(packed), it.rng.choice((2, 64, 10 ** 6))))] ^= (
            1 << it.rng.randrange(8))
    _put(data, it, bytes(packed))


def _detail(data: bytearray, it: Material) -> None:
    """What is told of a request that takes long."""
    rng, index = it.rng, it.rng.randrange(16)
    if rng.random() < 0.5:
        text = json.dumps({name: hostile.value(rng) for name in ("client", "headers", "path")
                           if rng.random() < 0.7}).encode()
    else:
        text = rng.choice(hostile.TOKENS) + rng.choice((b"", b"}", b"]", b":1}"))
    if layout.detail_at(index) + layout.DETAIL.size <= len(data):
        layout.DETAIL.pack_into(data, layout.detail_at(index), rng.randrange(80),
                                rng.choice((len(text) & 0xFFFF, 502, 503, 0, 65535)), text)


def _slot(data: bytearray, it: Material) -> None:
    """A request in flight."""
    rng, at = it.rng, layout.slot_at(it.rng.randrange(layout.SLOTS + 1))
    if at + layout.SLOT.size <= len(data):
        layout.SLOT.pack_into(
            data, at, rng.choice((0, 1, 1, 1, 2, 255)), rng.choice((0, 1, 5, 2 ** 53, 2 ** 64 - 1)),
            rng.choice((0.0, 1003.5, 1e300, -1.0, float("nan"), float("inf"))),
            rng.choice((b"GET", b"websocket", b"\xff" * 16, b"\n\x1b[2K\0x", b"")),
            rng.choice((b"/", hostile.FORGED.encode(), b"\xf0\x9f" * 108, b"%00" * 72, b"")))


def _raw(data: bytearray, it: Material) -> None:
    """Lines of the raw stacks."""
    rng, source = it.rng, it.base if len(it.base.data) > layout.RAW_AT else it.other
    lines = source.data[layout.RAW_AT:].split(b"\n")[:3_000]
    for _ in range(rng.randint(1, 5)):
        at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[at:at + rng.randint(1, 9)] = []
            lines = lines or [b""]
        elif kind == 1:
            lines[at:at] = lines[to:to + rng.randint(1, 30)] * rng.choice((1, 1, 2, 100))
        elif kind == 2:
            lines[at], lines[to] = lines[to], lines[at]
        elif kind == 3:
            lines[at] = rng.choice((lines[at] * 40, lines[at] + lines[to], lines[at][::-1]))
        else:
            where = rng.randrange(len(lines[at]) + 1)
            lines[at] = (lines[at][:where] + rng.choice((
                *hostile.TOKENS[:10], hostile.FORGED.encode(), b'"', b" ", b"\xff", b"\0", b"?"))
                + lines[at][where + rng.choice((0, 1, 10)):])
        lines[at:at + 1] = [line[:_LINE_MOST] for line in lines[at:at + 1]]
        del lines[20_000:]
    data[layout.RAW_AT:] = b"\n".join(_within(lines, RAW_MOST + 10))


def _within(lines: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The first of them, so many bytes in all."""
    for line in lines:
        if most <= 0:
            return
        yield line[:most]
        most -= len(line) + 1


def _place(data: bytearray, rng: random.Random) -> int:
    """Where to change something: mostly where it matters."""
    if rng.random() < 0.1:
        return rng.randrange(len(data) + 1)
    begin, length = rng.choice(_PARTS)
    return begin + rng.randrange(length)


def _chosen_text(it: Material) -> bytes:
    return it.rng.choice(it.base.texts or it.other.texts or (b"{}",))


def _put(data: bytearray, it: Material, packed: bytes) -> None:
    if len(data) >= layout.SIZE:
        put_letter(data, it.rng.randrange(layout.LETTERS), packed,
                   number=it.rng.choice((0, 1, 2, 2 ** 64 - 1)))


def _change(root: list[Any], rng: random.Random, donor: list[Any]) -> None:
    """Something, anywhere in this value; `donor`: another, to take from."""
    inside, key = _somewhere(root, rng)
    kind = rng.randrange(8)
    if kind == 0 and inside is not root:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[rng.choice(("", "schema", "count", "frames", hostile.FORGED))] = inside.pop(key)
    elif kind == 2 and isinstance(inside, list):
        text = json.dumps(inside[key])
        times = min(rng.choice((1, 2, 50, 2_500)), _REPEATED_MOST // len(text))
        # Copies: repetitions within what is repeated itself would have no end.
        inside[key:key] = [json.loads(text) for _ in range(times)]
    elif kind == 3:
        inside[key] = rng.choice(([inside[key]], {"": inside[key]}, str(inside[key])[:9_000]))
    elif kind == 4 and donor is not root:
        at, name = _somewhere(donor, rng)
        inside[key] = at[name]
    elif kind == 5 and isinstance(inside[key], (int, float)):
        inside[key] = rng.choice((-inside[key], inside[key] * 10 ** 15, float(inside[key]) / 3))
    else:
        inside[key] = hostile.value(rng)


def _somewhere(root: list[Any], rng: random.Random) -> tuple[Any, Any]:
    """A list or dict in it, and an index or key there."""
    inside: Any = root
    key: Any = 0
    while isinstance(inside[key], (list, dict)) and inside[key] and rng.random() < 0.9:
        inside = inside[key]
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        key = rng.choice(keys)
        if rng.random() < 0.6 and not isinstance(inside[key], (list, dict)):
            key = rng.choice(keys)  # deep down is more to find
    return inside, key


_CHOICES: dict[Mutation, int] = {
    _flip: 12, _run: 8, _number: 20, _cut: 2, _extend: 3, _splice: 6, _letter_shape: 30,
    _letter_text: 6, _letter_packed: 3, _detail: 5, _slot: 5, _raw: 10,
}
"""How often each is chosen, of all times together."""
_ALL, _WEIGHTS = list(_CHOICES), list(_CHOICES.values())
