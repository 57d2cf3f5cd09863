"""A FastAPI application whose blocking call lies deep: middleware, dependencies, a service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import requests
from fastapi import Depends, FastAPI, Request

app = FastAPI()
URL = f"http://127.0.0.1:{os.environ['SILENT_PORT']}/rates"


class Rates:
    """What the endpoint depends on."""

    def __init__(self) -> None:
        self.session = requests.Session()

    def today(self) -> Any:
        return self.session.get(URL).json()


def rates() -> Iterator[Rates]:
    yield Rates()


class Shop:
    def __init__(self, rates: Annotated[Rates, Depends(rates)]) -> None:
        self.rates = rates

    def price(self) -> Any:
        return self.rates.today()


@app.middleware("http")
async def timed(request: Request, call_next: Any) -> Any:
    return await call_next(request)


@app.get("/block")
async def price(shop: Annotated[Shop, Depends()]) -> Any:
    return shop.price()


@app.get("/")
def pid() -> int:
    return os.getpid()
