"""Statements that fail, a batch in a savepoint, and a pool that is exhausted."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError

from . import owner
from .database import session

router = APIRouter(prefix="/x")


@router.get("/fail/{how}")
async def fail(how: str) -> None:
    async with session() as database:
        await database.execute(text(owner.STATEMENTS[how]))


@router.get("/batch")
async def batch() -> None:
    async with session() as database, database.begin(), database.begin_nested():
        await database.execute(text("INSERT INTO things VALUES (:id)"), [{"id": 2}, {"id": 3}])


@router.get("/exhausted")
async def exhausted() -> None:
    async with AsyncExitStack() as stack:
        with suppress(TimeoutError):
            while True:
                await (await stack.enter_async_context(session())).connection()
        await asyncio.to_thread(owner.export)
    await asyncio.to_thread(owner.export)
