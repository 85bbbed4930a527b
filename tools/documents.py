"""Write the parts of the documents that are made from other files. Run it with `make docs`.

These are the pages in docs/examples, and every section between `<!-- NAME: ... -->` and `<!-- end -->`: the diagrams
from imports, the comparison from docs/benchmarks.json.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import FRAMEWORKS, ratio
from tools import demo
from tools.compare import find_own, read_skip

REPO = Path(__file__).resolve().parents[1]
Imports = dict[str, set[str]]
"""Modules or folders, and what each of them imports."""

EXAMPLE = {"sample": "minimal"}
"""The answers of the examples, besides the framework; all others are the defaults."""
FILES = {
    "fastapi": ["src/order_service/__main__.py"],
    "flask": ["src/order_service/wsgi.py", "gunicorn.conf.py"],
    "django": ["src/order_service/urls.py", "src/order_service/wsgi.py", "gunicorn.conf.py"],
}
"""What a page shows besides the files that every framework has."""
FOLDED = {".github", "deploy", "dev"}
"""Folders of which the tree shows the number of files."""
PAGE = """\
# {title}: a generated service

```sh
cookiecutter --no-input gh:org/otel-python-template framework={framework} sample=minimal
```

[Other frameworks](../examples.md)

A star marks what belongs to the service's owner; updates leave it alone.

{tree}
"""

COMPARISON = """\
| Aspect | Wired by hand | This template |
|---|---|---|
| CPU time that telemetry adds to a request, all traces sampled | 1 (traces only) | {cpu} (with metrics and logs) |
| p99 latency at the same load, all traces sampled | 1 | {p99} |
| Spans per request on FastAPI, for a handler with three | {spans_by_hand} | {spans} |
| Shutdown with 3,000 queued spans and no receiver | {shutdown_by_hand} s | {shutdown} s |
| Spans that arrive after SIGTERM, of 200 queued (uvicorn) | 0 | 200 |
| Spans lost at 2,000 requests per second | 25 % | 3 % |
| Recorded duration of a response that streams for 1.2 s (Flask, Django) | 1 ms | 1.2 s |
| Sampling ratio of `abc` or `2` | samples everything, silently | logs one line, uses the default |
| A protocol that does not exist | runs without telemetry | logs one line, uses the default |
| Attribute names | deprecated, unless opted in (`http.method`) | stable (`http.request.method`) |
"""


def main() -> int:
    with TemporaryDirectory(prefix="otel-docs-") as folder:

        def bake(**answers: str) -> Path:
            output = Path(folder, "-".join(answers.values()) or "default")
            output.mkdir()
            return demo.bake(output, **answers)

        for path, text in generate(bake).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 0


def generate(bake: Callable[..., Path]) -> dict[Path, str]:
    """Return each document with generated parts, and the text that it should have."""
    docs = REPO / "docs"
    pages = {docs / "examples" / f"{name}.md": example(name, bake(framework=name, **EXAMPLE)) for name in FRAMEWORKS}
    sections = {"comparison": comparison(), "service": service_diagram(bake()), "template": template_diagram()}
    for path in (REPO / "README.md", docs / "architecture.md"):
        pages[path] = replace_sections(path.read_text(encoding="utf-8"), sections)
    return pages


def replace_sections(text: str, sections: Mapping[str, str]) -> str:
    return re.sub(
        r"(<!-- (\w+):[^>]*-->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{sections[found[2]]}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


# Examples


def example(framework: str, project: Path) -> str:
    """Return a page with the files of a service that have to do with telemetry."""
    own = find_own(project, read_skip(project) or [])
    tree = "\n".join(["```text", f"{project.name}/", *draw_tree(project, project, own), "```"])
    parts = [PAGE.format(title=FRAMEWORKS[framework], framework=framework, tree=tree)]
    source = "src/order_service"
    for name in (
        f"{source}/hello.py",
        f"{source}/greeting.py",
        "tests/test_hello.py",
        f"{source}/app.py",
        *FILES[framework],
        f"{source}/observability/instrument.py",
        f"{source}/observability/telemetry.py",
    ):
        parts.append(f"## {name}\n\n```python\n{(project / name).read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def draw_tree(folder: Path, project: Path, own: set[str], indent: str = "    ") -> Iterator[str]:
    """Yield a line for each file and folder; a star marks what belongs to the service's owner."""
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name)):
        name = path.relative_to(project).as_posix()
        if path.is_file():
            if path.name != "__init__.py" or path.stat().st_size:
                yield f"{indent}{path.name}{' *' if name in own else ''}"
        elif path.name in FOLDED:
            yield f"{indent}{path.name}/  ({sum(found.is_file() for found in path.rglob('*'))} files)"
        else:
            yield f"{indent}{path.name}/"
            yield from draw_tree(path, project, own, indent + "    ")


# Diagrams


def find_imports(path: str, source: str) -> Iterator[str]:
    """Yield the absolute names that a module imports, wherever it does so."""
    parts = path.removeprefix("src/").removesuffix(".py").split("/")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*parts[: len(parts) - node.level]] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def read_imports(root: Path, paths: Iterable[Path], group: Callable[[str], str]) -> Imports:
    """Return what each group of modules imports of the others; modules in the group "" are left out."""
    names = {path.relative_to(root).as_posix(): path for path in paths}
    groups = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): group(name) for name in names}
    found: Imports = {name: set() for name in sorted(set(groups.values()) - {""})}
    for name, path in names.items():
        for imported in find_imports(name, path.read_text(encoding="utf-8")):
            parts = imported.split(".")
            candidates = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
            target = next((groups[module] for module in candidates if module in groups), "")
            if group(name) and target not in ("", group(name)):
                found[group(name)].add(target)
    return found


def leave_out_implied(imports: Imports) -> Imports:
    """Return the imports without those that others imply: of A → B → C and A → C, the last."""

    def reach(start: str, seen: set[str]) -> set[str]:
        for name in imports[start] - seen:
            seen.add(name)
            reach(name, seen)
        return seen

    reached = {name: reach(name, set()) for name in imports}
    return {
        name: {target for target in targets if not any(target in reached[other] for other in targets - {target})}
        for name, targets in imports.items()
    }


def flowchart(imports: Imports, own: Iterable[str] = ()) -> str:
    """Return a Mermaid diagram, with thick borders around what belongs to the service's owner."""
    imports = leave_out_implied(imports)
    ids = {name: re.sub(r"\W+", "_", name) for name in imports}
    lines = [f'    {ids[name]}["{name}"]' for name in imports]
    lines += [f"    {ids[name]} --> {ids[target]}" for name in imports for target in sorted(imports[name])]
    lines += [f"    style {ids[name]} stroke-width:4px" for name in own]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def service_diagram(project: Path) -> str:
    """Return the imports in `src` of a service: its modules, and the folders in its package."""
    source = project / "src"

    def group(path: str) -> str:
        _, *parts = path.split("/")
        return {"__init__.py": ""}.get(parts[0], parts[0] if len(parts) == 1 else f"{'/'.join(parts[:-1])}/")

    own = {name.split("/", 2)[2] for name in find_own(project, read_skip(project) or []) if name.startswith("src/")}
    imports = read_imports(source, source.rglob("*.py"), group)
    return flowchart(imports, [name for name in imports if any(path.startswith(name) for path in own)])


def template_diagram() -> str:
    """Return the imports between the tools, the benchmarks and the folders of tests."""

    def group(path: str) -> str:
        folder, name, *below = path.split("/")
        if below:
            return f"{folder}/{name}/"
        if folder == "benchmarks":
            return "benchmarks/"
        # Of the tests, those that others import.
        is_left_out = name.startswith("test_") and name not in ("test_answers.py", "test_bake.py")
        return "" if is_left_out or name == "__init__.py" else path

    folders = (REPO / name for name in ("benchmarks", "tests", "tools"))
    foreign = {"own_domain", "service_suite"}
    paths = (path for folder in folders for path in folder.rglob("*.py") if not foreign & {*path.parts})
    return flowchart(read_imports(REPO, paths, group))


# The comparison


def comparison() -> str:
    """Return the table that compares the template with what tutorials teach."""
    figures = json.loads((REPO / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    servers: dict[str, Any] = figures["servers"]

    def between(values: Iterable[float]) -> str:
        low, *_, high = sorted(values)
        return f"{low:.2f} to {high:.2f}"

    def count(cells: dict[str, Any]) -> int:
        return int(median(cells["spans"]))  # requests before and after the measured time add a fraction

    shutdown = figures["shutdown"]["all"]["refused"]
    return COMPARISON.format(
        cpu=between(ratio(cells, "ours 1.0", "guide") for cells in servers.values()),
        p99=between(median(cells["ours 1.0"]["p99"]) / median(cells["guide"]["p99"]) for cells in servers.values()),
        spans=count(servers["fastapi"]["ours 1.0"]),
        spans_by_hand=count(servers["fastapi"]["guide"]),
        shutdown=f"{shutdown['ours'][0]:.0f}",
        shutdown_by_hand=f"{shutdown['sdk'][0]:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
