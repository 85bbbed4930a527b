"""A database, calls and threads in an owner's style: imported by name, and created on import."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import APIRouter
from httpx import AsyncClient, HTTPError, get
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from . import owner

router = APIRouter(prefix="/x")
early = create_async_engine("sqlite+aiosqlite://")
with_options = early.execution_options(logging_token="x").execution_options(stream_results=False)
client = AsyncClient(trust_env=False)


async def query(engine: AsyncEngine, number: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text(f"SELECT {number} AS n{number}"))


@router.get("/queries")
async def queries() -> None:
    late = create_async_engine("sqlite+aiosqlite://")
    await query(with_options, 1)
    await query(early, 2)
    await query(late, 3)
    await query(with_options, 4)
    await late.dispose()


@router.get("/threads")
async def threads() -> None:
    await asyncio.to_thread(owner.run_threads)
    await asyncio.get_running_loop().run_in_executor(None, owner.work, "in run_in_executor")


@router.get("/calls")
async def calls(url: str) -> None:
    with suppress(HTTPError):
        await client.get(url, timeout=owner.time_limit(url))
    with suppress(HTTPError):
        await asyncio.to_thread(get, url, timeout=owner.time_limit(url), trust_env=False)


@router.get("/cancelled")
async def cancelled(url: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.get(url, timeout=20)
