"""`make compare` and a service's own `make conventions`: who changed what, with the real commands."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO
from tests.environments import lend_uv, make
from tests.regenerate.conftest import MAKE, Run
from tests.regenerate.history import NEW, OLD, PROJECT, Repository, copy_template
from tests.test_bake import FRAMEWORKS
from tools import compare

Bake = Callable[..., Path]
Create = Callable[..., Repository]
PACKAGE = "src/order_service"
ENVIRONMENT = f"{PACKAGE}/observability/environment.py"
TELEMETRY = f"{PACKAGE}/observability/telemetry.py"
LOGS = f"{PACKAGE}/observability/logs.py"


@pytest.fixture
def look(template: Repository, run: Run) -> Callable[..., dict[str, Any]]:
    """Compare a service with the template at its second release."""

    def look(service: Path, *options: str, status: int = 0) -> dict[str, Any]:
        command = ("python", str(template.folder / "tools/compare.py"), "--service", str(service), "--json", *options)
        report: dict[str, Any] = json.loads(run(service, *command, status=status).stdout)
        return report

    return look


def states(report: dict[str, Any]) -> dict[str, str]:
    return {difference["path"]: difference["state"] for difference in report["differences"]}


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")


def run_make(run: Run, *variables: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return run(REPO, *MAKE, "compare", *variables, status=status)


def test_good_and_bad_examples() -> None:
    result = doctest.testmod(compare)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_service_as_generated_has_no_drift(framework: str, bake: Bake, run: Run) -> None:
    report = run_make(run, f"SERVICE={bake(framework=framework)}", "FLAGS=--exit-code").stdout
    assert re.search(r"^No drift: all \d+ conventions are the same\.$", report, re.MULTILINE)
    assert "Changelog" not in report


def test_an_edit_of_a_convention_is_drift_and_an_edit_of_the_sample_is_not(bake: Bake, run: Run) -> None:
    service = bake(fresh=True, framework="flask")
    append(service / TELEMETRY, "# drift\n")
    append(service / PACKAGE / "orders/service.py", "# own\n")
    summary = run_make(run, f"SERVICE={service}").stdout
    line = rf"^1 of \d+ conventions differ \(1 .*\):\n  observability: 1\n    \S.*  {TELEMETRY}$"
    assert re.search(line, summary, re.MULTILINE)
    assert "Yours, which updates leave alone: 1 file differs.\n" in summary
    assert "FLAGS=--diff shows the lines." in summary
    assert "# drift" not in summary
    report = run_make(run, f"SERVICE={service}", "FLAGS=--diff").stdout
    assert report.startswith(summary.removesuffix("\nFLAGS=--diff shows the lines.\n"))
    _, _, diff = report.partition("\n--- ")
    assert "\n-# drift\n" in diff
    assert "orders/service.py" not in diff
    run_make(run, f"SERVICE={service}", "FLAGS=--exit-code", status=2)  # make's own status for a command that failed


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "lines"), [*((name, "deleted") for name in FRAMEWORKS), ("flask", "kept")])
def test_a_service_without_the_sample_gets_a_short_report(
    framework: str, lines: str, create: Create, look: Callable[..., dict[str, Any]], template: Repository, run: Run
) -> None:
    """No owned file is missing, whether its line in `skip` was kept or deleted."""
    service = create(OLD, framework=framework)
    skip = compare.read_skip(service.folder) or []
    for path in compare.find_own(service.folder, skip):
        (service.folder / path).unlink()
    if lines == "deleted":
        for path in skip:
            service.replace("pyproject.toml", f'    "{path}",\n', "")
    append(service.folder / LOGS, "# mine\n")
    report = look(service.folder)
    assert report["own"] == {}
    assert states(report) == {
        ENVIRONMENT: "changed by the template",
        TELEMETRY: "changed by the template",
        LOGS: "changed by the service",
        f"{PACKAGE}/app.py": "changed by the template",
        "docs/new.md": "changed by the template",
        "docs/old.md": "changed by the template",
        "pyproject.toml": "changed by the template" if lines == "kept" else "changed by both",
        "Makefile": "changed by the template",
    }
    text = run(service.folder, "python", str(template.folder / "tools/compare.py"), "--service", ".").stdout
    assert len(text.splitlines()) < 30
    assert "Yours" not in text


@pytest.mark.slow
@pytest.mark.parametrize("record", [".cruft.json", ".cookiecutter.json"])
def test_the_report_shows_who_changed_what(record: str, create: Create, look: Callable[..., dict[str, Any]]) -> None:
    service = create(OLD, framework="flask")
    if record == ".cookiecutter.json":
        (service.folder / ".cruft.json").unlink()
    append(service.folder / LOGS, "# mine\n")
    append(service.folder / PACKAGE / "app.py", "# mine\n")
    append(service.folder / PACKAGE / "orders/service.py", "# mine\n")
    (service.folder / PACKAGE / "observability/tracing.py").unlink()
    report = look(service.folder)
    assert states(report) == {
        ENVIRONMENT: "changed by the template",
        TELEMETRY: "changed by the template",
        LOGS: "changed by the service",
        f"{PACKAGE}/observability/tracing.py": "missing",
        f"{PACKAGE}/app.py": "changed by both",
        "docs/new.md": "changed by the template",
        "docs/old.md": "changed by the template",
        "pyproject.toml": "changed by the template",
        "Makefile": "changed by the template",
    }
    assert report["own"] == {
        "README.md": "changed by the template",
        f"{PACKAGE}/orders/service.py": "changed by the service",
        f"{PACKAGE}/orders/settings.py": "changed by the template",
    }
    assert (report["record"], report["from"]["version"], report["to"]["version"]) == (record, OLD, NEW)
    assert report["prompts"] == {"new": ["repository_url"], "gone": []}
    assert report["changelog"] == {NEW: "Review it."}
    assert report["ancestor"]
    look(service.folder, "--exit-code", status=1)


@pytest.mark.slow
def test_without_the_old_state_the_report_says_so(
    create: Create, look: Callable[..., dict[str, Any]], template: Repository, run: Run
) -> None:
    service = create(OLD, framework="flask")
    (service.folder / ".cruft.json").unlink()
    service.replace(".cookiecutter.json", f'"{OLD}"', '"0.0.9"')
    report = look(service.folder)
    assert report["ancestor"] is None
    assert set(states(report).values()) == {"different", "missing"}
    assert list(report["changelog"]) == [NEW, OLD]
    text = run(service.folder, "python", str(template.folder / "tools/compare.py"), "--service", ".").stdout
    assert "It is unknown who changed what" in text


@pytest.mark.slow
def test_files_that_an_owner_adds_to_skip_are_not_compared(create: Create, look: Callable[..., dict[str, Any]]) -> None:
    service = create(NEW, framework="flask")
    append(service.folder / LOGS, "# mine\n")
    append(service.folder / "docs/configuration.md", "Mine.\n")
    assert set(states(look(service.folder))) == {LOGS, "docs/configuration.md"}
    service.replace("pyproject.toml", "skip = [\n", f'skip = [\n    "{PACKAGE}/*/lo*.py",\n    "docs",\n')
    report = look(service.folder)
    assert set(states(report)) == {"pyproject.toml"}
    assert list(report["own"]) == ["docs/configuration.md", LOGS]


@pytest.mark.slow
def test_answers_are_taken_as_they_are(create: Create, look: Callable[..., dict[str, Any]], run: Run) -> None:
    """An answer that was typed may look like Jinja; it was not rendered."""
    service = create(NEW, framework="flask", project_slug="order-service")
    (service.folder / ".cruft.json").unlink()
    record = json.loads(service.read(".cookiecutter.json"))
    hostile = 'Zoë "Z" {{ cookiecutter }} # % if {% raw %} \\u0041 🚀'
    record["cookiecutter"]["author_name"] = hostile
    service.write(".cookiecutter.json", json.dumps(record))
    text = json.dumps(hostile, ensure_ascii=False)
    for name in ("pyproject.toml", "Dockerfile"):
        service.replace(name, '"Your Team"', text)
    assert states(look(service.folder)) == {}


def test_two_sets_of_answers(run: Run) -> None:
    report = json.loads(run_make(run, "A=framework=flask", "B=framework=django", "FLAGS=--json").stdout)
    found = {difference["path"]: (difference["area"], difference["state"]) for difference in report["differences"]}
    assert found[f"{PACKAGE}/observability/instrument.py"] == ("observability", "different")
    assert found["pyproject.toml"] == ("pins", "different")
    assert found["manage.py"] == ("shell", "only with B")
    assert found[f"{PACKAGE}/orders/routes.py"] == ("yours", "only with A")
    assert f"{PACKAGE}/observability/speedups.py" not in found
    quoted = run_make(run, 'A=project_name="Stock Keeper" project_slug=order-service', "B=", "FLAGS=--diff").stdout
    assert "+# Order Service" in quoted.splitlines()


def test_the_telemetry_of_two_sets_of_answers(run: Run) -> None:
    report = json.loads(run_make(run, "A=framework=flask", "B=framework=django", "FLAGS=--json").stdout)["telemetry"]
    assert report["metrics"]["added"] == ["worker.event_loop.delay"]
    assert report["metrics"]["removed"] == ["db.client.connection.wait_time"]
    assert report["spans"]["changed"]["SERVER"]["Name"] != []
    assert "attributes" not in report
    lines = run_make(run, "A=", "B=sample=minimal").stdout.splitlines()
    for line in ("    added    greet", "    removed  orders.created", "    removed  order refused"):
        assert line in lines
    assert "The telemetry is the same." in run_make(run, "A=", "B=otlp_protocol=grpc").stdout
    lines = run_make(run, "A=", "B=worker=celery").stdout.splitlines()
    for line in ("process order-service", "celery.task.name", "tasks.oldest.age", "task is a dead letter"):
        assert f"    added    {line}" in lines


@pytest.mark.slow
def test_the_telemetry_of_two_versions(tmp_path: Path, environ: dict[str, str], run: Run) -> None:
    template = Repository(tmp_path, environ)
    copy_template(template.folder)
    template.commit("First", "0.1.0")
    page = f"{PROJECT}/docs/configuration.md"
    template.replace(page, "| `process.uptime` | gauge | s |", "| `process.age` | gauge | s |")
    template.replace(page, "| `process.thread.count` | up-down counter |", "| `process.thread.count` | gauge |")
    template.replace(page, "| `exception.type`, ", "| ")
    template.commit("Second")
    service = bake_service(template.folder, "0.1.0", tmp_path / "services", run)
    tool = str(template.folder / "tools/compare.py")
    metrics = {
        "added": [],
        "removed": [],
        "renamed": {"process.uptime": "process.age"},
        "changed": {"process.thread.count": {"Kind": ["up-down counter", "gauge"]}},
    }
    attributes = {"added": [], "removed": ["exception.type"], "renamed": {}, "changed": {}}
    for question in (("--between", "@0.1.0 framework=flask", "framework=flask"), ("--service", str(service))):
        report = json.loads(run(tmp_path, "python", tool, *question, "--json").stdout)
        assert report["telemetry"] == {"metrics": metrics, "attributes": attributes}
    lines = run(tmp_path, "python", tool, "--service", str(service)).stdout.splitlines()
    assert "    renamed  process.uptime -> process.age" in lines
    assert "    changed  process.thread.count: Kind: up-down counter -> gauge" in lines


def bake_service(template: Path, version: str, folder: Path, run: Run) -> Path:
    command = ("cookiecutter", "--no-input", str(template), "--checkout", version, "--output-dir", str(folder))
    run(template, *command, "framework=flask", "_template_version=0.1.0")
    return folder / "order-service"


def write_session(path: Path, *requests: dict[str, Any]) -> str:
    path.write_text("".join(f"{json.dumps(request)}\n" for request in requests), encoding="utf-8")
    return str(path)


def test_the_telemetry_of_two_sessions(tmp_path: Path, run: Run) -> None:
    def spans(*names: str, **attributes: dict[str, Any]) -> dict[str, Any]:
        listed = [{"key": key, "value": value} for key, value in attributes.items()]
        found = [{"name": name, "kind": 2, "attributes": listed, "events": [{"name": "read"}]} for name in names]
        return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": found}]}]}

    def metrics(**kinds: dict[str, Any]) -> dict[str, Any]:
        point = {"dataPoints": [{"attributes": [{"key": "shelf", "value": {"stringValue": "a"}}]}]}
        found = [
            {"name": name, "unit": "1", **{kind: point | more for kind, more in of.items()}}
            for name, of in kinds.items()
        ]
        return {"resourceMetrics": [{"scopeMetrics": [{"metrics": found}]}]}

    def logs(body: str) -> dict[str, Any]:
        record = {"severityText": "INFO", "body": {"stringValue": body}}
        return {"resourceLogs": [{"scopeLogs": [{"scope": {"name": "shop"}, "logRecords": [record]}]}]}

    first = write_session(
        tmp_path / "first.jsonl",
        spans("GET /old", "GET /same", size={"intValue": "1"}),
        metrics(visits={"sum": {"isMonotonic": True}}, weight={"gauge": {}}),
        logs("sold"),
    )
    second = write_session(
        tmp_path / "second.jsonl",
        spans("GET /same", "GET /new", size={"stringValue": "1"}),
        metrics(visits={"sum": {}}, weight={"gauge": {}}, price={"histogram": {}}),
        logs("bought"),
        {},
    )
    report = json.loads(run_make(run, f"A={first}", f"B={second}", "FLAGS=--json").stdout)
    assert report["telemetry"] == {
        "spans": {"added": [], "removed": [], "renamed": {"GET /old": "GET /new"}, "changed": {}},
        "events": {
            "added": [],
            "removed": [],
            "renamed": {},
            "changed": {"read": {"Span": ["GET /old, GET /same", "GET /new, GET /same"]}},
        },
        "attributes": {"added": [], "removed": [], "renamed": {}, "changed": {"size": {"Type": ["int", "string"]}}},
        "metrics": {
            "added": ["price"],
            "removed": [],
            "renamed": {},
            "changed": {"visits": {"Kind": ["counter", "up-down counter"]}},
        },
        "log messages": {"added": [], "removed": [], "renamed": {"sold": "bought"}, "changed": {}},
    }
    run_make(run, f"A={first}", f"B={second}", "FLAGS=--exit-code", status=2)  # make's own status of a failed command
    again = write_session(tmp_path / "again.jsonl", *map(json.loads, Path(first).read_text("utf-8").splitlines()))
    assert "The telemetry is the same." in run_make(run, f"A={first}", f"B={again}", "FLAGS=--exit-code").stdout
    write_session(tmp_path / "bad.jsonl", {}, {"resourceSpans": 1})
    done = run_make(run, f"A={first}", f"B={tmp_path / 'bad.jsonl'}", status=2)
    assert "bad.jsonl, line 2: not a request of OTLP in JSON" in done.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            ["A=framwork=flask"],
            r"'framwork=flask' does not answer a prompt\. Write prompt=answer; prompts: project_",
        ),
        (["A=framework=bottle"], r"bottle provided for choice variable framework, but the choices are "),
        (["A=sampler_ratio=3"], r"sampler_ratio: '3'\n.*\n    Allowed: a decimal number from 0 to 1"),
        ([], "Name a SERVICE, or an A and a B that differ. Each of the two is answers and a version, such as "),
        (["A=@9.9.9"], "'@9.9.9': the template has no such tag or commit"),
        (["A=@--help"], "'@--help': the template has no such tag or commit"),
        (["A=no.jsonl", "B=nor.jsonl"], "no.jsonl cannot be read: No such file or directory"),
        (
            ["A=tests/viewer/later.jsonl", "B=framework=flask"],
            "Compare answers with answers, or a .jsonl file with another.",
        ),
        (["SERVICE=docs"], r"docs has neither .cruft.json nor .cookiecutter.json: name the folder of a generated"),
    ],
)
def test_bad_input_gets_one_clear_error(variables: list[str], message: str, run: Run) -> None:
    done = run_make(run, *variables, status=2)
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


def test_a_broken_record_gets_one_clear_error(tmp_path: Path, run: Run) -> None:
    (tmp_path / ".cookiecutter.json").write_text("[]", encoding="utf-8")
    done = run_make(run, f"SERVICE={tmp_path}", status=2)
    assert "is not a record of answers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_service_asks_for_its_conventions(
    create: Create, template: Repository, bake: Bake, environ: dict[str, str]
) -> None:
    service = create(OLD, framework="django")
    append(service.folder / LOGS, "# mine\n")
    lend_uv(service.folder)
    before = service.git("status", "--porcelain")
    report = make(service.folder, "conventions")
    assert f"follows version {OLD}" in report
    assert f"the template is at version {NEW}." in report
    assert re.search(rf"^    changed by the service   {LOGS}$", report, re.MULTILINE)
    assert "# mine" not in report
    assert "Review it." in report
    assert service.git("status", "--porcelain") == before

    # Without cruft's record the template must be named.
    (service.folder / ".cruft.json").unlink()
    named = make(service.folder, "conventions", f"TEMPLATE={template.folder}")
    assert named == re.sub(r", commit .*;", " (.cookiecutter.json);", report, count=1)
    with pytest.raises(RuntimeError, match="Name a template that git can clone"):
        make(service.folder, "conventions", f"TEMPLATE={os.devnull}")
    with pytest.raises(RuntimeError, match="conventions differ"):
        make(service.folder, "conventions", f"TEMPLATE={template.folder}", "FLAGS=--exit-code")


def test_the_tool_pins_the_same_cookiecutter_as_the_tests() -> None:
    metadata = re.search(r"^# dependencies = (\[.*\])$", (REPO / "tools/compare.py").read_text("utf-8"), re.MULTILINE)
    assert metadata
    tools = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["dev"]
    assert set(json.loads(metadata[1])) <= set(tools)
