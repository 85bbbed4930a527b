"""The names and settings in docs/, and those in your code.

In docs/contract.md, the heading of a column is the kind of its names: Span, Event, Attribute, Metric or Log message. To
exempt a name, add a bullet point to a section "Not part of the contract": * `name`: why.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from {{ cookiecutter.package_name }}.components import ServiceSettings

from .support import Telemetry

ROOT = Path(__file__).parents[1]
PACKAGE = "{{ cookiecutter.package_name }}"
# Modules of the template; docs/configuration.md {{ "and docs/worker.md have" if cookiecutter.worker == "celery" else "has" }} their names.
TEMPLATE = {"app", {{ '"asgi", ' if cookiecutter.framework == "django" }}{{ '"database", ' if cookiecutter.sample == "orders" }}{{ '"django_settings", ' if cookiecutter.framework == "django" }}"health", "middleware"}
TEMPLATE |= {"observability", {{ '"postgresql", ' if cookiecutter.sample == "orders" and cookiecutter.framework in ("flask", "django") }}{{ '"prepare", ' if cookiecutter.sample == "orders" }}"problems", {{ '"readiness", ' if cookiecutter.framework in ("flask", "django") }}"settings"{{ ', "wsgi"' if cookiecutter.framework in ("flask", "django") }}}
{{- '
TEMPLATE |= {"celery_app", "dead_letters", "filesystem_broker", "heartbeat", "redis_broker", "worker"}' if cookiecutter.worker == "celery" }}
{{- '
TEMPLATE |= {"background"}' if cookiecutter.framework == "fastapi" and cookiecutter.worker == "celery" }}
KINDS = {"Span", "Event", "Attribute", "Metric", "Log message"}
DECORATORS = {"traced", "async_traced"}
FUNCTIONS = {
    "add_event": "Event",
    "set_attribute": "Attribute",
    **dict.fromkeys(DECORATORS | {"start_as_current_span", "start_span"}, "Span"),
    **dict.fromkeys(("debug", "info", "warning", "error", "exception", "critical"), "Log message"),
}
UNNAMED_SPAN = re.compile(r"(\w+\.)*(async_)?traced(\((\w+=.*)?\))?")
INSTRUMENT = re.compile("create_(observable_)?(counter|up_down_counter|gauge|histogram)")


class Name(NamedTuple):
    """A name in the code; `pattern` allows for the parts that are known at run time only."""

    kind: str
    text: str
    pattern: str
    where: str


def rows(file: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the tables of a file in docs/, each as a dict from heading to cell."""
{{- '
    if file == "configuration.md":
        yield from rows("worker.md")  # which continues it' if cookiecutter.worker == "celery" }}
    headings: list[str] = []
    for line in (ROOT / "docs" / file).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if headings and cells:
            yield dict(zip(headings, cells, strict=False))
        else:
            headings = cells


def documented(file: str = "contract.md") -> set[tuple[str, str]]:
    """Return the kinds and names in the tables of a file in docs/."""
    cells = [(heading, cell) for row in rows(file) for heading, cell in row.items() if heading in KINDS]
    return {(heading, name) for heading, cell in cells for name in re.findall("`([^`]+)`", cell)}


def documented_defaults() -> dict[str, str]:
    """Return the cell with the default of each variable in the tables with the headings Variable and Default."""
    found: dict[str, str] = {}
    for row in (*rows("configuration.md"), *rows("contract.md")):
        if {"Variable", "Default"} <= row.keys():
            found |= dict.fromkeys(re.findall("`([A-Z][A-Z0-9_]+)`", row["Variable"]), row["Default"])
    return found


def defaults() -> dict[str, str | None]:
    """Return the default of each setting: "" for an empty one, None for a computed one."""
    found: dict[str, str | None] = {}
    for name, field in ServiceSettings.model_fields.items():
        value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        is_computed = value is None or field.is_required() or field.default_factory
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found[name.upper()] = None if is_computed else text
    return found


def exempt() -> set[str]:
    """Return the names that are not part of the contract."""
    section = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8").partition("Not part of the contract\n")[2]
    return set(re.findall(r"^\* `([^`]+)`", section.partition("\n#")[0], re.MULTILINE))


def is_owned(module: str) -> bool:
    """Return whether a module or logger is yours, by its name."""
    package, _, rest = module.partition(".")
    return package == PACKAGE and rest.partition(".")[0] not in TEMPLATE


def names_in_code() -> Iterator[Name]:
    """Yield the names that your modules give to telemetry."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        if is_owned(".".join(path.relative_to(ROOT / "src").with_suffix("").parts)):
            for kind, line, text in _find(ast.parse(path.read_text(encoding="utf-8")), ()):
                pattern = re.sub(r"\\{\\}|%[-\\.\d]*[a-z]", ".+", re.escape(text))
                yield Name(kind, text, pattern, f"{path.relative_to(ROOT)}:{line}")


def _find(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[str, int, str]]:
    """Yield kind, line and text of the names below `node`. A name held by a variable is found by `undocumented`."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            scope = (*scope, name)
            if any(UNNAMED_SPAN.fullmatch(ast.unparse(decorator)) for decorator in node.decorator_list):
                yield "Span", node.lineno, ".".join(scope)
        case ast.Call():
            yield from _find_in_call(node)
        case ast.Dict():  # names with a dot are attributes, whatever the dict is used for
            keys = [(key.lineno, str(key.value)) for key in node.keys if isinstance(key, ast.Constant)]
            yield from (("Attribute", line, key) for line, key in keys if re.match(r"[a-z]\w*\.\w", key))
    for child in ast.iter_child_nodes(node):
        yield from _find(child, scope)


def _find_in_call(node: ast.Call) -> Iterator[tuple[str, int, str]]:
    function = ast.unparse(node.func).rpartition(".")[2]
    names = [*node.args, *(item.value for item in node.keywords if item.arg == "name")][:1]
    kind = "Metric" if INSTRUMENT.fullmatch(function) else FUNCTIONS.get(function, "")
    if kind == "Log message" and "log" not in ast.unparse(node.func):  # such as parser.error()
        return
    if function == "set_attributes" and names and isinstance(names[0], ast.Dict):
        kind, names = "Attribute", [key for key in names[0].keys if key]
    for name in names if kind else ():
        if isinstance(name, ast.Constant | ast.JoinedStr):
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            yield kind, name.lineno, text
    for item in node.keywords:
        if function in DECORATORS and item.arg == "args":
            yield from (("Attribute", node.lineno, f"arg.{name}") for name in ast.literal_eval(item.value))


def undocumented(telemetry: Telemetry) -> list[str]:
    """Return the undocumented names that your code has emitted in a test, and how to document them."""
    emitted: set[tuple[str, str]] = set()
    for span in telemetry.spans():
        if span.instrumentation_scope and is_owned(span.instrumentation_scope.name):
            emitted |= {("Span", span.name), *(("Event", event.name) for event in span.events)}
            for attributes in (span.attributes, *(event.attributes for event in span.events)):
                emitted |= {("Attribute", key) for key in attributes or {}}
    for record in telemetry.logs():
        if record.instrumentation_scope and is_owned(record.instrumentation_scope.name):
            emitted |= {("Attribute", key) for key in record.log_record.attributes or {}}
    unknown = emitted - documented() - documented("configuration.md")
    return [f"{add(kind, name)}: a test has emitted it" for kind, name in sorted(unknown) if name not in exempt()]


def add(kind: str, name: str) -> str:
    """Return how to document a name."""
    where = f"in a column with the heading {kind!r}, or under 'Not part of the contract'"
    return f"add {name!r} to docs/contract.md, {where}"
