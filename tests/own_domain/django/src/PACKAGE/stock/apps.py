"""The Django app."""

from django.apps import AppConfig


class StockConfig(AppConfig):
    """Stock and reservations."""

    name = "PACKAGE.stock"
