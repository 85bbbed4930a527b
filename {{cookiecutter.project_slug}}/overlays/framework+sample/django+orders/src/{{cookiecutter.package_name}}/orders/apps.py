"""The Django app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders and payments."""

    name = "{{cookiecutter.package_name}}.orders"
