"""What a frame calls, with its full name: the names of `callee`, looked up in the live frame.

Runs in the monitor thread and calls no foreign code: attributes are read past every
`__getattr__`, property and metaclass. Where that does not lead anywhere, nothing is said.
"""

from __future__ import annotations

import builtins
from functools import partial
from types import (
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

from watchdog_worker.capture import appcode
from watchdog_worker.capture.callee import CALLED, TAKEN, Chain, callee
from watchdog_worker.capture.saferepr import type_name
from watchdog_worker.capture.stacks import RawFrame, RawStack, outwards, variable
from watchdog_worker.capture.static import MISSING, attribute, function_name, in_class, is_a, text

_PUBLIC = (
    ("_thread.lock.", "threading.Lock."), ("_thread.RLock.", "threading.RLock."),
    ("_queue.", "queue."), ("_socket.", "socket."), ("_io.", "io."), ("posix.", "os."),
    ("_ssl.", "ssl."), ("_json.", "json."), ("_bisect.", "bisect."), ("_heapq.", "heapq."),
    ("_pickle.", "pickle."), ("_hashlib.", "hashlib."), ("_sqlite3.", "sqlite3."),
    ("_multiprocessing.SemLock.", "multiprocessing.Lock."),
)
"""Modules in C, and the names under which their users know what is in them."""
_MAX_NAME = 120


class Called(NamedTuple):
    """What is called; not to be kept, it holds the application's own object."""

    name: str
    """`time.sleep`, `psycopg2.extensions.cursor.execute`."""
    receiver: Any
    """The object whose method it is; None for a function."""


class _Made(NamedTuple):
    """Stands for an object that a call has made and nobody has named."""

    kind: type | None
    name: str


def with_calls(stack: RawStack, frame: FrameType) -> RawStack:
    """The stack that ends in this live frame, with what its telling frames call.

    Those are the innermost, and the innermost of the application.
    """
    frames = list(stack.frames)
    frames[-1] = _with_call(frames[-1], frame)
    for live in outwards(frame):
        if appcode.is_application(live.f_code.co_filename):
            at = next((at for at in range(len(frames) - 1, -1, -1)
                       if appcode.is_application(frames[at].code.co_filename)), None)
            if at is not None:
                frames[at] = _with_call(frames[at], live)
            break
    return stack._replace(frames=tuple(frames))


def _with_call(raw: RawFrame, live: FrameType) -> RawFrame:
    found = called_by(live) if raw.code is live.f_code else None
    return raw._replace(calls=found and found.name)


def called_by(frame: FrameType) -> Called | None:
    """What this frame calls now; None where it cannot be told."""
    try:
        chain = callee(frame.f_code, frame.f_lasti)
        return _resolved(frame, chain) if chain else None
    except Exception:  # foreign objects can be of any make
        return None


def value_of(frame: FrameType, chain: Chain) -> Any:
    """The object that these names lead to in this frame; `static.MISSING` if they lead nowhere."""
    value = _root(frame, chain[0])
    for name in chain[1:]:
        if value is MISSING or name == CALLED or name == TAKEN:
            return MISSING
        value = attribute(value, name)
    return value


def _resolved(frame: FrameType, chain: Chain) -> Called | None:
    value = _root(frame, chain[0])
    receiver: Any = None
    name = _own_name(value, chain[0])
    for asked in chain[1:]:
        if value is MISSING:
            return None
        if asked == CALLED:
            value, name = _Made(value if is_a(value, type) else None, f"{name}()"), f"{name}()"
        elif asked == TAKEN:
            if not is_a(value, type):  # a class with its parameters is the class
                value, name = _Made(None, f"{name}[]"), f"{name}[]"
        else:
            receiver, value = value, _attribute(value, asked)
            name = _name_on(receiver, asked, value, name)
    if value is MISSING:
        return None
    if type(receiver) is _Made or is_a(receiver, ModuleType):
        receiver = None
    return Called(_public(name)[:_MAX_NAME], receiver)


def _public(name: str) -> str:
    for private, public in _PUBLIC:
        if name.startswith(private):
            return public + name[len(private):]
    return name


def _root(frame: FrameType, name: str) -> Any:
    value = variable(frame, name, MISSING)
    if value is MISSING:
        value = dict.get(frame.f_globals, name, MISSING)
    return vars(builtins).get(name, MISSING) if value is MISSING else value


def _attribute(value: Any, name: str) -> Any:
    if type(value) is not _Made:
        return attribute(value, name)
    return in_class(value.kind, name) if value.kind is not None else value


def _own_name(value: Any, written: str) -> str:
    """The full name of a module, class or function; of anything else, as it is written."""
    kind = type(value)
    if is_a(value, ModuleType):
        return text(value, "__name__") or written
    if is_a(value, type):
        return type_name(value)
    if kind is MethodType:
        return _own_name(value.__func__, written)
    if kind is partial:
        return _own_name(value.func, written)
    if kind is MethodDescriptorType or kind is WrapperDescriptorType:
        return f"{type_name(value.__objclass__)}.{value.__name__}"
    if kind is BuiltinFunctionType:
        owner = value.__self__
        if owner is None or is_a(owner, ModuleType):
            return function_name(value)
        return f"{type_name(owner if is_a(owner, type) else type(owner))}.{value.__name__}"
    return function_name(value) if kind is FunctionType else written


def _name_on(receiver: Any, asked: str, value: Any, so_far: str) -> str:
    """The name of an attribute: as it is written on a module, else by who defines it."""
    if is_a(receiver, ModuleType):
        return f"{so_far}.{asked}"
    if type(receiver) is _Made:
        if receiver.kind is None:
            return f"{so_far}.{asked}"
        receiver = receiver.kind
    if type(value) is staticmethod or type(value) is classmethod:
        value = value.__func__
    own = _own_name(value, "")
    if own and not is_a(value, type):
        return own
    kind = receiver if is_a(receiver, type) else type(receiver)
    return f"{type_name(kind)}.{asked}"
