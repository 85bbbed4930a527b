"""An owner's routes that use up a process's connections, event loop and threads."""

from __future__ import annotations

import time

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from .database import session

router = APIRouter()
leaked: list[AsyncSession] = []


@router.post("/leak")
async def leak() -> None:
    leaked.append(session())
    await leaked[-1].connection()


@router.get("/block/{seconds}")
async def block(seconds: float) -> None:
    time.sleep(seconds)


@router.get("/wait/{seconds}")
def wait(seconds: float) -> None:
    time.sleep(seconds)
