"""docs/telemetry.md against what is installed: no variable is missing, none is made up, no default is out of date."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from unittest.mock import Mock

import pytest

from {{ cookiecutter.package_name }} import environment

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")

COMPOSERS = ("get_excluded_urls", "get_traced_request_attrs")
"""Functions of opentelemetry.util.http that put the name of a variable together from their argument."""


def table(heading: str) -> dict[str, list[str]]:
    """The cells after the first one, by each variable that the first one names, of all tables under `## heading`."""
    (section,) = (part for part in re.split(r"^## ", DOCS, flags=re.MULTILINE) if part.startswith(f"{heading}\n"))
    variables: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", first):
                assert name not in variables, f"{name} stands there twice"
                variables[name] = others
    assert variables
    return variables


EFFECTIVE = table("OpenTelemetry's variables")
DEAD = table("Variables without effect")
OWN = table("The service's own variables")


@cache
def packages() -> frozenset[str]:
    """What the service depends on, directly or not, as far as it is installed; without the development tools."""
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
    """The source files of OpenTelemetry that name a variable, by their module."""
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


def test_the_tables_have_every_variable_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installed_variables(monkeypatch)
    documented = EFFECTIVE.keys() | DEAD.keys()
    assert len(installed) > 100
    assert installed - documented == set()
    assert documented - installed == set()
    assert EFFECTIVE.keys() & DEAD.keys() == set()


def test_no_name_is_composed_in_a_way_that_this_test_does_not_know() -> None:
    templates = [
        ast.unparse(node)
        for node in nodes()
        if isinstance(node, ast.Constant | ast.JoinedStr) and re.search(r"OTEL_[A-Z0-9_]*[%{]", ast.unparse(node))
    ]
    assert templates == ["'OTEL_PYTHON_{}'"]  # the one of COMPOSERS


def test_defaults_of_the_service_are_bold_and_true() -> None:
    bold = {name: cells[0] for name, cells in EFFECTIVE.items() if cells[0].startswith("**")}
    assert bold == {name: f"**`{value}`**" for name, value in environment.DEFAULTS.items()}


@pytest.mark.parametrize("variable", EFFECTIVE)
def test_the_named_module_reads_the_variable(variable: str) -> None:
    modules = [f"opentelemetry.{name}" for name in re.findall("`([^`]+)`", EFFECTIVE[variable][-1])]
    assert modules
    for module in modules:
        mentions = [variable in text for name, text in sources().items() if f"{name}.".startswith(f"{module}.")]
        composed = module == "opentelemetry.util.http" and variable.endswith(("_EXCLUDED_URLS", "_REQUEST_ATTRS"))
        extra = ".otlp." in module and not mentions  # the exporter of the other protocol
        assert any(mentions) or composed or extra, module


def own_variables() -> dict[str, str | None]:
    """The default of each variable that the service itself reads: "" for none, None for one that is worked out."""
    found: dict[str, str | None] = {}
    for path in (*ROOT.glob("src/**/*.py"), *ROOT.glob("*.conf.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(args=[ast.Constant(value=str(name)), *others]):
                    if ast.unparse(node.func) in ("read", "os.environ.get"):
                        default = others[0] if others else ast.Constant("")
                        found[name] = str(default.value) if isinstance(default, ast.Constant) else None
                case ast.Compare(left=ast.Constant(value=str(name)), comparators=[where]):
                    if ast.unparse(where) == "os.environ":
                        found[name] = ""
    return found


def test_the_service_s_own_variables() -> None:
    read = own_variables()
    assert sorted(read) == sorted(OWN)
    for name, default in read.items():
        if default is not None:
            assert OWN[name][0] == (f"`{default}`" if default else "none"), name


def compose_variables() -> dict[str, str | None]:
    """The default of each variable that compose.yaml takes from .env: "" for one that has to be there."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"\$\{([A-Z_]+):(?:-([^}]*)|\?[^}]*)\}", text))


def test_the_example_of_an_environment_shows_the_defaults() -> None:
    protocol = environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"]
    defaults = compose_variables() | own_variables() | environment.DEFAULTS
    defaults["OTEL_SERVICE_NAME"] = environment.SERVICE_NAME
    defaults["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://localhost:{environment.PORTS[protocol]}"
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    lines = re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", example, re.MULTILINE)
    assert compose_variables().keys() <= dict(lines).keys()
    for name, value in lines:
        assert name in EFFECTIVE.keys() | OWN.keys() | compose_variables().keys()
        assert value == (defaults.get(name) or ""), name
