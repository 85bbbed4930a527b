"""Stock in the database."""

from __future__ import annotations

from sqlalchemy import update

from ..database import session
from .models import StockRow


async def put(article: str, available: int) -> None:
    """Store how many pieces are available."""
    async with session() as database, database.begin():
        await database.merge(StockRow(article=article, available=available))


async def take(article: str, quantity: int) -> bool:
    """Take pieces away, unless there are too few; return whether there were enough."""
    enough = (StockRow.article == article, StockRow.available >= quantity)
    async with session() as database, database.begin():
        taken = update(StockRow).where(*enough).values(available=StockRow.available - quantity)
        return bool((await database.execute(taken.returning(StockRow.article))).all())
