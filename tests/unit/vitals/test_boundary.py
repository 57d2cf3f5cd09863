"""What enters the boundary leaves it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from watchdog_worker.vitals.boundary import Boundary


def run(application: Any) -> list[str]:
    signs: list[str] = []
    boundary = Boundary(application, lambda: signs.append("sign"))

    async def nothing() -> Any:
        return None

    async def swallow(message: Any) -> None:
        return None

    with pytest.raises(ZeroDivisionError):
        asyncio.run(boundary({"type": "http"}, nothing, swallow))
    return signs


def test_an_application_that_raises_is_a_sign_as_well() -> None:
    """The exception is the server's to see."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    assert run(application) == ["sign", "sign"]
