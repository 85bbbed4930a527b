"""The service's own settings: every class in the package that extends pydantic's BaseSettings, wherever it is."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from ..redaction import MASK
from .setup import Finding, Setting, error, masked, warning

ROOT = Path(__file__).parents[2]
"""The folder of the service's package."""


def read_settings(environ: Mapping[str, str]) -> tuple[list[Setting], list[Finding]]:
    """Return the variables that the service reads, and a finding for each one whose value it rejects."""
    findings = []
    for module in _modules_with_settings():
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as failure:  # its text may hold a secret
            message = f"cannot be imported ({type(failure).__name__}), so its settings are not checked"
            findings.append(warning(module, message, "start the service to see why"))
    rows: dict[str, Setting] = {}
    for kind in _classes():
        settings, rejected = _read(kind, {name.upper(): value for name, value in environ.items()})
        rows |= {setting.variable: setting for setting in settings if setting.variable not in rows}
        findings += rejected
    return [rows[variable] for variable in sorted(rows)], list(dict.fromkeys(findings))


def _modules_with_settings() -> list[str]:
    """Return the modules that declare settings. Importing others could start the service, as wsgi.py does."""
    declared = []
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:
            declared.append((module, "", {"BaseSettings"}))  # the import reports it
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                declared.append((module, node.name, bases))
    names = {"BaseSettings"}
    while more := {name for _, name, bases in declared if bases & names} - names:
        names |= more
    return sorted({module for module, _, bases in declared if bases & names})


def _classes() -> list[type[BaseSettings]]:
    """Return the package's settings classes, except for those that are part of another one."""
    found: list[type[BaseSettings]] = []
    waiting = BaseSettings.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(f"{ROOT.name}."):
            found.append(kind)
    return [kind for kind in found if not any(kind in other.__mro__[1:] for other in found)]


def _read(kind: type[BaseSettings], environ: Mapping[str, str]) -> tuple[list[Setting], list[Finding]]:
    fields = {name: (_variable(kind, name, field), field) for name, field in kind.model_fields.items()}
    settings: BaseSettings | None = None
    findings = []
    rejected = set()
    try:
        settings = kind()
    except ValidationError as failure:
        for found in failure.errors(include_url=False):
            location = str(found["loc"][0]).lower() if found["loc"] else ""
            name = next((name for name in fields if location in (name.lower(), fields[name][0].lower())), "")
            variable, field = fields.get(name, (kind.__name__, None))
            rejected.add(variable)
            text = str(found["input"])
            value = MASK if field is None else _shown(variable, field, text)
            if found["type"] == "missing":
                message, fix = "required: the service does not start without it", "set it in the environment"
            else:
                message = f"{value!r} is not valid: the service does not start"
                fix = found["msg"].removeprefix("Value error, ").removeprefix("Input ").replace(text or value, value)
            findings.append(error(variable, message, fix))
    except Exception as failure:  # its text may hold a secret
        message = f"cannot be read ({type(failure).__name__}): the service does not start"
        findings.append(error(kind.__name__, message, "start the service to see why"))
    rows = []
    for name, (variable, field) in fields.items():
        given = environ.get(variable, "").strip()
        value = getattr(settings, name) if settings else given or field.get_default()
        is_set = name in settings.model_fields_set if settings else bool(given)
        source = "not valid" if variable in rejected else "environment" if is_set else "default"
        rows.append(Setting(variable, "" if value is None else _shown(variable, field, str(value)), source))
    return rows, findings


def _variable(kind: type[BaseSettings], name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return (alias if isinstance(alias, str) else f"{kind.model_config.get('env_prefix', '')}{name}").upper()


def _shown(variable: str, field: FieldInfo, value: str) -> str:
    if "Secret" in str(field.annotation):
        return MASK if value else value
    return masked(variable, value)
