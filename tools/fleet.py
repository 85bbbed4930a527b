"""Compare many services with the template, and update each on a branch of its own.

A service is read, never run or changed, and only this template generates anything, whatever a service's record names.
`make fleet SERVICES="../services/*"` runs it; docs/upgrading.md describes the options and the exit codes.
"""

from __future__ import annotations

import argparse
import ast
import base64
import csv
import glob
import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import cookiecutter.generate  # type: ignore[import-untyped]
import cookiecutter.hooks  # type: ignore[import-untyped]
import cookiecutter.utils  # type: ignore[import-untyped]
from cookiecutter.environment import StrictEnvironment  # type: ignore[import-untyped]
from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]
from cookiecutter.utils import work_in

from tools import fleet_update
from tools.compare import (
    AREAS,
    BY_BOTH,
    BY_SERVICE,
    BY_TEMPLATE,
    DIFFERENT,
    MISSING,
    OTHER,
    RECORDS,
    TEMPLATE,
    AnswersError,
    CompareError,
    bake,
    compare_service,
    entries_since,
    extract,
    git,
    parse_changelog,
    parse_version,
    read_file,
    read_record,
    read_version,
)
from tools.fleet_update import Update

Report = dict[str, Any]

STATES = {
    "current": "equals what its answers generate today",
    "edited": "differs only where the service has changed conventions",
    "behind": "lacks changes of the template",
    "different": "differs, but the template's history does not have the state that it follows",
    "broken": "has Python or TOML files that cannot be parsed",
    "refused": "has answers that the template cannot use",
    "no record": "has no record of its answers, or one that cannot be read",
    "no service": "was not generated from this template",
    "failed": "cannot be read",
}
NOT_COMPARED = {"broken", "refused", "no record", "no service", "failed"}
# Short names for the states of a file.
COUNTS = {
    MISSING: "missing",
    BY_SERVICE: "by service",
    BY_TEMPLATE: "by template",
    BY_BOTH: "by both",
    DIFFERENT: "unknown",
}
MARKS = dict(zip(COUNTS, "mstb?", strict=True))
# An entry of the changelog asks for something if it is below this heading, or has a sentence that starts with such a
# verb.
TO_DO = "what to do"
VERBS = re.compile(
    r"(?:^|[.:] )(?:Adapt|Add|Change|Delete|Move|Raise|Remove|Rename|Replace|Review|Run|Set|Take|Update)\b"
)
URL = re.compile(r"(?:https?|ssh|git|file)://.+|[\w.-]+@[\w.-]+:.+")
# Seconds and files for the comparison of one service, whose contents may be made to take forever.
LIMIT, MOST_FILES = 60, 20_000
# Statuses with --exit-code.
DIFFERS, TROUBLE = 1, 3


class TooSlowError(Exception):
    """A service takes too long."""


@dataclass(frozen=True)
class Service:
    """A folder, or a URL that was cloned into one."""

    given: str
    folder: Path
    is_clone: bool = False
    error: str = ""


@dataclass(frozen=True)
class Task:
    """Services with the same answers, which share what is generated."""

    services: list[Service]
    work: Path
    update: Update | None


def find_services(text: str, base: Path = Path()) -> Iterator[str]:
    """Yield the folders and URLs that the text names: URLs, folders, patterns of folders, and files that list them."""
    for part in shlex.split(text):
        path = base / Path(part).expanduser()
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield from find_named(line.strip(), path.parent)
        else:
            yield from find_named(part, base)


def find_named(part: str, base: Path) -> Iterator[str]:
    """Yield a URL, a folder, or the folders that a pattern matches."""
    path = base / Path(part).expanduser()
    if URL.fullmatch(part):
        yield part
    elif path.is_dir():
        yield str(path)
    elif found := [folder for folder in sorted(glob.glob(str(path))) if Path(folder).is_dir()]:
        yield from found
    else:
        raise CompareError(f"{part!r} is not a folder, a git URL, a pattern of folders, or a file that lists them.")


def fetch(given: str, work: Path) -> Service:
    """Return the folder of a service; clone a URL."""
    if not URL.fullmatch(given):
        return Service(given, Path(given).absolute())
    folder = Path(tempfile.mkdtemp(dir=work)) / (
        re.split("[/:]", given.rstrip("/"))[-1].removesuffix(".git") or "clone"
    )
    options = ("--quiet", "--depth=1", "--no-recurse-submodules")
    done = fleet_update.git(work, "clone", *options, "--", given, str(folder), protocols="file:git:http:https:ssh")
    return Service(given, folder, True, done.stderr.strip() or "git clone failed" if done.returncode else "")


def make_tasks(services: Iterable[Service], work: Path, update: Update | None) -> list[Task]:
    """Put services with the same answers together."""
    groups: dict[str, list[Service]] = defaultdict(list)
    for service in services:
        try:
            key = json.dumps(read_record(service.folder).answers, sort_keys=True)
        except CompareError:
            key = ""
        groups[key or service.given].append(service)
    return [Task(group, work, update) for group in groups.values()]


def run(tasks: list[Task], jobs: int, work: Path) -> Iterator[Report]:
    """Yield the report of each service as soon as it is there."""
    lost = []
    with ProcessPoolExecutor(jobs, initializer=start_worker, initargs=(work,)) as pool:
        futures = {pool.submit(examine_all, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                yield from future.result()
            except BrokenProcessPool:
                lost.append(futures[future])
    # A process has crashed, because of any of these services: examine each in its own process.
    for task in lost:
        with ProcessPoolExecutor(1, initializer=start_worker, initargs=(work,)) as pool:
            try:
                yield from pool.submit(examine_all, task).result()
            except BrokenProcessPool:
                for service in task.services:
                    yield {**start_report(service), "state": "failed", "error": "the process that read it has crashed"}


def start_worker(work: Path) -> None:
    """Let cookiecutter leave its rendered hooks where they are deleted at the end, and work four times as fast."""
    tempfile.tempdir = str(work)
    cookiecutter.utils.StrictEnvironment = CachingEnvironment
    cookiecutter.hooks.run_script = run_hook
    is_binary = cache(cookiecutter.generate.is_binary)
    cookiecutter.generate.is_binary = lambda path: is_binary(os.path.abspath(path))


def run_hook(path: str, folder: Path | str) -> None:
    """Run a hook of the template in this process: to start Python takes longer than the hook."""
    with work_in(folder):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise FailedHookException(f"{path} ended with {ended.code}") from None


class PlainText(str):
    """A template without Jinja."""

    def render(self, **_: object) -> str:
        return self


class CachingEnvironment(StrictEnvironment):  # type: ignore[misc]
    """Compiles a template only once per process: that takes most of the time, and does not depend on the answers."""

    codes: ClassVar[dict[object, Any]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.options = repr({name: value for name, value in options.items() if name != "context"})

    def compile(self, *source: Any) -> Any:
        key = (self.options, *source)
        if key not in self.codes:
            if len(self.codes) > 5000:  # paths below temporary folders
                self.codes.clear()
            self.codes[key] = super().compile(*source)
        return self.codes[key]

    def from_string(self, source: str, *arguments: Any) -> Any:
        # Most are paths.
        return super().from_string(source, *arguments) if re.search(r"[{#\r\n]", source) else PlainText(source)


def start_report(service: Service) -> Report:
    return {"path": service.given, "service": service.folder.name, "differences": [], "faults": [], "diffs": ""}


def examine_all(task: Task) -> list[Report]:
    """Return the reports of the services of a task."""
    with tempfile.TemporaryDirectory(dir=task.work) as folder:
        return [examine(service, task, Path(folder)) for service in task.services]


def examine(service: Service, task: Task, folder: Path) -> Report:
    """Return the report of a service; there is one whatever the service contains."""

    def stop(*_: object) -> None:
        raise TooSlowError(f"takes more than {LIMIT} seconds")

    report = start_report(service)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        if service.error:
            raise OSError(service.error)
        report |= compare(service.folder, folder, task.work)
    except Exception as error:
        report |= {"state": "failed", "error": str(error) or repr(error)}
    finally:
        signal.alarm(0)
    if task.update and service.is_clone:
        report["update"] = {"state": "no checkout", "detail": "clone the URL, and name the clone", "conflicts": []}
    elif task.update:
        report["update"] = task.update.apply(service.folder, report, folder / (report.get("ancestor") or "none"))
    diffs = {difference["path"]: difference.pop("diff") for difference in report["differences"]}
    # A tenth of the size, here and in the page.
    report["diffs"] = base64.b64encode(zlib.compress(json.dumps(diffs).encode())).decode()
    return report


def compare(service: Path, folder: Path, work: Path) -> Report:
    """Return the answers, the state and the differences of a service."""
    try:
        record = read_record(service)
    except CompareError as error:
        is_generated = any((service / name).exists() for name in RECORDS) or any(service.glob("src/*/observability"))
        return {"state": "no record" if is_generated else "no service", "error": str(error)}
    report: Report = {"record": record.file, "answers": record.answers, "framework": record.answers.get("framework")}
    if not report["framework"]:
        return {**report, "state": "no service", "error": f"{record.file} is the record of another template"}
    try:
        report |= compare_service(service, TEMPLATE, folder, partial(generate_once, work))
    except AnswersError as error:
        return {**report, "state": "refused", "error": str(error)}
    except CompareError as error:
        return {**report, "state": "broken", "error": str(error)}
    states = {difference["state"] for difference in report["differences"]}
    report["faults"] = list(find_faults(service, [next(generated.iterdir()) for generated in folder.iterdir()]))
    if report["faults"]:
        state = "broken"
    elif not states:
        state = "current"
    elif not report["ancestor"]:
        state = "different"
    else:
        state = "behind" if states & {BY_TEMPLATE, BY_BOTH} else "edited"
    return {**report, "state": state}


def generate_once(work: Path, template: Path, commit: str | None, answers: dict[str, str], folder: Path) -> Path:
    """Generate from a commit or the working tree, unless that was done for another service with these answers."""
    if commit and is_today(template, commit):
        commit = None
    target = folder / (commit or "today")
    try:
        if not target.exists():
            bake(extract_once(work, template, commit) if commit else template, answers, target)
        return next(target.iterdir())
    except Exception:
        shutil.rmtree(target, ignore_errors=True)
        raise


@cache
def is_today(template: Path, commit: str) -> bool:
    """Return whether nothing that affects a service has changed since the commit."""
    parts = ("--", "cookiecutter.json", "hooks", "templates", "{{cookiecutter.project_slug}}")
    is_same = git(template, "diff", "--quiet", commit, *parts).returncode == 0
    return is_same and not git(template, "ls-files", "--others", *parts).stdout


def extract_once(work: Path, template: Path, commit: str) -> Path:
    """Return the template's state at the commit, which all processes share."""
    state = work / commit
    if not state.exists():
        new = extract(template, commit, Path(tempfile.mkdtemp(dir=work)))
        try:
            new.rename(state)
        except OSError:  # another process was faster
            shutil.rmtree(new)
    return state


def find_faults(service: Path, generated: list[Path]) -> Iterator[str]:
    """Yield each Python and TOML file that does not parse, with the reason. What was generated is not read again."""
    count = 0
    for folder, folders, names in os.walk(service):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith((".", "__pycache__", "node_modules"))
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        ]
        count += len(names)
        if count > MOST_FILES:
            yield f"more than {MOST_FILES} files: the rest was not read"
            return
        for name in sorted(names):
            path = Path(folder, name).relative_to(service).as_posix()
            if not name.endswith((".py", ".toml")):
                continue
            content = read_file(service, path)
            if any(read_file(project, path) == content for project in generated):
                continue
            if fault := find_fault(path, content):
                yield f"{path}: {fault}"


def find_fault(path: str, content: bytes | str | None) -> str | None:
    """Return why a file cannot be parsed, if so.

    >>> find_fault("a.py", b"x ="), find_fault("a.py", b"x = 1"), find_fault("a.toml", b"x =")
    ('line 1: invalid syntax', None, 'Invalid value (at end of document)')
    """
    if not isinstance(content, bytes):
        return content
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(content) if path.endswith(".py") else tomllib.loads(content.decode())
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


class History:
    """What the template's history knows about the commits that services follow."""

    def __init__(self, template: Path) -> None:
        self.template = template
        self.today = read_entries((template / "CHANGELOG.md").read_text(encoding="utf-8"))
        self.look_up = cache(self._look_up)

    def _look_up(self, commit: str) -> tuple[str, int, set[str]]:
        """Return the version of a commit, how many commits are newer, and the entries of its changelog."""
        variables = json.loads(git(self.template, "show", f"{commit}:cookiecutter.json").stdout)
        count = int(git(self.template, "rev-list", "--count", f"{commit}..HEAD").stdout)
        entries = read_entries(git(self.template, "show", f"{commit}:CHANGELOG.md").stdout.decode())
        return variables.get("_template_version", ""), count, {text for _, text, _ in entries}

    def describe(self, report: Report) -> Report:
        """Return the version that a service follows, how far that is behind, and what the changelog asks for."""
        version, commits, known = (report.get("from") or {}).get("version") or "", None, set[str]()
        if report.get("ancestor"):
            version, commits, known = self.look_up(report["ancestor"])
        newer = entries_since(version, {title: "" for title, _, _ in self.today}) if version else {}
        versions = len([title for title in newer if parse_version(title)])
        asked = [
            {"version": title, "text": text}
            for title, text, asks in self.today
            if asks and title in newer and text not in known and report["differences"]
        ]
        return {"version": version, "behind": {"commits": commits, "versions": versions}, "asked": asked}


def read_entries(changelog: str) -> list[tuple[str, str, bool]]:
    """Return the version and text of each paragraph and point of the changelog, and whether it asks for something.

    >>> read_entries("## 0.2.0\\n\\n* Faster.\\n* Slower. Adapt\\n  it.\\n\\n### What to do now\\n\\n1. Wait.\\n")
    [('0.2.0', 'Faster.', False), ('0.2.0', 'Slower. Adapt it.', True), ('0.2.0', 'Wait.', True)]
    """
    found = []
    for title, text in parse_changelog(changelog).items():
        heading = ""
        # A point or paragraph starts at the left margin, and ends where the next one starts.
        for part in re.split(r"^(?=#|\* |\d+\. )|\n\n(?=\S)", text, flags=re.MULTILINE):
            entry = " ".join(part.split())
            if entry.startswith("#"):
                heading = entry.strip("# ").lower()
            elif entry:
                entry = re.sub(r"^(?:\*|\d+\.) ", "", entry)
                found.append((title, entry, heading.startswith(TO_DO) or VERBS.search(entry) is not None))
    return found


def printable(text: object) -> str:
    """Return a text that cannot control a terminal.

    >>> printable("caf\xe9\\x1b[2J\\n")
    'caf\xe9\\\\x1b[2J\\\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def number_of(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def count_states(report: Report) -> Counter[str]:
    return Counter(difference["state"] for difference in report["differences"])


def count_areas(report: Report) -> Counter[str]:
    return Counter(difference["area"] for difference in report["differences"])


def describe_behind(report: Report) -> str:
    """Return how far a service is behind; a question mark if its commit is unknown."""
    behind = report["behind"]
    versions = f"{number_of(behind['versions'], 'version')}, " if behind["versions"] else ""
    return versions + ("?" if behind["commits"] is None else number_of(behind["commits"], "commit"))


def describe(reports: list[Report], template: Report) -> Iterator[str]:
    """Yield a table, then the faults of each service, and what the changelog asks for."""
    totals = Counter(report["state"] for report in reports)
    yield f"Template: version {template['version']}, commit {template['commit'][:10]}."
    states = ", ".join(f"{totals[state]} {state}" for state in STATES if totals[state])
    yield f"{number_of(len(reports), 'service')}: {states}."
    yield f"Areas: {', '.join(f'{mark} {COUNTS[state]}' for state, mark in MARKS.items())}."
    if branch := next((report["update"]["branch"] for report in reports if "branch" in report.get("update", {})), None):
        yield f"Branch: {branch}."
    yield ""
    rows = [["service", "state", "framework", "version", "behind", *COUNTS.values(), "to do", "areas"]]
    for report in reports:
        by_state = count_states(report)
        texts = [report["service"], report["state"], report.get("framework") or "", report["version"]]
        numbers = [*(by_state[state] for state in COUNTS), len(report["asked"])]
        rows.append(
            [*texts, describe_behind(report), *(str(number or "") for number in numbers), describe_areas(report)]
        )
    if any("update" in report for report in reports):
        for row, text in zip(rows, ["update", *map(name_update, reports)], strict=True):
            row.insert(2, text)
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()

    for report in reports:
        faults = [report.get("error", ""), *report["faults"], *describe_update(report.get("update") or {})]
        if any(faults):
            yield f"\n{printable(report['path'])}:"
            yield from (f"  {printable(line)}" for fault in faults for line in fault.splitlines())
    asked: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in reports:
        for entry in report["asked"]:
            asked[entry["version"], entry["text"]].append(printable(report["service"]))
    for (version, text), names in asked.items():
        some = ", ".join(names[:5]) + (", ..." if names[5:] else "")
        yield f"\nChangelog, {version}, for {number_of(len(names), 'service')} ({some}):"
        yield f"  {text}"


def describe_areas(report: Report) -> str:
    """Return how many files of each area differ, and who has changed them.

    >>> differences = [("docs", MISSING), ("docs", BY_BOTH), ("docs", MISSING), ("image", BY_TEMPLATE)]
    >>> describe_areas({"differences": [{"area": area, "state": state} for area, state in differences]})
    'docs 2m 1b, image 1t'
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for difference in report["differences"]:
        counts[difference["area"]][difference["state"]] += 1
    return ", ".join(
        f"{area} {' '.join(f'{states[state]}{mark}' for state, mark in MARKS.items() if states[state])}"
        for area, states in counts.items()
    )


def name_update(report: Report) -> str:
    """Return the state of an update, and whether its check has passed."""
    check = report["update"].get("check")
    passed = "" if check is None else ", check failed" if check["status"] else ", check passed"
    return f"{report['update']['state']}{passed}"


def describe_update(update: Report) -> Iterator[str]:
    """Yield why a service was not updated, or what its check prints if it fails."""
    if update.get("state", "current") not in ("updated", "current"):
        reason = fleet_update.STATES[update["state"]]
        yield f"not updated: {reason}"
        if update["detail"] != reason:
            yield update["detail"]
        yield from update["conflicts"]
    if (check := update.get("check")) and check["status"]:
        yield f"{check['command']!r} ended with {check['status']}:"
        yield check["output"]


def with_diffs(report: Report) -> Report:
    """Return the report as `make compare` has it: with the lines of each difference."""
    diffs = json.loads(zlib.decompress(base64.b64decode(report["diffs"])) if report["diffs"] else "{}")
    differences = [{**difference, "diff": diffs[difference["path"]]} for difference in report["differences"]]
    return {**{key: value for key, value in report.items() if key != "diffs"}, "differences": differences}


def write_csv(reports: list[Report]) -> None:
    """Print a row per service, with the number of files of each area and each state."""
    areas = [*AREAS, OTHER]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    first = ["service", "path", "state", "update", "framework", "version", "commit", "commits behind"]
    writer.writerow([*first, "versions behind", *COUNTS.values(), *areas, "to do", "error"])
    for report in reports:
        by_state, by_area = count_states(report), count_areas(report)
        texts = [report["service"], report["path"], report["state"], report.get("update", {}).get("state", "")]
        texts += [report.get("framework") or "", report["version"], report.get("ancestor") or ""]
        numbers = [report["behind"]["commits"], report["behind"]["versions"]]
        numbers += [*(by_state[state] for state in COUNTS), *(by_area[area] for area in areas), len(report["asked"])]
        error = "; ".join(filter(None, [report.get("error"), *report["faults"]]))
        # A spreadsheet takes a text that starts like this for a formula.
        row = [f"'{text}" if text.startswith(tuple("=+-@")) else text for text in map(printable, [*texts, error])]
        writer.writerow([*row[:-1], *numbers, row[-1]])


def write_page(reports: list[Report], template: Report, path: Path) -> None:
    """Write one page that loads nothing, and runs only its own script."""
    page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    data = {
        "template": template,
        "services": reports,
        "states": STATES,
        "counts": COUNTS,
        "marks": MARKS,
        "areas": [*AREAS, OTHER],
    }
    # Without "<", nothing can end the script element.
    text = json.dumps(data).replace("<", "\\u003c")
    for kind in ("style", "script"):
        inline = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert inline
        digest = base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()
        page = page.replace(f"{kind}-src", f"{kind}-src 'sha256-{digest}'", 1)
    path.write_text(page.replace(">DATA<", f">{text}<"), encoding="utf-8")


def show_progress(reports: Iterable[Report], count: int) -> Iterator[Report]:
    """Pass the reports on; show progress: each service on a terminal, else a count every few seconds."""
    is_terminal, shown = sys.stderr.isatty(), time.monotonic()
    for number, report in enumerate(reports, 1):
        if is_terminal:
            print(f"\r\x1b[K{number}/{count} {printable(report['service'])[:60]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - shown > 5:
            shown = time.monotonic()
            print(f"{number} of {count} services", file=sys.stderr, flush=True)
        yield report
    if is_terminal:
        print("\r\x1b[K", end="", file=sys.stderr)


def find_status(reports: list[Report]) -> int:
    """Return the exit status: the worst of all services."""
    updates = [report["update"] for report in reports if "update" in report]
    if (
        any(report["state"] in NOT_COMPARED for report in reports)
        or any(update["state"] not in ("updated", "current", "exists") for update in updates)
        or any((update.get("check") or {"status": 0})["status"] for update in updates)
    ):
        return TROUBLE
    return DIFFERS if any(report["state"] != "current" for report in reports) else 0


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 1 or 3 if --exit-code is given (see find_status), 2 if nothing can be compared."""
    parser = argparse.ArgumentParser(prog="python -m tools.fleet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("services", help='folders, git URLs, patterns ("../services/*"), or a file that lists them')
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print everything as JSON, with all diffs")
    output.add_argument("--csv", action="store_true", help="print a row per service")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page to filter, sort and read diffs")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 for a difference, 3 for trouble")
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=os.cpu_count() or 1, help="processes; default: one per core"
    )
    parser.add_argument("--update", action="store_true", help="update each clean checkout on a new branch, with cruft")
    parser.add_argument("--check", metavar="COMMAND", help="a shell command to run on each new branch")
    options = parser.parse_args(arguments)
    if options.check and not options.update:
        parser.error("--check needs --update")
    if options.jobs < 1:
        parser.error("--jobs is at least 1")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    commit = git(TEMPLATE, "rev-parse", "HEAD").stdout.decode().strip()
    template = {"version": read_version(TEMPLATE), "commit": commit}
    update = Update(TEMPLATE, commit, template["version"], options.check) if options.update else None
    with tempfile.TemporaryDirectory(prefix="otel-fleet-", ignore_cleanup_errors=True) as folder:
        try:
            if update and not is_today(TEMPLATE, commit):
                raise CompareError("The template has uncommitted changes, but services are updated to a commit.")
            given = list(dict.fromkeys(find_services(options.services)))
            if not given:
                raise CompareError('Name services, such as SERVICES="../services/*".')
            if options.html:
                options.html.touch()  # fails now, not after the comparison
        except (CompareError, OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        with ThreadPoolExecutor(8) as threads:
            services = list(threads.map(partial(fetch, work=Path(folder)), given))
        tasks = make_tasks(services, Path(folder), update)
        reports = list(show_progress(run(tasks, options.jobs, Path(folder)), len(services)))
    reports.sort(key=lambda report: given.index(report["path"]))
    history = History(TEMPLATE)
    for report in reports:
        report |= history.describe(report)

    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a pager may have seen enough
    if options.html:
        write_page(reports, template, options.html)
    if options.json:
        json.dump({"template": template, "services": list(map(with_diffs, reports))}, sys.stdout, indent=2)
        print()
    elif options.csv:
        write_csv(reports)
    else:
        print("\n".join(describe(reports, template)))
    return find_status(reports) if options.exit_code else 0


if __name__ == "__main__":
    sys.exit(main())
