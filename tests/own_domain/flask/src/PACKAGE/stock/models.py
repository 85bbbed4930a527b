"""The table of stock."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class StockRow(Base):
    """The available pieces of an article."""

    __tablename__ = "stock"

    article: Mapped[str] = mapped_column(String(32), primary_key=True)
    available: Mapped[int]
