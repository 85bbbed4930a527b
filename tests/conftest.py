"""Fixtures that generate projects, with nothing left outside pytest's temporary folders."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from unittest.mock import patch

import pytest
import yaml
from cookiecutter.generate import generate_context  # type: ignore[import-untyped]
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from cookiecutter.prompt import prompt_for_config  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]

from tests import registry
from tests.environments import once, sync
from tests.otlp import Receiver

REPO = Path(__file__).resolve().parents[1]

Measured = Callable[[str], None]

LONG = (
    "tests/test_services.py",
    "tests/contract/test_variables.py",
    "tests/test_commands.py",
    "tests/regenerate/test_update.py",
    "tests/processes/test_concurrency.py",
)

# Without bytecode, each of the hundreds of processes that the tests start would compile its packages again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def unavailable(reason: object) -> NoReturn:
    """End a test that needs a program or a server which this machine does not have.

    A developer's machine may lack it, so the test is skipped with the reason. In CI everything is installed, so the
    test fails there: a skip would be a gap that goes unnoticed.
    """
    if os.environ.get("CI"):
        pytest.fail(str(reason))
    pytest.skip(str(reason))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take minutes, so that no worker is left with one of them in the end.

    pytest-xdist takes groups first, those of many tests before others, and then single tests in this order.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, even when they passed, and which Python versions and programs did not run."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    lines = [str(value) for report in reports if report.when == "call" for _, value in report.user_properties]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(sorted(lines)))
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if report.nodeid.startswith(("tests/pythons/", "tests/deploy/test_real_data.py"))
    ]
    if skipped:
        terminalreporter.section("PYTHONS AND PROGRAMS THAT DID NOT RUN", red=True, bold=True)
        reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in skipped}
        terminalreporter.write_line("\n".join(sorted(reasons)), red=True)


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Add a line to the summary of the run."""
    return partial(record_property, "measured")


@pytest.fixture(scope="module")
def own_tempdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files: cookiecutter leaves rendered hooks there."""
    folder = tmp_path_factory.mktemp("temporary")
    previous, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = previous


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user configuration that keeps cookiecutter out of the home folder."""
    home = tmp_path_factory.mktemp("cookiecutter")
    path = home / "config.yaml"
    folders = {"cookiecutters_dir": str(home / "cookiecutters"), "replay_dir": str(home / "replay")}
    path.write_text(yaml.safe_dump(folders), encoding="utf-8")
    return path


def without_defaults(answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answers that make a difference."""
    prompts: dict[str, Any] = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
    defaults = {name: value[0] if isinstance(value, list) else value for name, value in prompts.items()}
    return {prompt: answer for prompt, answer in answers.items() if answer != defaults[prompt]}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run, for `once`."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory, config_file: Path, shared: Path) -> Callable[..., Path]:
    """Generate a project from the default answers and the given ones: `bake(framework="flask")`.

    The same answers give the same folder for the whole run, so do not write into it: `fresh=True` gives a copy.
    """

    def generate(output: Path, answers: Mapping[str, str]) -> None:
        output.mkdir()
        # Next to the project, cookiecutter then leaves rendered hooks.
        with patch("tempfile.tempdir", str(output / "hooks")):
            (output / "hooks").mkdir()
            cookiecutter(
                str(REPO),
                no_input=True,
                extra_context=answers,
                output_dir=str(output / "project"),
                config_file=str(config_file),
            )

    @cache
    def find(answers: tuple[tuple[str, str], ...]) -> Path:
        name = hashlib.sha256(repr(answers).encode()).hexdigest()[:16]
        folder = once(shared / "baked" / name, lambda folder: generate(folder, dict(answers)))
        (project,) = (folder / "project").iterdir()
        return project

    def bake(*, fresh: bool = False, **answers: str) -> Path:
        project = find(tuple(sorted(without_defaults(answers).items())))
        return Path(shutil.copytree(project, tmp_path_factory.mktemp("fresh") / project.name)) if fresh else project

    return bake


@pytest.fixture(scope="session")
def installed(bake: Callable[..., Path]) -> Callable[..., tuple[Path, Path]]:
    """Install the project of the given answers; return it and its Python: `installed(framework="flask")`.

    Extras of the project come first: `installed("grpc", framework="flask")`.
    """

    @cache
    def install(extras: tuple[str, ...], answers: tuple[tuple[str, str], ...]) -> tuple[Path, Path]:
        project = bake(fresh=True, **dict(answers))
        return project, sync(project, *extras)

    def installed(*extras: str, **answers: str) -> tuple[Path, Path]:
        return install(extras, tuple(sorted(without_defaults(answers).items())))

    return installed


@pytest.fixture(autouse=True)
def conventions(request: pytest.FixtureRequest, bake: Callable[..., Path]) -> Iterator[None]:
    """Check what was received during a test of contract/, processes/ or worker/, and in its fixtures: see registry."""
    yield
    received, Receiver.everything = Receiver.everything, []
    workers = {"contract": "none", "processes": "none", "worker": "celery"}
    worker = workers.get(request.path.parent.name)
    if worker and received and not request.node.get_closest_marker("foreign_telemetry"):
        choices = product(("fastapi", "flask", "django"), ("orders", "minimal"))
        projects = [bake(framework=framework, sample=sample, worker=worker) for framework, sample in choices]
        registry.check(received, *projects)


@pytest.fixture(scope="session")
def make_context() -> Callable[..., dict[str, Any]]:
    """Build cookiecutter's rendering context: the default answers, and the given ones unchanged.

    Typed and replayed answers arrive like this. Those of `bake` arrive like `key=value` on the command line, and
    cookiecutter itself renders the Jinja in them.
    """
    context: dict[str, Any] = generate_context(context_file=str(REPO / "cookiecutter.json"))
    options = {key: value for key, value in context["cookiecutter"].items() if not key.startswith("_")}
    defaults = prompt_for_config(context, no_input=True)

    def make_context(**answers: object) -> dict[str, Any]:
        return {"cookiecutter": {**defaults, **answers}, "_cookiecutter": {**options}}

    return make_context


@pytest.fixture(scope="session")
def load_hook() -> Callable[[str, dict[str, Any]], ModuleType]:
    """Import a hook as a module, rendered as cookiecutter does: `load_hook("pre_gen_project", context)`."""

    def load_hook(name: str, context: dict[str, Any]) -> ModuleType:
        path = REPO / "hooks" / f"{name}.py"
        source = create_env_with_context(context).from_string(path.read_text(encoding="utf-8")).render(**context)
        module = ModuleType(name)
        exec(compile(source, str(path), "exec"), module.__dict__)
        return module

    return load_hook
