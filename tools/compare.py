# /// script
# requires-python = ">=3.11"
# dependencies = ["cookiecutter==2.7.1"]
# ///
"""Compare two sets of answers or versions, a service with what its answers generate today, or two recorded sessions.

Nothing is changed. If the template's history contains the state from which a service was generated, the comparison is
three-way and shows who changed each file. `make conventions` in a generated service clones the template and runs this
file on its own, so its dependencies are listed above.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from cookiecutter.exceptions import CookiecutterException  # type: ignore[import-untyped]
from cookiecutter.generate import generate_context, generate_files  # type: ignore[import-untyped]
from cookiecutter.prompt import prompt_for_config  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).resolve().parents[1]

# The areas of the conventions. A file belongs to exactly one: a star matches within a folder, a final slash everything
# below it.
AREAS = {
    "observability": "src/*/observability/*.py",
    "doctor": "src/*/observability/doctor/",
    "shell": """
        src/*/__init__.py src/*/__main__.py src/*/app.py src/*/asgi.py src/*/django_settings.py src/*/health.py
        src/*/middleware.py src/*/problems.py src/*/readiness.py src/*/settings.py src/*/wsgi.py gunicorn.conf.py
        manage.py
    """,
    "database": "src/*/database.py src/*/postgresql.py src/*/prepare.py migrations/*",
    "worker": """
        src/*/background.py src/*/celery_app.py src/*/dead_letters.py src/*/filesystem_broker.py src/*/heartbeat.py
        src/*/redis_broker.py src/*/worker.py
    """,
    "tests": "tests/",
    "viewer": "dev/viewer/ dev/__init__.py",
    "bench": "dev/bench.py dev/traffic.py",
    "docs": "docs/ .env.example AGENTS.md",
    "deploy": "deploy/ compose.yaml",
    "image": "Dockerfile .dockerignore",
    "pins": "pyproject.toml",
    "commands": "Makefile .gitignore .pre-commit-config.yaml",
    "workflows": ".github/",
}
# Files that the generated `[tool.cruft] skip` lists, and files that no area knows.
OWNED, OTHER = "yours", "other"
# The answers and the version that the files follow, which the report states in words.
RECORDS = (".cruft.json", ".cookiecutter.json")

MISSING, DIFFERENT = "missing", "different"
BY_SERVICE, BY_TEMPLATE, BY_BOTH = "changed by the service", "changed by the template", "changed by both"
# A service may contain anything. No generated file has as many bytes, or lines.
MOST_BYTES, MOST_LINES = 1_000_000, 20_000

# The bytes of a file, or the reason it cannot be read; None if it does not exist.
Content = bytes | str | None
# Generates from a commit of the template, or from its working tree: `generate(template, commit, answers, folder)`.
Generate = Callable[[Path, str | None, dict[str, str], Path], Path]


# How tables of telemetry begin in the documents of a service, and what their rows describe.
SIGNALS = {
    "Span": "spans",
    "Event": "events",
    "Attribute": "attributes",
    "Resource attribute": "resource attributes",
    "Metric": "metrics",
    "Log message": "log messages",
}
# What `--between` compares, and how the names of recorded sessions end.
BETWEEN = 'answers and a version, such as "@0.1.0 framework=flask", or a file of OTLP JSON lines, such as session.jsonl'
SESSION = ".jsonl"
# Columns that explain. Whatever else changes is a change of the telemetry.
PROSE = {"Meaning", "What it covers", "What it measures"}
SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
METRIC_KINDS = {
    "gauge": "gauge",
    "sum": "counter",
    "histogram": "histogram",
    "exponentialHistogram": "histogram",
    "summary": "summary",
}
# The names of each signal, and what is known about a name, by column.
Telemetry = dict[str, dict[str, dict[str, str]]]


class CompareError(Exception):
    """Nothing can be compared; the message explains why and what to do."""


class AnswersError(CompareError):
    """The template refuses the answers."""


@dataclass(frozen=True)
class Record:
    """A service's record of its origin."""

    file: str
    version: str | None
    commit: str | None
    answers: dict[str, str]
    skip: list[str]


def read_record(service: Path) -> Record:
    """Return the record, or raise CompareError if there is none that can be read."""
    found = ((name, content) for name in RECORDS if (content := read_file(service, name)) is not None)
    name, content = next(found, (None, None))
    if name is None or content is None:
        raise CompareError(f"{service} has neither {' nor '.join(RECORDS)}: name the folder of a generated service.")
    try:
        if isinstance(content, str):
            raise ValueError(content)
        record = json.loads(content)
        context = record["context"] if name == ".cruft.json" else record
        answers = {key: value for key, value in context["cookiecutter"].items() if not key.startswith("_")}
        version = {**context, **context["cookiecutter"]}.get("_template_version")
        commit = record.get("commit")
        if not all(isinstance(text, str) for text in [*answers.values(), version or "", commit or ""]):
            raise ValueError("an answer is not a text")
        return Record(name, version, commit, answers, check_skip(record.get("skip") or []))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CompareError(f"{service / name} is not a record of answers ({error!r}).") from None


def read_prompts(template: Path) -> dict[str, Any]:
    """Return the prompts and their defaults; choices are a list."""
    variables = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    return {prompt: default for prompt, default in variables.items() if not prompt.startswith("_")}


def read_version(template: Path) -> str:
    """Return the version that the template gives itself."""
    version: str = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))["_template_version"]
    return version


def read_changelog(template: Path) -> dict[str, str]:
    """Return the text of each version, newest first; the title of changes to come is `Unreleased`."""
    return parse_changelog((template / "CHANGELOG.md").read_text(encoding="utf-8"))


def parse_changelog(text: str) -> dict[str, str]:
    parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return the sort key of a version; None if the text is not a version.

    >>> parse_version("0.10.0") > parse_version("0.9.1"), parse_version("Unreleased")
    (True, None)
    """
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", text) else None


def entries_since(version: str | None, changelog: dict[str, str]) -> dict[str, str]:
    """Return the entries that are newer than the version.

    >>> list(entries_since("0.1.0", {"Unreleased": "c", "0.2.0": "b", "0.1.0": "a"}))
    ['Unreleased', '0.2.0']
    """
    seen = parse_version(version or "") or ()
    return {title: text for title, text in changelog.items() if (parse_version(title) or (sys.maxsize,)) > seen}


def bake(template: Path, answers: dict[str, str], folder: Path) -> Path:
    """Generate a project into the folder from the answers as they are, and the defaults of other prompts."""
    prompts = read_prompts(template)

    def as_data(prompt: str, answer: str) -> str:
        # Cookiecutter renders its input. This Jinja expression evaluates to the answer.
        return answer if isinstance(prompts[prompt], list) else f"{{{{ {json.dumps(answer, ensure_ascii=False)} }}}}"

    given = {prompt: as_data(prompt, answer) for prompt, answer in answers.items() if prompt in prompts}
    try:
        context = generate_context(str(template / "cookiecutter.json"), extra_context=given)
    except ValueError as error:  # not a choice
        raise AnswersError(f"The template cannot use the answers: {error}") from None
    context["cookiecutter"] = prompt_for_config(context, no_input=True)
    if errors := find_errors(template, context):
        raise AnswersError("The template cannot use the answers:\n" + "\n".join(errors))
    return Path(generate_files(repo_dir=str(template), context=context, output_dir=str(folder)))


def find_errors(template: Path, context: dict[str, Any]) -> list[str]:
    """Ask the template's hook first: run by cookiecutter, it would explain how to continue with cookiecutter."""
    source = (template / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    hook: dict[str, Any] = {"__name__": "pre_gen_project"}
    exec(create_env_with_context(context).from_string(source).render(**context), hook)
    errors: dict[str, str] = hook["find_errors"](hook["ANSWERS"])
    return list(errors.values())


def find_ancestor(record: Record, template: Path) -> str | None:
    """Return the template's commit from which the service was generated or last updated, if it exists here.

    Its hooks will run, and a record may name any commit, so only this history and its tags count.
    """
    names = []
    if record.commit and re.fullmatch("[0-9a-f]{40}", record.commit):
        names.append(record.commit)
    if record.version and parse_version(record.version):
        names.append(f"refs/tags/{record.version}")
    for name in names:
        done = git(template, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        commit = done.stdout.decode().strip()
        if done.returncode == 0 and (
            name != commit or git(template, "merge-base", "--is-ancestor", commit, "HEAD").returncode == 0
        ):
            return commit
    return None


def generate(template: Path, commit: str | None, answers: dict[str, str], folder: Path) -> Path:
    """Generate the service as it was before any edit, or without a commit, as it is today."""
    if commit is None:
        return bake(template, answers, folder / "today")
    return bake(extract(template, commit, folder / "template"), answers, folder / "before")


def extract(template: Path, commit: str, folder: Path) -> Path:
    """Write the template's state at the commit into the folder, and return it."""
    with tarfile.open(fileobj=io.BytesIO(git(template, "archive", commit).stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)


def read_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Return the contents of all files, or of the named ones that exist, by POSIX path."""
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def read_file(service: Path, name: str) -> Content:
    """Return a file of a service. A link out of the service is not followed, a pipe not opened."""
    try:
        path = (service / name).resolve(strict=True)
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return None
        if not path.is_relative_to(service.resolve()):
            return "is a link out of the service"
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        if status.st_size > MOST_BYTES:
            return f"has {status.st_size} bytes"
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read(MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        return f"cannot be read: {getattr(error, 'strerror', error)}"


def read_skip(project: Path) -> list[str] | None:
    """Return the paths that `[tool.cruft]` leaves to the service; None without such a list."""
    content = read_file(project, "pyproject.toml")
    try:
        if content is None:
            return None
        if isinstance(content, str):
            raise ValueError(content)
        skip = tomllib.loads(content.decode()).get("tool", {}).get("cruft", {}).get("skip")
        return None if skip is None else check_skip(skip)
    except (ValueError, AttributeError, RecursionError) as error:
        raise CompareError(f"{project / 'pyproject.toml'} cannot be read: {error}") from None


def check_skip(patterns: object) -> list[str]:
    """Return the paths to skip. An update deletes what they match in generated files, so none may lead elsewhere."""
    if isinstance(patterns, list) and all(isinstance(text, str) for text in patterns):
        paths = [PurePosixPath(text) for text in patterns]
        if all(path.parts and not path.is_absolute() and ".." not in path.parts for path in paths):
            return patterns
    raise ValueError(f"{patterns!r:.100} is not a list of paths in the service")


def find_own(project: Path, patterns: list[str]) -> set[str]:
    """Return the files that the patterns match by cruft's rule: with a star a glob, else a file or folder."""
    found = [path for text in patterns for path in (project.glob(text) if "*" in text else [project / text])]
    files = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {file.relative_to(project).as_posix() for file in files}


def find_areas(path: str) -> list[str]:
    """Return the areas whose patterns match the file.

    >>> find_areas("src/order_service/observability/logs.py"), find_areas("deploy/prometheus/alerts.yaml")
    (['observability'], ['deploy'])
    >>> find_areas("src/order_service/observability/doctor/setup.py"), find_areas("notes.txt")
    (['doctor'], [])
    """

    def matches(pattern: str) -> bool:
        expression = re.escape(pattern).replace(r"\*", "[^/]*") + (".+" if pattern.endswith("/") else "")
        return re.fullmatch(expression, path) is not None

    return [area for area, patterns in AREAS.items() if any(map(matches, patterns.split()))]


def find_area(path: str) -> str:
    """Return the area that the file belongs to.

    >>> find_area("Makefile"), find_area("notes.txt")
    ('commands', 'other')
    """
    return next(iter(find_areas(path)), OTHER)


def judge(before: Content, today: Content, here: Content) -> str | None:
    """Return who changed a file since `before`; None if there is no difference.

    >>> judge(b"1", b"1", b"2"), judge(b"1", b"2", b"1"), judge(b"1", b"2", b"3"), judge(b"1", b"1", None)
    ('changed by the service', 'changed by the template', 'changed by both', 'missing')
    >>> judge(None, b"1", None), judge(b"1", None, b"1"), judge(b"1", None, None), judge(b"1", b"2", b"2")
    ('changed by the template', 'changed by the template', None, None)
    """
    if here == today:
        return None
    if here == before:
        return BY_TEMPLATE
    if here is None:
        return MISSING
    return BY_SERVICE if before == today else BY_BOTH


def make_diff(path: str, old: Content, new: Content, labels: tuple[str, str]) -> str:
    """Return a unified diff, or why there is none."""
    for content in (old, new):
        if isinstance(content, str):
            return f"{path} {content}\n"

    def lines(content: Content) -> list[str]:
        return content.decode().splitlines(keepends=True) if isinstance(content, bytes) else []

    before, after = (
        f"{label}/{path}" if content is not None else "/dev/null"
        for label, content in zip(labels, (old, new), strict=True)
    )
    try:
        first, second = lines(old), lines(new)
    except UnicodeDecodeError:
        return f"Binary files {before} and {after} differ\n"
    if len(first) + len(second) > MOST_LINES:
        return f"Long files {before} and {after} differ\n"
    found = list(difflib.unified_diff(first, second, before, after))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)


def compare_service(service: Path, template: Path, folder: Path, generate: Generate = generate) -> dict[str, Any]:
    """Return the differences between a service and what its answers generate today."""
    record = read_record(service)
    today = generate(template, None, record.answers, folder)
    ancestor = find_ancestor(record, template)
    before, reason = None, "the template's history has neither its commit nor a tag for its version"
    if ancestor:
        try:
            before = generate(template, ancestor, record.answers, folder)
        except (CompareError, CookiecutterException, KeyError) as error:
            reason = f"the template's state at that time cannot be generated any more ({error})"
    generated = [today, before] if before else [today]
    patterns = read_skip(service)
    patterns = [*(read_skip(today) or [] if patterns is None else patterns), *record.skip]

    own = {path for project in generated for path in find_own(project, patterns)}
    of_today, of_before = read_files(today), read_files(before) if before else {}
    here = {path: content for path in {*of_today, *of_before} if (content := read_file(service, path)) is not None}
    # Deleted files of the owner don't matter, even if their lines in `skip` were deleted as well.
    sample = {path for project in generated for path in find_own(project, read_skip(project) or [])}
    deleted = (own | sample) - set(here)
    paths = sorted({*of_today, *of_before} - deleted - set(RECORDS))
    differences, of_own = [], {}
    for path in paths:
        old, new = here.get(path), of_today.get(path)
        if before:
            state = judge(of_before.get(path), new, old)
        else:
            state = None if old == new else MISSING if old is None else DIFFERENT
        if state and path in own:
            of_own[path] = state
        elif state:
            diff = make_diff(path, old, new, ("service", "template"))
            differences.append({"path": path, "area": find_area(path), "state": state, "diff": diff})
    prompts = read_prompts(template)
    return {
        "service": service.resolve().name,
        "record": record.file,
        "from": {"version": record.version, "commit": record.commit},
        "to": {"version": read_version(template)},
        "ancestor": ancestor if before else None,
        "ancestor_missing": None if before else reason,
        "prompts": {
            "new": [prompt for prompt in prompts if prompt not in record.answers],
            "gone": [prompt for prompt in record.answers if prompt not in prompts],
        },
        "changelog": entries_since(record.version, read_changelog(template)),
        "compared": len(set(paths) - own),
        "differences": sort(differences),
        "own": of_own,
        "telemetry": compare_telemetry(
            *(
                read_contract({path: content for path, content in files.items() if path not in own})
                for files in (of_before if before else of_today, of_today)
            )
        ),
    }


def compare_answers(texts: list[str], template: Path, folder: Path) -> dict[str, Any]:
    """Return the differences between the projects of two sets of answers, such as "framework=flask"."""
    projects = []
    for name, text in zip("AB", texts, strict=True):
        (folder / name).mkdir()
        version, answers = parse_answers(text, template, folder / name / "template")
        projects.append(bake(version, answers, folder / name))
    own = {path for project in projects for path in find_own(project, read_skip(project) or [])}
    first, second = map(read_files, projects)
    differences = []
    for path in sorted({*first, *second} - set(RECORDS)):
        old, new = first.get(path), second.get(path)
        if old != new:
            state = "only with B" if old is None else "only with A" if new is None else DIFFERENT
            area = OWNED if path in own else find_area(path)
            diff = make_diff(path, old, new, ("A", "B"))
            differences.append({"path": path, "area": area, "state": state, "diff": diff})
    return {
        "A": texts[0],
        "B": texts[1],
        "compared": len({*first, *second}),
        "differences": sort(differences),
        "telemetry": compare_telemetry(read_contract(first), read_contract(second)),
    }


def parse_answers(text: str, template: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Read `key=value`, as on cookiecutter's command line, and `@0.1.0`, a tag or commit of the template.

    Return the template, which is extracted into the folder if it is an earlier one, and the answers.
    """
    parts = shlex.split(text)
    for part in [part for part in parts if part.startswith("@")]:
        parts.remove(part)
        done = git(template, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{part[1:]}^{{commit}}")
        if done.returncode:
            raise CompareError(f"{part!r}: the template has no such tag or commit.")
        template = extract(template, done.stdout.decode().strip(), folder)
    prompts = read_prompts(template)
    answers = {}
    for part in parts:
        prompt, equals, answer = part.partition("=")
        if not equals or prompt not in prompts:
            raise CompareError(
                f"{part!r} does not answer a prompt. Write prompt=answer; prompts: {', '.join(prompts)}."
            )
        answers[prompt] = answer
    return template, answers


def compare_sessions(paths: list[str]) -> dict[str, Any]:
    """Return the differences between the telemetry in two files of OTLP JSON lines."""
    first, second = (read_session(Path(path)) for path in paths)
    return {"A": paths[0], "B": paths[1], "telemetry": compare_telemetry(first, second)}


def read_contract(files: dict[str, bytes]) -> Telemetry:
    """Return what the documents of a project say about its telemetry.

    >>> document = b"| Metric | Unit |\\n|---|---|\\n| `a`, `b` | s |\\n| the rest | 1 |\\n"
    >>> read_contract({"docs/contract.md": document})["metrics"]
    {'a': {'Unit': 's'}, 'b': {'Unit': 's'}, 'the rest': {'Unit': '1'}}

    Several documents may have a name; the texts are joined.

    >>> document = b"| Attribute | Type | Where |\\n|---|---|---|\\n| `a` | int | %s |\\n"
    >>> read_contract({"docs/worker.md": document % b"tasks", "docs/contract.md": document % b"orders"})["attributes"]
    {'a': {'Type': 'int', 'Where': 'tasks; orders'}}
    """
    found: Telemetry = {signal: {} for signal in SIGNALS.values()}
    for path in ("docs/configuration.md", "docs/worker.md", "docs/contract.md"):
        header: list[str] = []
        for line in files.get(path, b"").decode(errors="replace").splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not cells or not header:
                header = cells
            elif header[0] in SIGNALS and not re.fullmatch(r":?-+:?", cells[0]):
                for name in re.findall(r"`([^`]+)`", cells[0]) or cells[:1]:
                    row = found[SIGNALS[header[0]]].setdefault(name, {})
                    for column, text in zip(header[1:], cells[1:], strict=False):
                        known = row.get(column, text)
                        row[column] = text if known == text else f"{known}; {text}"
    return found


def read_session(path: Path) -> Telemetry:
    """Return the telemetry in a file that `python -m dev.viewer export` or a collector's file exporter has written.

    Format: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
    """
    found: Telemetry = {signal: {} for signal in SIGNALS.values()}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CompareError(f"{path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        try:
            read_request(json.loads(line or b"{}"), found)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise CompareError(f"{path}, line {number}: not a request of OTLP in JSON ({error!r:.200}).") from None
    return found


def read_request(request: dict[str, Any], found: Telemetry) -> None:
    """Add the names in an export request to those that were found."""

    def note(signal: str, name: str, **about: str) -> None:
        row = found[signal].setdefault(name, {})
        for column, text in about.items():
            row[column] = ", ".join(sorted({*row.get(column, "").split(", "), text} - {""}))

    def note_attributes(of: dict[str, Any], signal: str = "attributes") -> None:
        for attribute in of.get("attributes", []):
            note(signal, attribute["key"], Type="".join(attribute["value"]).removesuffix("Value"))

    for part in ("Spans", "Metrics", "Logs"):
        for resource in request.get(f"resource{part}", []):
            note_attributes(resource.get("resource", {}), "resource attributes")
            for scope in resource.get(f"scope{part}", []):
                for span in scope.get("spans", []):
                    note("spans", span["name"], Kind=SPAN_KINDS[span.get("kind", 0)])
                    note_attributes(span)
                    for event in span.get("events", []):
                        note("events", event["name"], Span=span["name"])
                        note_attributes(event)
                for metric in scope.get("metrics", []):
                    note("metrics", metric["name"], Unit=metric.get("unit", ""))
                    for kind in METRIC_KINDS.keys() & metric.keys():
                        up_down = kind == "sum" and not metric[kind].get("isMonotonic")
                        note("metrics", metric["name"], Kind="up-down counter" if up_down else METRIC_KINDS[kind])
                        for point in metric[kind].get("dataPoints", []):
                            for attribute in point.get("attributes", []):
                                note("metrics", metric["name"], Attributes=attribute["key"])
                for record in scope.get("logRecords", []):
                    body = record.get("body", {}).get("stringValue", "")
                    logger = scope.get("scope", {}).get("name", "")
                    note("log messages", body, Level=record.get("severityText", ""), Logger=logger)
                    note_attributes(record)


def compare_telemetry(first: Telemetry, second: Telemetry) -> dict[str, Any]:
    """Return the names that were added, removed, renamed and changed, for each signal with a difference.

    A name is renamed if it disappears, and exactly one new name of its signal has the same row.
    """
    found = {}
    for kind in SIGNALS.values():
        old, new = first[kind], second[kind]
        removed, added = [name for name in old if name not in new], [name for name in new if name not in old]
        renamed = {}
        for name in removed:
            heirs = [other for other in added if old[name] and new[other] == old[name]]
            if len(heirs) == 1 and [old[other] for other in removed].count(old[name]) == 1:
                renamed[name] = heirs[0]
        changed = {name: columns for name in old if name in new and (columns := compare_rows(old[name], new[name]))}
        difference = {
            "added": [name for name in added if name not in renamed.values()],
            "removed": [name for name in removed if name not in renamed],
            "renamed": renamed,
            "changed": changed,
        }
        if any(difference.values()):
            found[kind] = difference
    return found


def compare_rows(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str]]:
    """Return both texts of each column that differs.

    >>> compare_rows({"Unit": "s", "Meaning": "a"}, {"Unit": "ms", "Meaning": "b"})
    {'Unit': ['s', 'ms']}
    """
    columns = [column for column in {**old, **new} if column not in PROSE]
    texts = {column: [old.get(column, ""), new.get(column, "")] for column in columns}
    return {column: both for column, both in texts.items() if both[0] != both[1]}


def sort(differences: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put them in the order of the areas."""
    areas = [*AREAS, OTHER, OWNED]
    return sorted(differences, key=lambda difference: (areas.index(difference["area"]), difference["path"]))


def describe_service(report: dict[str, Any]) -> Iterator[str]:
    """Yield the versions, the prompts, who changed what, and what the changelog asks for."""
    commit = f", commit {report['from']['commit'][:10]}" if report["from"]["commit"] else ""
    yield f"{report['service']} follows version {report['from']['version'] or 'unknown'}{commit} ({report['record']});"
    yield f"the template is at version {report['to']['version']}."
    if report["prompts"]["new"]:
        yield f"New prompts, compared with their defaults: {', '.join(report['prompts']['new'])}."
    if report["prompts"]["gone"]:
        yield f"Removed prompts: {', '.join(report['prompts']['gone'])}."
    if report["ancestor_missing"] and report["differences"]:
        yield f"It is unknown who changed what, because {report['ancestor_missing']}."
    yield ""
    yield from describe_differences(report, "conventions")
    if report["telemetry"]:
        yield ""
        yield from describe_telemetry(report["telemetry"])
    if own := report["own"]:
        news = [path for path, state in own.items() if state in (BY_TEMPLATE, BY_BOTH)]
        yield ""
        yield f"Yours, which updates leave alone: {len(own)} {'file differs' if len(own) == 1 else 'files differ'}."
        if news:
            yield f"The template has changed {', '.join(news)}."
    # A service that equals today's needs no action, whatever its version.
    if report["differences"] or report["own"] or any(report["prompts"].values()):
        for title, text in report["changelog"].items():
            yield from ("", f"Changelog, {title}", "", text)


def describe_answers(report: dict[str, Any]) -> Iterator[str]:
    """Yield the two sets of answers, and the files that differ."""
    yield f"A: {report['A'] or 'the defaults'}"
    yield f"B: {report['B'] or 'the defaults'}"
    yield ""
    if "differences" in report:
        yield from describe_differences(report, "files")
        yield ""
    yield from describe_telemetry(report["telemetry"])


def describe_telemetry(differences: dict[str, Any]) -> Iterator[str]:
    """Yield one line per name below its signal."""
    if not differences:
        yield "The telemetry is the same."
        return
    yield "The telemetry differs:"
    for kind, difference in differences.items():
        yield f"  {kind}"
        yield from (f"    added    {name}" for name in difference["added"])
        yield from (f"    removed  {name}" for name in difference["removed"])
        yield from (f"    renamed  {old} -> {new}" for old, new in difference["renamed"].items())
        for name, columns in difference["changed"].items():
            yield from (f"    changed  {name}: {column}: {old} -> {new}" for column, (old, new) in columns.items())


def describe_differences(report: dict[str, Any], noun: str) -> Iterator[str]:
    """Yield a summary, then one line per file below its area."""
    differences = report["differences"]
    if not differences:
        yield f"No drift: all {report['compared']} {noun} are the same."
        return
    totals = Counter(difference["state"] for difference in differences)
    states = ", ".join(f"{count} {state}" for state, count in totals.items())
    yield f"{len(differences)} of {report['compared']} {noun} differ ({states}):"
    width = max(map(len, totals))
    for area, found in groupby(differences, lambda difference: difference["area"]):
        files = list(found)
        yield f"  {area}: {len(files)}"
        for difference in files:
            yield f"    {difference['state']:<{width}}  {difference['path']}"


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 1 for a difference if --exit-code is given, 2 if nothing can be compared."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--service", type=Path, metavar="FOLDER", help="a generated service")
    what.add_argument("--between", nargs=2, metavar=("A", "B"), help=BETWEEN)
    parser.add_argument("--diff", action="store_true", help="show the lines that differ, too")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 if there is a difference")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="otel-compare-") as folder:
        tempfile.tempdir = folder  # where cookiecutter leaves the hooks that it rendered
        try:
            if options.service:
                report = compare_service(options.service, TEMPLATE, Path(folder))
                lines = describe_service(report)
            elif options.between[0] == options.between[1]:
                raise CompareError(f"Name a SERVICE, or an A and a B that differ. Each of the two is {BETWEEN}.")
            elif len({text.endswith(SESSION) for text in options.between}) > 1:
                raise CompareError(f"Compare answers with answers, or a {SESSION} file with another.")
            elif options.between[0].endswith(SESSION):
                report = compare_sessions(options.between)
                lines = describe_answers(report)
            else:
                report = compare_answers(options.between, TEMPLATE, Path(folder))
                lines = describe_answers(report)
        except CompareError as error:
            print(error, file=sys.stderr)
            return 2
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(lines))
        differences = report.get("differences", [])
        for difference in differences if options.diff else ():
            print(f"\n{difference['diff']}", end="")
        if differences and not options.diff:
            print("\nFLAGS=--diff shows the lines.")
    return 1 if options.exit_code and (report.get("differences") or report["telemetry"]) else 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a pager may have seen enough
    sys.exit(main())
