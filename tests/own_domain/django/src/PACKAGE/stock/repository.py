"""Stock in the database."""

from __future__ import annotations

from django.db.models import F

from .models import Stock


def put(article: str, available: int) -> None:
    """Store how many pieces are available."""
    Stock.objects.update_or_create(article=article, defaults={"available": available})


def take(article: str, quantity: int) -> bool:
    """Take pieces away, unless there are too few; return whether there were enough."""
    enough = Stock.objects.filter(article=article, available__gte=quantity)
    return bool(enough.update(available=F("available") - quantity))
