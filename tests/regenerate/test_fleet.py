"""`make fleet`: a hundred services, some of which are hostile; the page in Chromium; updates of twenty."""

from __future__ import annotations

import csv
import doctest
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import REPO, Measured, unavailable
from tests.deploy.test_workflows import run_script, workflows
from tests.regenerate.conftest import BIN, MAKE, Run
from tests.regenerate.history import NEW, OLD, PROJECT, Repository, release_first, release_second
from tests.test_bake import FRAMEWORKS
from tests.viewer import conftest as viewer
from tools import compare, fleet

browser, page = viewer.browser, viewer.page

SERVICES, SECONDS, MEGABYTES = 100, 60, 500
"""The target on two cores that are otherwise idle. The test allows more time, because others run next to it."""
PATIENCE = 5
NAME = "order-service"
MARKUP = "<img src=x onerror=document.title=1>"
ENDS_SCRIPT = "</script><script>document.title = 2</script>"


UPDATED = 20


class History(NamedTuple):
    """The template, and the commits that services follow, by name."""

    template: Repository
    commits: dict[str, str]


class Result(NamedTuple):
    """A run of the tool: memory is in megabytes."""

    stdout: str
    stderr: str
    seconds: float
    cpu: float
    peak: int


Look = Callable[..., Result]


def name_of(number: int) -> str:
    """Return a name that is as long as the one of the generated services, which it replaces."""
    return f"o{number:04}-service"


@dataclass
class Fleet:
    """Services in a folder, and the template that they follow."""

    template: Repository
    commits: dict[str, str]
    folder: Path
    generated: Callable[[str, str], Path]

    def add(self, number: int, framework: str, version: str, folder: str = "") -> Path:
        """Add a service of its own name, as cruft would generate it, but faster."""
        service = self.folder / (folder or name_of(number))
        for source in self.generated(framework, version).rglob("*"):
            relative = source.relative_to(self.generated(framework, version)).as_posix()
            target = service / rename(relative.encode(), number).decode()
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(rename(source.read_bytes(), number))
                target.chmod(source.stat().st_mode)
        return service


def rename(text: bytes, number: int) -> bytes:
    for separator in ("-", "_", " "):
        old, new = (name.replace("-", separator) for name in (NAME, name_of(number)))
        if separator == " ":
            old, new = old.title(), new.title()
        text = text.replace(old.encode(), new.encode())
    return text


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, environ: Mapping[str, str], ran: Path) -> History:
    """The template with two releases, a commit between them, and one that was never merged."""
    template = Repository(tmp_path_factory.mktemp("template"), environ)
    release_first(template)
    commits = {OLD: template.git("rev-parse", "HEAD").strip()}
    template.git("checkout", "--quiet", "-b", "never-merged")
    hook = "hooks/post_gen_project.py"
    template.write(hook, f"open({str(ran)!r}, 'w')\n" + template.read(hook))
    commits["never merged"] = template.commit("A hook that was not reviewed")
    template.git("checkout", "--quiet", "main")
    template.write(f"{PROJECT}/docs/between.md", "# Between\n\nLanded between the releases.\n")
    commits["between"] = template.commit("Between")
    release_second(template)
    commits[NEW] = template.git("rev-parse", "HEAD").strip()
    return History(template, commits)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists if anything of a service has run."""
    return tmp_path_factory.mktemp("ran") / "ran"


@pytest.fixture(scope="module")
def start_fleet(history: History, tmp_path_factory: pytest.TempPathFactory, own_tempdir: Path) -> Callable[[], Fleet]:
    template, commits = history
    projects: dict[tuple[str, str], Path] = {}

    def generated(framework: str, version: str) -> Path:
        if (framework, version) not in projects:
            folder = tmp_path_factory.mktemp("generated")
            project = compare.generate(template.folder, commits[version], {"framework": framework}, folder)
            record = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))
            link = {
                "template": "https://example.com/template",
                "commit": commits[version],
                "checkout": None,
                "context": {"cookiecutter": {**record["cookiecutter"], "_template": "https://example.com/template"}},
                "directory": None,
            }
            (project / ".cruft.json").write_text(json.dumps(link, indent=2) + "\n", encoding="utf-8")
            projects[framework, version] = project
        return projects[framework, version]

    return lambda: Fleet(template, commits, tmp_path_factory.mktemp("services"), generated)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def change_record(service: Path, **parts: object) -> None:
    path = service / ".cruft.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, **parts}, indent=2) + "\n", encoding="utf-8")


def package(service: Path) -> Path:
    return next(path for path in (service / "src").iterdir())


def digest(folder: Path) -> dict[str, str]:
    """Return what is in a folder, byte for byte, with the kinds and modes of the files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = b""
        if stat.S_ISREG(status.st_mode) and status.st_size < 10_000_000:
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path).encode()
        found[os.fsencode(path.relative_to(folder)).decode("latin-1")] = (
            f"{status.st_mode:o} {status.st_size} {hashlib.sha256(content).hexdigest()}"
        )
    return found


def plant(services: Fleet, ran: Path) -> dict[str, str]:
    """Make a hundred services; return the right state of each. What none may do is to create the file `ran`."""
    expected: dict[str, str] = {}

    def add(version: str, state: str, folder: str = "") -> Path:
        number = len(expected)
        service = services.add(number, FRAMEWORKS[number % 3], version, folder)
        expected[service.name] = state
        return service

    # edited
    append(package(add(NEW, "edited")) / "observability/logs.py", "\nOWN = 1\n")
    append(package(add(OLD, "behind")) / "observability/telemetry.py", "\nOWN = 1\n")
    (package(add(NEW, "edited")) / "observability/tracing.py").unlink()
    append(package(add(NEW, "current")) / "components.py", "\nOWN = 1\n")
    shutil.rmtree(package(add(NEW, "current")) / "orders")
    # broken
    append(package(add(NEW, "broken")) / "orders/service.py", "\ndef f(:\n")
    append(package(add(OLD, "broken")) / "observability/logs.py", "\nx = 'é\n")
    append(add(NEW, "broken") / "pyproject.toml", "\n[[\n")
    # without a record, or with one that cannot be used
    service = add(NEW, "no record")
    (service / ".cruft.json").unlink()
    (service / ".cookiecutter.json").unlink()
    (services.folder / "notes").mkdir()
    (services.folder / "notes/README.md").write_text("# Notes\n", encoding="utf-8")
    expected["notes"] = "no service"
    (add(NEW, "no record") / ".cruft.json").write_text("[" * 100_000, encoding="utf-8")
    change_answers(add(NEW, "refused"), sampler_ratio="7")
    change_answers(add(NEW, "refused"), framework="bottle")
    change_record(add(OLD, "different"), commit="0" * 40)
    # hostile
    change_record(add(OLD, "different"), commit=services.commits["never merged"])
    change_record(add(OLD, "behind"), template=f"ext::sh -c 'touch {ran}'", directory="../..")
    change_answers(add(OLD, "refused"), project_slug=f"../{ran.name}")
    change_answers(add(NEW, "edited"), author_name=f"{{{{ cycler.__init__.__globals__.os.mkdir('{ran}') }}}}")
    change_record(add(NEW, "no record"), skip=["/"])
    service = add(NEW, "broken")
    for name in ("Makefile", "Dockerfile"):
        (service / name).unlink()
    os.mkfifo(service / "Makefile")
    os.mkfifo(package(service) / "pipe.py")
    (service / "Dockerfile").symlink_to("/etc/passwd")
    (service / "AGENTS.md").write_bytes(b"\xff\xfe\x00\n")
    with (service / "docs/runbook.md").open("wb") as file:
        file.truncate(3_000_000_000)
    append(package(add(NEW, "edited", MARKUP)) / "observability/logs.py", f"\n# {ENDS_SCRIPT}\n# {MARKUP}\n")
    append(add(NEW, "edited", "=1+\x1b[31m\n") / "Makefile", "\n# \x1b[31mred\n")
    repository = Repository(add(NEW, "current"), services.template.environ)
    repository.commit("As generated")
    make_hostile(repository, ran)

    versions = [(NEW, "current"), (OLD, "behind"), (NEW, "current"), ("between", "behind"), (NEW, "current")]
    while len(expected) < SERVICES:
        add(*versions[len(expected) % 5])
    return expected


def change_answers(service: Path, **answers: str) -> None:
    record = json.loads((service / ".cruft.json").read_text(encoding="utf-8"))
    change_record(service, context={"cookiecutter": {**record["context"]["cookiecutter"], **answers}})


def make_hostile(repository: Repository, ran: Path) -> None:
    """Give a repository every setting with which git runs something."""
    folder = repository.folder / ".git"
    script = folder / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n", encoding="utf-8")
    script.chmod(0o755)
    hooks = """
        post-checkout post-commit post-index-change post-receive post-update pre-commit pre-push pre-receive
        reference-transaction update commit-msg
    """
    for name in hooks.split():
        (folder / "hooks" / name).symlink_to(script)
    settings = """
        core.fsmonitor core.alternateRefsCommand core.sshCommand core.editor core.pager diff.external gpg.program
        filter.own.clean filter.own.smudge filter.own.process diff.own.textconv uploadpack.packObjectsHook
        gc.recentObjectsHook
    """
    for name in settings.split():
        repository.git("config", name, str(script))
    repository.git("config", "commit.gpgSign", "true")
    (folder / "info/attributes").write_text("* filter=own diff=own\n", encoding="utf-8")


@pytest.fixture
def look(history: History, environ: Mapping[str, str], tmp_path: Path) -> Look:
    """Run the tool on the folders of a folder; return what it prints, and what it took."""

    def look(folder: Path, *options: str, status: int = 0) -> Result:
        before, started, peak = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic(), 0
        with (tmp_path / "stdout").open("w+") as output, (tmp_path / "stderr").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tools.fleet", *options, "--", f"{folder}/*"],
                cwd=history.template.folder,
                env=dict(environ),
                stdout=output,
                stderr=errors,
            )
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                    break
                peak = max(peak, measure_memory(process.pid))
            output.seek(0)
            errors.seek(0)
            result = Result(output.read(), errors.read(), monotonic() - started, cpu_since(before), peak)
        assert process.returncode == status, result
        return result

    return look


def cpu_since(before: resource.struct_rusage) -> float:
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_memory(pid: int) -> int:
    """Return the memory of a process and its children in megabytes; shared pages count once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total // 1_000_000


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
def test_a_hundred_services_get_the_right_verdict(
    start_fleet: Callable[[], Fleet], look: Look, page: Page, ran: Path, tmp_path: Path, measured: Measured
) -> None:
    services = start_fleet()
    expected = plant(services, ran)
    before = digest(services.folder)
    result = look(services.folder, "--json", "--html", str(tmp_path / "fleet.html"))
    assert digest(services.folder) == before
    assert not ran.exists()
    report = json.loads(result.stdout)
    found = {service["service"]: service for service in report["services"]}
    assert {name: service["state"] for name, service in found.items()} == expected
    size = (tmp_path / "fleet.html").stat().st_size / 1e6
    measured(
        f"make fleet, {SERVICES} services: {result.seconds:.0f} s, {result.cpu:.0f} s of CPU time, {result.peak} MB; "
        f"the page has {size:.1f} MB"
    )
    assert result.seconds < PATIENCE * SECONDS
    assert result.peak < MEGABYTES

    check_details(services, found)
    check_page(page, tmp_path / "fleet.html", expected)


def check_details(services: Fleet, found: dict[str, Any]) -> None:
    """Check who changed what, how far services are behind, and what the changelog asks for."""
    names = list(found)
    edited, behind, missing = (found[name_of(number)] for number in range(3))
    assert {(file["path"].rpartition("/")[2], file["state"]) for file in edited["differences"]} == {
        ("logs.py", "changed by the service")
    }
    assert edited["differences"][0]["area"] == "observability"
    assert "-OWN = 1\n" in edited["differences"][0]["diff"]
    assert [file["state"] for file in missing["differences"]] == ["missing"]
    states = {file["path"].rpartition("/")[2]: file["state"] for file in behind["differences"]}
    assert states["telemetry.py"] == "changed by both"
    assert states["Makefile"] == states["new.md"] == "changed by the template"
    assert behind["behind"] == {"commits": 2, "versions": 1}
    assert behind["version"] == OLD
    assert behind["asked"] == [{"version": NEW, "text": "Review it."}]
    assert behind["framework"] == behind["answers"]["framework"] == FRAMEWORKS[1]
    assert edited["behind"] == {"commits": 0, "versions": 0}
    assert edited["asked"] == []
    between = next(service for service in found.values() if service.get("ancestor") == services.commits["between"])
    assert between["behind"] == {"commits": 1, "versions": 1}
    faults = [fault for name in names for fault in found[name]["faults"]]
    assert sorted(re.sub(r".*/|line \d+: | \(.*", "", fault) for fault in faults) == [
        "logs.py: unterminated string literal",
        "pipe.py: is not a regular file",
        "service.py: invalid syntax",
    ]


def check_page(page: Page, path: Path, expected: dict[str, str]) -> None:
    """Filter, sort, and open a diff, as one does."""
    page.goto(path.as_uri())
    rows = page.locator("tr.service")
    expect(rows).to_have_count(SERVICES)
    page.get_by_label("State").select_option("behind")
    expect(rows).to_have_count(Counter(expected.values())["behind"])
    page.get_by_label("State").select_option("")
    page.get_by_role("button", name="commits behind").click()
    page.get_by_role("button", name="commits behind").click()
    expect(page.get_by_role("columnheader", name="commits behind")).to_have_attribute("aria-sort", "descending")
    expect(rows.first).to_contain_text(OLD)
    page.get_by_label("Filter").fill("<img edited")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name=MARKUP).click()
    page.locator("summary", has_text="logs.py").click()
    expect(page.locator("pre")).to_contain_text(f"# {ENDS_SCRIPT}")
    expect(page.locator("pre")).to_contain_text(f"# {MARKUP}")
    expect(page.locator("img")).to_have_count(0)
    expect(page).to_have_title("Services and their template")


@pytest.mark.slow
def test_the_terminal_and_spreadsheets_show_names_as_text(start_fleet: Callable[[], Fleet], look: Look) -> None:
    services = start_fleet()
    name = "=1+\x1b[31m\n"
    append(services.add(0, "flask", OLD, name) / "Makefile", "\n# \x1b[31mred\n")
    change_record(services.add(1, "flask", OLD, MARKUP), commit="0" * 40)
    lines = look(services.folder, "--exit-code", status=1).stdout.splitlines()
    assert lines[1] == "2 services: 1 behind, 1 different."
    assert lines[6].split()[:3] == [r"=1+\x1b[31m\n", "behind", "flask"]
    assert lines[-1] == "  Review it."
    assert "\x1b" not in "\n".join(lines)
    second, first = csv.DictReader(StringIO(look(services.folder, "--csv").stdout))
    assert first["service"].startswith("'=1+")
    assert (first["state"], first["commits behind"], first["by both"]) == ("behind", "2", "1")
    assert (second["service"], second["commits behind"]) == (MARKUP, "")
    (services.folder / "nothing").mkdir()
    look(services.folder, "--exit-code", status=3)


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
def test_twenty_services_are_updated(
    start_fleet: Callable[[], Fleet],
    look: Look,
    environ: Mapping[str, str],
    run: Run,
    history: History,
    ran: Path,
    tmp_path: Path,
    measured: Measured,
) -> None:
    services = start_fleet()
    repositories = [Repository(services.add(number, FRAMEWORKS[number % 3], OLD), environ) for number in range(UPDATED)]
    for number, repository in enumerate(repositories):
        service = repository.folder
        change_record(service, template=str(history.template.folder))
        append(package(service) / "observability/telemetry.py", "\n\nOWN = 1\n")
        if number < 3:
            repository.write("Makefile", "# Mine.\n" + repository.read("Makefile"))
        if number == 5:
            change_answers(service, sampler_ratio="7")
        if number == 6:
            change_answers(service, description="{{ 7 * 7 }}")
        if number == 7:
            change_record(service, template=f"ext::sh -c 'touch {ran}'", directory="../..")
        if number == 8:
            (service / "link").symlink_to("Makefile")
        repository.commit("As generated, and edited")
    repositories[3].write("notes.txt", "Not committed.\n")
    append(repositories[4].folder / "Makefile", "# Not committed.\n")
    repositories[4].git("add", "Makefile")
    repositories[8].git("checkout", "--quiet", "--detach")
    make_hostile(repositories[7], ran)
    before = [digest(repository.folder) for repository in repositories]

    check = "grep OWN -r src && ! test -e docs/old.md && if test -e link; then test -L link; fi"
    update = ("--update", "--check", check)
    result = look(services.folder, "--json", "--exit-code", *update, status=3)
    measured(f"make fleet --update, {UPDATED} services: {result.seconds:.0f} s, {result.cpu:.0f} s of CPU time")
    reports = [service["update"] for service in json.loads(result.stdout)["services"]]
    states = [*["conflict"] * 3, *["unclean"] * 2, *["refused"] * 2, *["updated"] * (UPDATED - 7)]
    assert [report["state"] for report in reports] == states, reports
    assert [report["conflicts"] for report in reports[:3]] == [["Makefile"]] * 3
    assert [report["detail"] for report in reports[3:5]] == ["notes.txt", "Makefile"]
    assert not ran.exists()

    branch = f"template-{NEW}-{services.commits[NEW][:10]}"
    for repository, old, report in zip(repositories, before, reports, strict=True):
        new = digest(repository.folder)
        if report["state"] == "updated":
            assert (report["branch"], report["check"]["status"]) == (branch, 0)
            gone = {path: what for path, what in old.items() if new.get(path) != what}
            # Directories of .git have other sizes.
            assert all(what.startswith("4") and path.startswith(".git") for path, what in gone.items()), gone
            added = {path for path in new if path not in old}
            assert all(
                path.startswith((".git/objects/", ".git/logs/refs/heads")) or path.endswith(branch) for path in added
            ), added
        else:
            assert new == old

    # It is what cruft does, in one commit.
    ours = repositories[9]
    theirs = Repository(Path(shutil.copytree(ours.folder, tmp_path / "theirs")), environ)
    run(theirs.folder, "cruft", "update", "--skip-apply-ask")
    theirs.commit("Updated")
    assert theirs.git("rev-parse", "HEAD^{tree}") == theirs.git("rev-parse", f"{branch}^{{tree}}")
    assert ours.git("rev-list", "--count", f"HEAD..{branch}") == "1\n"
    assert repositories[8].git("ls-tree", branch, "link").startswith("120000 ")
    # The record still names what it named.
    assert (
        json.loads(repositories[7].git("-c", "core.pager=cat", "show", f"{branch}:.cruft.json"))["directory"] == "../.."
    )


def test_good_and_bad_examples() -> None:
    result = doctest.testmod(fleet)
    assert result.attempted
    assert not result.failed


def test_the_documents_have_every_state() -> None:
    text = (REPO / "docs/upgrading.md").read_text(encoding="utf-8")
    assert all(f"| `{state}` | {meaning}" in text for state, meaning in fleet.STATES.items())


def test_services_are_named_by_folders_patterns_urls_and_files(tmp_path: Path) -> None:
    for name in ("a", "b c", "d"):
        (tmp_path / "services" / name).mkdir(parents=True)
    (tmp_path / "services" / "notes.txt").touch()
    (tmp_path / "list").write_text("# mine\n\nservices/b c\nhttps://example.com/e.git\nservices/[d-f]\n", "utf-8")
    found = list(fleet.find_services(f"{tmp_path}/services/* {tmp_path}/list git@example.com:team/f"))
    folders = [f"{tmp_path}/services/{name}" for name in ("a", "b c", "d", "b c")]
    assert found == [*folders, "https://example.com/e.git", folders[2], "git@example.com:team/f"]


def crash_on_one(task: fleet.Task) -> list[fleet.Report]:
    if task.services[0].given == "crashes":
        os._exit(1)
    return [{**fleet.start_report(service), "state": "current"} for service in task.services]


def test_a_crash_costs_one_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fleet, "examine_all", crash_on_one)
    names = ("first", "crashes", "last")
    tasks = [fleet.Task([fleet.Service(name, Path(name))], tmp_path, None) for name in names]
    states = {report["path"]: report["state"] for report in fleet.run(tasks, 2, tmp_path)}
    assert states == {"first": "current", "crashes": "failed", "last": "current"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ([], "Name services, such as SERVICES="),
        (["SERVICES=no-such-folder"], "'no-such-folder' is not a folder, a git URL, a pattern"),
        (["SERVICES=docs", "ARGS=--check true"], "--check needs --update"),
        (["SERVICES=docs", "ARGS=--jobs 0"], "--jobs is at least 1"),
        (["SERVICES=docs", "ARGS=--html no/page.html"], "No such file or directory: 'no/page.html'"),
    ],
)
def test_bad_input_gets_one_clear_error(variables: list[str], message: str, run: Run) -> None:
    done = run(REPO, *MAKE, "fleet", *variables, status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_other_folders_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert "1 service: 1 no service." in run(REPO, *MAKE, "fleet", f"SERVICES={tmp_path}/*").stdout


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
def test_the_workflow_opens_a_pull_request_for_each_update(
    start_fleet: Callable[[], Fleet], history: History, environ: Mapping[str, str], tmp_path: Path
) -> None:
    if not shutil.which("jq"):
        unavailable("jq is missing (Debian's package `jq`)")
    services = start_fleet()
    for number in range(2):
        service = Repository(services.add(number, "flask", OLD), environ)
        if number == 1:
            service.write("Makefile", "# Mine.\n" + service.read("Makefile"))
        service.commit("As generated")
        (tmp_path / "org").mkdir(exist_ok=True)
        service.git("clone", "--quiet", "--bare", ".", str(tmp_path / "org" / name_of(number)))
    (tmp_path / "checkout").mkdir()
    checkout = Repository(tmp_path / "checkout", environ)
    checkout.git("pull", "--quiet", str(history.template.folder), "main")
    # Nothing is installed: the environment of the tests is at its place.
    checkout.write(".git/info/exclude", "/Makefile\n/pyproject.toml\n/.venv\n")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPO / name, checkout.folder)
    (checkout.folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (checkout.folder / ".venv" / name).symlink_to(BIN.parent / name)
    (checkout.folder / ".venv/ready").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n', encoding="utf-8")
    (tmp_path / "bin/gh").chmod(0o755)
    variables = {
        **environ,
        "PATH": f"{tmp_path}/bin{os.pathsep}{environ['PATH']}",
        "GITHUB_SERVER_URL": f"file://{tmp_path}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "RUNNER_TEMP": str(tmp_path / "runner"),
        "GITHUB_ACTOR": "octocat",
        "HOME": str(tmp_path),
        "FLEET": f"org/{name_of(0)}\norg/{name_of(1)} org/gone",
    }
    (tmp_path / "runner").mkdir()
    steps = {
        step["name"]: step["run"] for step in workflows(REPO)["fleet.yml"]["jobs"]["update"]["steps"] if "run" in step
    }
    printed = {}
    # Another run proposes nothing again.
    for name in [*steps, "Open pull requests"]:
        done = run_script(steps[name], checkout.folder, variables)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        printed[name] = done.stdout
    assert printed["Clone"] == "::error::org/gone cannot be cloned\n"
    branch = f"template-{NEW}-{services.commits[NEW][:10]}"
    _, *created = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" --title")[0] for line in created] == [f"pr create --repo org/{name_of(0)} --head {branch}"]
    assert "\n* Review it.\n" in (tmp_path / "runner/body.md").read_text(encoding="utf-8")
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").splitlines() == [
        f"* org/{name_of(0)}: behind; update: updated",
        f"* org/{name_of(1)}: behind; update: conflict",
    ]
    heads = run_script(f"git ls-remote --heads org/{name_of(0)}", tmp_path, variables).stdout
    assert heads.count(f"refs/heads/{branch}") == 1
