"""docs/configuration.md and .env.example: exactly the OTEL_* variables that exist, with correct defaults."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ..contract import defaults

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
checks: Any = importlib.import_module(f"{PACKAGE}.observability.checks")
environment: Any = importlib.import_module(f"{PACKAGE}.observability.environment")

COMPOSERS = ("get_excluded_urls", "get_traced_request_attrs")
"""Functions of opentelemetry.util.http that build a variable's name from their argument."""


def table(heading: str) -> dict[str, list[str]]:
    """Return the cells after the first one, by the variables in the first one, of all tables under `## heading`."""
    text = Path("docs/configuration.md").read_text(encoding="utf-8")
    (section,) = (part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(f"{heading}\n"))
    variables: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            for name in re.findall(r"`(OTEL_[A-Z0-9_]+)`", first):
                assert name not in variables, f"{name} appears twice"
                variables[name] = others
    assert variables
    return variables


EFFECTIVE = table("All OpenTelemetry variables")
WITHOUT_EFFECT = table("Variables without effect")


@cache
def packages() -> frozenset[str]:
    """Return the installed packages that the service depends on, directly or not, without the development tools."""
    found: set[str] = set()
    waiting = [environment.SERVICE_NAME]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # belongs to an extra, or to another platform
            continue
        found.add(name)
        for requirement in requirements:
            package, _, marker = requirement.partition(";")
            if "extra" not in marker or name == environment.SERVICE_NAME:
                waiting += re.findall(r"^[\w.-]+", package)
    return frozenset(found)


@cache
def sources() -> dict[str, str]:
    """Return OpenTelemetry's source files that name a variable, by module."""
    found = {}
    for package in packages():
        for file in distribution(package).files or [] if package.startswith("opentelemetry-") else []:
            if file.suffix == ".py":
                text = Path(str(file.locate())).read_text(encoding="utf-8")
                if re.search("|".join(("OTEL_", *COMPOSERS)), text):
                    found[".".join(file.with_suffix("").parts).removesuffix(".__init__")] = text
    assert found
    return found


def nodes() -> Iterator[ast.AST]:
    for text in sources().values():
        yield from ast.walk(ast.parse(text))


OWN = {"OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"}
"""Variables that only the service's own code reads."""


def installed_variables(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    environ = Mock(get=Mock(return_value=""))
    http = importlib.import_module("opentelemetry.util.http")
    monkeypatch.setattr(http, "environ", environ)
    names = set()
    for node in nodes():
        match node:
            case ast.Constant(value=str(text)) if re.fullmatch("OTEL_[A-Z0-9_]+", text):
                names.add(text)
            case ast.Call(func=ast.Name(id=function), args=[ast.Constant(value=argument)]) if function in COMPOSERS:
                getattr(http, function)(argument)
    return names | {call.args[0] for call in environ.get.call_args_list}


def test_every_installed_variable_is_documented_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installed_variables(monkeypatch)
    documented = EFFECTIVE.keys() | WITHOUT_EFFECT.keys()
    assert len(installed) > 100
    assert installed - documented == set()
    assert documented - installed == OWN
    assert EFFECTIVE.keys() & WITHOUT_EFFECT.keys() == set()


def test_names_are_built_only_in_known_ways() -> None:
    templates = [
        ast.unparse(node)
        for node in nodes()
        if isinstance(node, ast.Constant | ast.JoinedStr) and re.search(r"OTEL_[A-Z0-9_]*[%{]", ast.unparse(node))
    ]
    assert templates == ["'OTEL_PYTHON_{}'"]  # the one of COMPOSERS


@pytest.mark.parametrize("variable", sorted(EFFECTIVE.keys() - OWN))
def test_the_named_module_reads_the_variable(variable: str) -> None:
    modules = [f"opentelemetry.{name}" for name in re.findall("`([^`]+)`", EFFECTIVE[variable][-1])]
    assert modules
    for module in modules:
        mentions = [variable in text for name, text in sources().items() if f"{name}.".startswith(f"{module}.")]
        composed = module == "opentelemetry.util.http" and variable.endswith(("_EXCLUDED_URLS", "_REQUEST_ATTRS"))
        extra = ".otlp." in module and not mentions  # the other protocol's exporter
        assert any(mentions) or composed or extra, module


def test_defaults_of_the_service_are_bold_and_correct() -> None:
    bold = {name: cells[0] for name, cells in EFFECTIVE.items() if cells[0].startswith("**")}
    assert bold == {name: f"**`{value}`**" for name, value in environment.DEFAULTS.items()}


def test_env_example_shows_the_defaults() -> None:
    protocol = environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"]
    expected: dict[str, str | None] = {**defaults(), **environment.DEFAULTS}
    expected["OTEL_SERVICE_NAME"] = environment.SERVICE_NAME
    expected["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://localhost:{checks.PORTS[protocol]}"
    if Path("compose.yaml").is_file():
        text = Path("compose.yaml").read_text(encoding="utf-8")
        expected |= dict(re.findall(r"\$\{([A-Z_]+)(?::-([^}]*)|:\?[^}]*)?\}", text))
    example = Path(".env.example").read_text(encoding="utf-8")
    for name, value in re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", example, re.MULTILINE):
        assert name in expected or name in EFFECTIVE, f"{name} does not exist"
        assert value == (expected.get(name) or ""), name
