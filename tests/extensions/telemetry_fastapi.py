"""Routes of an owner: a call to another service, and exceptions that are handled or not."""

from __future__ import annotations

from fastapi import APIRouter
from httpx import AsyncClient

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
            await owner.refused(client)
    else:
        owner.FAILURES[what]()
    return {}
