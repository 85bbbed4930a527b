"""An owner's routes: a call to another service, and exceptions that are handled or not."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter
from httpx import AsyncClient, HTTPError

from . import owner

router = APIRouter(prefix="/x")


@router.get("/call")
async def call(url: str) -> None:
    async with AsyncClient(trust_env=False) as client:
        await client.get(url)


@router.get("/fail/{what}")
async def fail(what: str) -> dict[str, str]:
    if what == "client":
        async with AsyncClient(trust_env=False) as client:
            with suppress(HTTPError):
                await client.get("http://127.0.0.1:1/")
    else:
        owner.FAILURES[what]()
    return {}
