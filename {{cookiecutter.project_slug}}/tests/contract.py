"""The names in docs/contract.md, and those that your code gives to telemetry.

The heading of a column is the kind of its names: Span, Event, Attribute, Metric or Log message. To exempt a name, add a
bullet point to a section "Not part of the contract": * `name`: why.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .support import Telemetry

ROOT = Path(__file__).parents[1]
PACKAGE = "{{ cookiecutter.package_name }}"
# Modules of the template; docs/configuration.md has their names.
TEMPLATE = {"app", "asgi", "database", {{ '"django_settings", ' if cookiecutter.framework == "django" }}"health", "middleware", "observability"}
TEMPLATE |= {"prepare", "problems", "settings", "wsgi"}
KINDS = {"Span", "Event", "Attribute", "Metric", "Log message"}
INSTRUMENT = re.compile("create_(observable_)?(counter|up_down_counter|gauge|histogram)")
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
DECORATORS = {"traced", "async_traced"}


class Name(NamedTuple):
    """A name in the code; `pattern` also allows for parts that are only known at run time."""

    kind: str
    text: str
    pattern: str
    where: str


def documented(file: str = "contract.md") -> set[tuple[str, str]]:
    """Return the kinds and names in the tables of a file in docs/."""
    headings: list[str] = []
    found = set()
    for line in (ROOT / "docs" / file).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        headings = headings if headings and cells else cells
        for heading, cell in zip(headings, cells, strict=False):
            if heading in KINDS:
                found |= {(heading, name) for name in re.findall("`([^`]+)`", cell)}
    return found


def exempt() -> set[str]:
    """Return the names that are not part of the contract."""
    section = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8").partition("Not part of the contract\n")[2]
    return set(re.findall(r"^\* `([^`]+)`", section.partition("\n#")[0], re.MULTILINE))


def is_owned(module: str) -> bool:
    """Return whether a module or logger is yours, by its name."""
    package, _, rest = module.partition(".")
    return package == PACKAGE and rest.partition(".")[0] not in TEMPLATE


def names_in_code() -> list[Name]:
    """Return the names that your modules give to telemetry."""
    found = []
    for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py")):
        if is_owned(".".join(path.relative_to(ROOT / "src").with_suffix("").parts)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for kind, node, text in _find(tree, []):
                parts, where = [text], f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
                if isinstance(node, ast.JoinedStr):
                    parts = re.split(r"\{[^}]*\}", text)
                elif kind == "Log message":
                    parts = re.split(r"%[-\d.]*[a-z]", text)
                found.append(Name(kind, text, ".+".join(map(re.escape, parts)), where))
    return found


def _find(node: ast.AST, scope: list[str]) -> Iterator[tuple[str, ast.AST, str]]:
    """Yield kind, place and text of the names below `node`. A name held by a variable is found by `undocumented`."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            for decorator in node.decorator_list:
                named = isinstance(decorator, ast.Call) and decorator.args
                function = decorator.func if isinstance(decorator, ast.Call) else decorator
                if _last(function) in DECORATORS and not named:
                    yield "Span", node, ".".join([*scope, name])
            scope = [*scope, name] if isinstance(node, ast.ClassDef) else [*scope, name, "<locals>"]
        case ast.Call():
            yield from _find_in_call(node)
        case ast.Dict():  # names with a dot are attributes, whatever the dict is used for
            keys = [key for key in node.keys if isinstance(key, ast.Constant)]
            yield from (("Attribute", key, str(key.value)) for key in keys if re.match(r"[a-z]\w*\.\w", str(key.value)))
    for child in ast.iter_child_nodes(node):
        yield from _find(child, scope)


def _find_in_call(node: ast.Call) -> Iterator[tuple[str, ast.AST, str]]:
    function, texts = _last(node.func), [*node.args, *(item.value for item in node.keywords if item.arg == "name")][:1]
    kind = {"add_event": "Event", "set_attribute": "Attribute"}.get(function, "")
    if function in DECORATORS or function in {"start_as_current_span", "start_span"}:
        kind = "Span"
    elif INSTRUMENT.fullmatch(function):
        kind = "Metric"
    elif function in LOG_METHODS and isinstance(node.func, ast.Attribute) and "log" in ast.unparse(node.func.value):
        kind = "Log message"
    elif function == "set_attributes" and texts and isinstance(texts[0], ast.Dict):
        kind, texts = "Attribute", [key for key in texts[0].keys if key]
    for text in texts if kind else ():
        if isinstance(text, ast.Constant):
            yield kind, text, str(text.value)
        elif isinstance(text, ast.JoinedStr):
            yield kind, text, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in text.values)
    for item in node.keywords:
        if function in DECORATORS and item.arg == "args":
            yield from (("Attribute", item.value, f"arg.{name}") for name in ast.literal_eval(item.value))


def _last(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


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
