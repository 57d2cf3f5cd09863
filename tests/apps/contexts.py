"""An ASGI application whose requests leave ContextVars behind and say what they found in them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from contextvars import ContextVar, copy_context
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread

user: ContextVar[str] = ContextVar("user")


class NamesTheUser(logging.Filter):
    """What an application does that wants to know whose request a line of the log is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = f"[user {user.get('nobody')}] {record.msg}"
        return True


alias = user
logging.getLogger("uvicorn.error").addFilter(NamesTheUser())
boot: ContextVar[str] = ContextVar("boot")
boot.set("set at import")
shared_box: ContextVar[dict[str, int]] = ContextVar("crate", default={})
on_start: ContextVar[str] = ContextVar("on_start")
ended: list[tuple[str, str]] = []


def note_start(scope: Any) -> None:
    """For watchdog_on_request_start."""
    on_start.set(scope["path"])


def note_end(scope: Any) -> None:
    """For watchdog_on_request_end."""
    ended.append((scope["path"], user.get("nobody")))


def broken_hook(scope: Any) -> None:
    """For both: they may fail, also like this."""
    raise SystemExit("broken hook")


def broken_factory() -> Any:
    raise ZeroDivisionError("broken factory")


not_a_variable: dict[str, str] = {}


def seen(query: dict[str, str]) -> dict[str, Any]:
    """What the context held; and leave something behind for whoever comes next."""
    found = {
        "user": user.get(None), "boot": boot.get(None), "on_start": on_start.get(None),
        "box": dict(shared_box.get({})), "ended": list(ended),
        "names": sorted(variable.name for variable in copy_context()),
    }
    me = query.get("me")
    if me:
        user.set(me)
    return found


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    query = {key: value[0] for key, value in parse_qs(scope["query_string"].decode()).items()}
    if scope["type"] == "websocket":
        await websocket(query, receive, send)
        return
    await asyncio.sleep(float(query.get("wait", "0")))  # meanwhile a large body comes, and pauses
    while (await receive()).get("more_body"):
        pass
    page = globals().get("on_" + scope["path"].strip("/"))
    answer = await page(query) if page is not None else seen(query)
    body = json.dumps(answer).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    user.set("the lifespan")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(query: dict[str, str], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(seen(query))})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def on_fail(query: dict[str, str]) -> None:
    user.set(query["me"])
    raise RuntimeError(query["me"])


async def on_pid(query: dict[str, str]) -> int:
    return os.getpid()


async def on_fill(query: dict[str, str]) -> dict[str, Any]:
    """Write into the box again and again, and say what of others was ever in it."""
    mine = query["me"]
    foreign: set[str] = set()
    for at in range(int(query.get("n", "20"))):
        box = shared_box.get()
        box[mine] = at
        await asyncio.sleep(0.001 * (at % 3))
        foreign |= {name for name in shared_box.get() if name != mine}
    return {"foreign": sorted(foreign)}


async def on_story(query: dict[str, str]) -> list[Any]:
    """A few steps, one letter each; what was wrong is answered."""
    me, wrong = query["me"], []
    if user.get(None) is not None:
        wrong.append(f"came with {user.get()}")
    expected: str | None = None
    for at, step in enumerate(query.get("steps", "")):
        if step == "s":
            expected = f"{me}-{at}"
            user.set(expected)
            shared_box.get()[expected] = at
        elif step == "a":
            await asyncio.sleep(0)
        elif step == "w":
            await asyncio.sleep(0.002)
        elif step == "t":
            found = await asyncio.create_task(_read())
            wrong += [] if found == expected else [f"its task saw {found}"]
        elif step == "x":
            found = await anyio.to_thread.run_sync(user.get, None)
            wrong += [] if found == expected else [f"its thread saw {found}"]
        if user.get(None) != expected:
            wrong.append(f"saw {user.get(None)} instead of {expected}")
        wrong += [f"box with {name}" for name in shared_box.get() if not name.startswith(me)]
    return wrong


async def _read() -> str | None:
    await asyncio.sleep(0)
    return user.get(None)


async def on_children(query: dict[str, str]) -> dict[str, Any]:
    """What everything that a request starts sees of its context."""
    user.set(query["me"])
    into_thread: list[str | None] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: into_thread.append(context.run(user.get, None)))
    thread.start()
    thread.join()
    timeout: Any = getattr(asyncio, "timeout", lambda delay: contextlib.nullcontext())  # 3.11
    async with timeout(5):
        waited = await asyncio.wait_for(_read(), 5)
    in_group: list[str | None] = []

    async def child() -> None:
        in_group.append(await _read())

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(10)
    current = asyncio.current_task()
    assert current is not None
    return {
        "task": await asyncio.create_task(_read()), "to_thread": await asyncio.to_thread(user.get),
        "anyio": await anyio.to_thread.run_sync(user.get), "thread": into_thread[0],
        "waited": waited, "group": in_group[0], "cancelled": scope.cancelled_caught,
        "in_all_tasks": current in asyncio.all_tasks(),
    }
