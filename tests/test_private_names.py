"""Only workarounds.py and speedups.py, which check what they need, use private names of libraries."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_bake import Answers, as_parameters, cover

Bake = Callable[..., Path]

ALLOWED_IN = {"workarounds.py", "speedups.py"}
DOCUMENTED = {
    "__future__",
    "_typeshed",
    "opentelemetry._logs",
    "opentelemetry.sdk._logs",
    "opentelemetry.sdk._logs.export",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
}
"""Modules that a library's documentation imports, despite their names."""
DOCUMENTED_NAMES = {"os._exit", "sys._current_frames"}
OF_NAMED_TUPLES = {"_asdict", "_replace", "_fields"}
REPLACEABLE = {"g", "urls"}
"""Flask's place for an application's own values, and django.conf.urls, whose handler400 and so on are documented."""
LOGGER = re.compile(r"[a-z]\w*(\.\w+)*\._\w+(\.\w+)*")


def find_private(trees: dict[str, ast.Module]) -> list[str]:
    """Return where a project's code uses private names of others, or replaces attributes of theirs."""
    own = {name for tree in trees.values() for name in own_names(tree)}
    return [
        f"{path}:{line}: {name}"
        for path, tree in trees.items()
        if Path(path).name not in ALLOWED_IN
        for line, name in uses(tree, own)
    ]


def own_names(tree: ast.Module) -> Iterator[str]:
    """Yield names of attributes and methods that the project's own classes have, or that it adds to an object."""
    foreign = set(imported(tree))
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                yield from (item.name for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (name.id for item in body for name in ast.walk(item) if isinstance(name, ast.Name))
            case ast.Attribute(value=ast.Name(id=owner), attr=name, ctx=ast.Store()) if owner not in foreign:
                yield name


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield names that belong to others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)


def uses(tree: ast.Module, own: set[str]) -> Iterator[tuple[int, str]]:
    foreign = set(imported(tree)) - REPLACEABLE
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names if is_private_module(alias.name))
            case ast.ImportFrom(module=str(module), names=names, level=0):
                full = [module] if is_private_module(module) else [f"{module}.{alias.name}" for alias in names]
                yield from ((node.lineno, name) for name in full if is_private_module(name))
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if root(node) in foreign:
                yield node.lineno, f"replaces {ast.unparse(node)}"
            case ast.Attribute(attr=name) if is_private(name) and name not in own | OF_NAMED_TUPLES:
                if ast.unparse(node) not in DOCUMENTED_NAMES:
                    yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Name(id="setattr"), args=[target, *_]) if root(target) in foreign:
                yield node.lineno, f"replaces {ast.unparse(node)}"
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]):
                if is_private(name) and name not in own:
                    yield node.lineno, ast.unparse(node)
            case ast.Constant(value=str(text)) if LOGGER.fullmatch(text) and text not in DOCUMENTED:
                yield node.lineno, repr(text)


def root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def is_private_module(name: str) -> bool:
    parts = name.split(".")
    prefixes = {".".join(parts[: end + 1]) for end in range(len(parts))}
    return any(map(is_private, parts)) and not prefixes & DOCUMENTED


def read(project: Path) -> dict[str, ast.Module]:
    paths = [path for path in project.rglob("*.py") if "tests" not in path.relative_to(project).parts]
    assert {path.name for path in paths} >= ALLOWED_IN
    return {str(path.relative_to(project)): ast.parse(path.read_bytes()) for path in paths}


@pytest.mark.parametrize("answers", as_parameters(cover(2, "framework", "decorator_style", "sample", "worker")))
def test_nothing_private_is_used_elsewhere(answers: Answers, bake: Bake) -> None:
    assert find_private(read(bake(**answers))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import opentelemetry.sdk._shared_internal",
        "from opentelemetry.sdk.trace import _Span",
        "from opentelemetry.sdk import _shared_internal",
        "from opentelemetry.exporter.otlp.proto.common._internal import trace_encoder",
        "trace._TRACER_PROVIDER",
        "span._links['a'] = 1",
        "getattr(trace, '_TRACER_PROVIDER', None)",
        "import subprocess\nsubprocess.Popen.kill = subprocess.Popen.terminate",
        "from opentelemetry.sdk.resources import Resource\nResource.__hash__ = hash",
        "from opentelemetry.sdk.trace import Span\nsetattr(Span, name, value)",
        "import logging\nlogging.getLogger('opentelemetry.sdk._shared_internal')",
        "from celery import _state",
        "from celery.app.trace import build_tracer\nbuild_tracer.__wrapped__ = None",
    ],
)
def test_what_is_private_is_found(line: str, bake: Bake) -> None:
    project = read(bake())
    project["src/order_service/planted.py"] = ast.parse(line)
    assert len(find_private(project)) == 1
