"""docs/ against the code: every setting is documented, with its true default."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings

import {{ cookiecutter.package_name }} as package

ROOT = Path(__file__).parents[1]


def documented() -> dict[str, str]:
    """Return the default, the second cell, of each variable in the tables whose third column is Unit."""
    found: dict[str, str] = {}
    for file in ("configuration.md", "contract.md"):
        is_table = False
        for line in (ROOT / "docs" / file).read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            is_table = bool(cells) and (is_table or cells[1:3] == ["Default", "Unit"])
            if is_table:
                found |= dict.fromkeys(re.findall("`([A-Z][A-Z0-9_]+)`", cells[0]), cells[1])
    return found


def defaults() -> dict[str, str | None]:
    """Return the default of each setting in the package: "" for an empty one, None for a computed one."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(("__main__", ".wsgi", ".asgi")):
            importlib.import_module(module.name)
    found: dict[str, str | None] = {}
    waiting = BaseSettings.__subclasses__()
    while waiting:
        settings = waiting.pop()
        waiting += settings.__subclasses__()
        if settings.__module__.startswith(package.__name__):
            for name, field in settings.model_fields.items():
                value = field.default
                if value is None or field.is_required() or field.default_factory:
                    found[name.upper()] = None
                elif isinstance(value, SecretStr):
                    found[name.upper()] = value.get_secret_value()
                else:
                    found[name.upper()] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    known = documented()
    for name, default in defaults().items():
        hint = "add it to a table of docs/contract.md with the headings Variable, Default, Unit, Effect"
        assert name in known, f"{name} is not documented: {hint}"
        if default is not None:
            assert known[name] == (f"`{default}`" if default else "none"), f"{name}: the default is {default!r}"
