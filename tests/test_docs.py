"""The documents of the template and of generated projects: links resolve, lines are short, and all is up to date."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]
from jinja2 import FileSystemLoader

from tests.conftest import REPO, unavailable
from tests.test_bake import CHOICES, FRAMEWORKS, TEMPLATE
from tools import documents

LIMITS = {"README.md": 100, "AGENTS.md": 80}
"""Lines of a service's document, whatever the answers."""
LEAN = dict.fromkeys(("dev_tools", "monitoring", "kubernetes", "github_actions"), "no")
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
MARKDOWNLINT = "markdownlint-cli2"


def without_code(path: Path) -> str:
    """Return the text of a Markdown file, with the word "code" for each block of code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```$", r"\1code", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def find_targets(project: Path) -> set[str]:
    """Return the targets of a Makefile."""
    return set(re.findall(r"^([\w-]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def find_faults(path: Path, root: Path, targets: set[str]) -> Iterator[str]:
    """Yield what is wrong with the form, the links and the targets of `make` in a Markdown file."""
    name = path.relative_to(root).as_posix()
    raw, text = path.read_text(encoding="utf-8"), without_code(path)
    for line in text.splitlines():
        if len(line) > 120 and not line.startswith("|"):
            yield f"{name}: longer than 120 characters: {line}"
    for line in raw.splitlines():
        if line != line.rstrip():
            yield f"{name}: spaces at the end of a line: {line}"
    if "\n\n\n" in text:
        yield f"{name}: two blank lines"
    if not re.search(r"[^\n]\n\Z", raw):
        yield f"{name}: does not end with one newline"
    if re.search(r"^\|.*\n\n\|(?!.*\n\|-)", text, re.MULTILINE):
        yield f"{name}: a table is broken in two"
    for command in re.findall(r"`make ([^`]+)`", text):
        named = {word for word in re.sub(r"'.*?'|\".*?\"", "", command).split() if "=" not in word}
        if not named <= targets and name != "CHANGELOG.md":  # which names those of older versions
            yield f"{name}: unknown target: make {command}"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        if not target.startswith("http") and (not linked.exists() or (anchor and anchor not in anchors(linked))):
            yield f"{name}: the link {target} leads nowhere"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="all"),
        pytest.param({"otlp_protocol": "grpc"}, id="grpc", marks=pytest.mark.slow),
        pytest.param(LEAN, id="lean", marks=pytest.mark.slow),
        pytest.param({"otlp_protocol": "grpc", **LEAN}, id="lean-grpc", marks=pytest.mark.slow),
        pytest.param({"worker": "celery"}, id="worker"),
        pytest.param({"worker": "celery", "otlp_protocol": "grpc", **LEAN}, id="lean-worker", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sample", CHOICES["sample"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_documents_of_services_are_well_formed(
    framework: str, sample: str, answers: dict[str, str], bake: Callable[..., Path]
) -> None:
    style = CHOICES["decorator_style"][FRAMEWORKS.index(framework)]
    project = bake(framework=framework, sample=sample, decorator_style=style, **answers)
    targets = find_targets(project)
    faults = [fault for path in sorted(project.rglob("*.md")) for fault in find_faults(path, project, targets)]
    assert not faults, "\n".join(faults)


def test_the_first_documents_of_services_are_short(make_context: Callable[..., dict[str, Any]]) -> None:
    environment = create_env_with_context(make_context())
    environment.loader = FileSystemLoader(REPO / "templates")
    templates = {name: environment.from_string((TEMPLATE / name).read_text(encoding="utf-8")) for name in LIMITS}
    prompts = [prompt for prompt in CHOICES if prompt not in ("python_version", "github_actions")]
    for answers in product(*(CHOICES[prompt] for prompt in prompts)):
        context = make_context(**dict(zip(prompts, answers, strict=True)))
        for name, template in templates.items():
            assert len(template.render(**context).splitlines()) <= LIMITS[name], (name, answers)


def test_documents_of_the_template_are_well_formed(bake: Callable[..., Path]) -> None:
    targets = find_targets(REPO) | find_targets(bake(worker="celery"))
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) < 120
    faults = [fault for path in PAGES for fault in find_faults(path, REPO, targets)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "See [below](#nothing).\n",
        "See [the tests](tests/test_nothing.md).\n",
        "[CONTRIBUTING](CONTRIBUTING.md#nothing)\n",
        "```sh\n# nothing\n```\n\n[A comment](#nothing)\n",
        f"{'long ' * 30}line\n",
        "A space at the end \n",
        "| a |\n|---|\n| b |\n\n| c |\n",
        "No newline",
        "Run `make test nothing`.\n",
    ],
)
def test_a_fault_in_a_document_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "CONTRIBUTING.md").write_text("# Contributing\n", encoding="utf-8")
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    assert len(list(find_faults(page, tmp_path, {"test"}))) == 1


def test_generated_parts_are_up_to_date(bake: Callable[..., Path]) -> None:
    for path, text in documents.generate(bake).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(REPO)} is out of date: run make docs"


def test_a_diagram_leaves_out_what_other_imports_imply() -> None:
    imports = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set[str](), "d": set[str]()}
    assert documents.leave_out_implied(imports) == {**imports, "a": {"b", "d"}}


def test_markdownlint_finds_nothing(bake: Callable[..., Path]) -> None:
    program = shutil.which(MARKDOWNLINT)
    if program is None:
        unavailable(f"{MARKDOWNLINT} is missing, so no Markdown was checked. .ci/run installs it with npm.")
    choices = product(FRAMEWORKS, CHOICES["sample"], CHOICES["worker"])
    projects = [bake(framework=framework, sample=sample, worker=worker) for framework, sample, worker in choices]
    paths = [*PAGES, *(path for project in projects for path in project.rglob("*.md"))]
    command = [program, "--config", str(REPO / ".markdownlint.yaml"), "--no-globs", *(f":{path}" for path in paths)]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
