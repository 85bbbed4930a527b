"""Odd statuses."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .problems import Problem, responses

router = APIRouter(prefix="/x")


@router.get("/status/{status}", responses=responses(499, 520))
async def raised(status: int) -> None:
    raise HTTPException(status, "what the owner says")


@router.get("/problem/{status}")
async def problem(status: int) -> None:
    raise Problem(status, "what the owner says")


@router.get("/response/{status}")
async def response(status: int) -> JSONResponse:
    return JSONResponse({"ok": False}, status)
