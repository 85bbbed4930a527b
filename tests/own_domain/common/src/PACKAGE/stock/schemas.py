"""The data that clients exchange with this package."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Article = Annotated[str, Field(pattern="^[a-z0-9-]{1,32}$")]


class ArticlePath(BaseModel):
    """The path parameters of an article."""

    article: Article


class Stock(BaseModel):
    """How many pieces of an article are available."""

    model_config = ConfigDict(extra="forbid")

    available: Annotated[int, Field(ge=0, le=1_000_000)]


class Reservation(BaseModel):
    """Some pieces of an article."""

    model_config = ConfigDict(extra="forbid")

    article: Article
    quantity: Annotated[int, Field(ge=1, le=1000)]
