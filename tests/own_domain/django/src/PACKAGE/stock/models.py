"""The table of stock."""

from django.db import models


class Stock(models.Model):
    """The available pieces of an article."""

    article = models.CharField(max_length=32, primary_key=True)
    available = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.available} of {self.article}"
