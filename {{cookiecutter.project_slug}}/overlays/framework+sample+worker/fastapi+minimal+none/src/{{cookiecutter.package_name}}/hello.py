"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from .greeting import greet

router = APIRouter(prefix="/api")


@router.head("/hello/{name}", include_in_schema=False)
@router.get("/hello/{name}")
async def get_hello(name: Annotated[str, Path(max_length=64)]) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(name)}
