"""The shell blocks in the READMEs and in generated documents run as printed.

Only ports are replaced by free ones, and the ID of a trace by one that has arrived.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.conftest import REPO, Measured
from tests.environments import install, lend_uv, run, sync
from tests.service import free_port
from tests.test_bake import FRAMEWORKS

Bake = Callable[..., Path]

ELSEWHERE = {
    "docker": "needs Docker",
    "kubectl": "needs a cluster",
    "promtool": "not on every machine; tests/deploy/ runs it",
    "make lint": "tests/test_services.py runs it, and it takes long",
    "make test": "tests/test_services.py runs it, and it takes long",
}
"""Commands, or their first words, that do not run here, and why."""
SERVERS = re.compile(r"(\w+=\S+ )*make (dev|run)")
WORKERS = re.compile(r"celery .*\b(worker|beat)\b.*|(\w+=\S+ )*make (worker|beat)( \w+='[^']*')*")
"""Commands that run until they are stopped. They run in the background until the end of their block."""
WAIT = "curl --silent --show-error --fail --retry 200 --retry-delay 1 --retry-connrefused http://127.0.0.1:$PORT/ready"
STILL_RUNS = "sleep 5; kill -0 $!"
ANY_TRACE = """until .venv/bin/python -m dev.viewer traces --port {port} --limit 1 --json |
    grep --only-matching --max-count 1 -P '"trace_id": "\\K[0-9a-f]{{8}}'; do sleep 0.5; done"""
# What runs in the background is stopped, however the script ends.
START = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"


def shell_blocks(text: str) -> list[str]:
    """Return the blocks of shell commands in a document."""
    found = re.findall(r"^( *)```(?:sh|shell|bash|console)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a block that can run here, without comments."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        command = re.sub(r"(^|\s+)#.*", "", line)
        if command and not {command, command.split()[0]} & ELSEWHERE.keys():
            yield command


def make_script(block: str) -> str:
    """Return a script that runs the commands of a block, or nothing if none of them can run here."""
    background = {line: f"{line} & {WAIT}" for line in commands(block) if SERVERS.fullmatch(line)}
    for line in filter(WORKERS.fullmatch, commands(block)):
        # The image has .venv/bin on its PATH, and no other files in /tmp.
        local = re.sub(r"^celery ", ".venv/bin/celery ", line).replace("=/tmp/", "=")
        background[line] = f"{local} & {STILL_RUNS}"
    lines = [background.get(line, line) for line in commands(block)]
    return "\n".join([START, *lines, ""]) if lines else ""


def run_documents(project: Path) -> int:
    """Run the blocks of all documents; return the number of commands. RuntimeError if one fails."""
    count = 0
    # The README's last block deletes the sample.
    documents = [path for path in project.rglob("*.md") if ".venv" not in path.parts]
    for path in sorted(documents, key=lambda path: (path == project / "README.md", path)):
        for block in shell_blocks(path.read_text(encoding="utf-8")):
            if script := make_script(block):
                run_script(script, project)
                count += len(list(commands(block)))
    return count


def run_script(script: str, project: Path, **variables: str) -> None:
    port, view_port = free_port(), free_port()
    view = f"--port {view_port}"
    if (project / "dev/viewer/grpc_receiver.py").exists():
        view += f" --grpc-port {free_port()}"
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    script = re.sub(r"VIEW=(\S+)", lambda found: f"VIEW={shlex.quote(f'{found[1]} {view}')}", script)
    script = re.sub(r"-m dev\.viewer [a-z]+", rf"\g<0> --port {view_port}", script)
    script = script.replace("4bf92f35", f"$({ANY_TRACE.format(port=view_port)})")
    variables |= {"PORT": str(port), "VIEW": view}
    run(["timeout", "300", "bash", "-euo", "pipefail", "-c", script], project, **variables)


# Each answer to the prompts that change what a command does.
SERVICES = {
    "fastapi": {"otlp_protocol": "grpc"},
    "flask": {"decorator_style": "paired", "worker": "celery"},
    "django": {"decorator_style": "native"},
}


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_command_runs_as_printed(framework: str, bake: Bake, measured: Measured) -> None:
    project = bake(fresh=True, framework=framework, **SERVICES[framework])
    lend_uv(project)
    install(project)
    started = monotonic()
    count = run_documents(project)
    measured(f"commands of {framework}'s documents: {count} in {monotonic() - started:.0f} s")
    assert count > 15
    assert not list(project.glob("src/*/orders"))  # the README's last block has run


@pytest.mark.slow
def test_the_template_s_readme_runs_as_printed(tmp_path: Path) -> None:
    """The template is this checkout, Enter accepts each default, and `make dev` is awaited and stopped."""
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path}\ncookiecutters_dir: {tmp_path}\n", encoding="utf-8")
    run([sys.executable, "-m", "venv", ".venv"], tmp_path)
    folders = f"{tmp_path / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    for block in shell_blocks((REPO / "README.md").read_text(encoding="utf-8")):
        text = block.replace("gh:org/otel-python-template", str(REPO)).replace("order-service && ", "order-service\n")
        script = re.sub(r"^cookiecutter (?!--no-input)\S+", r"\g<0> < <(yes '')", make_script(text), flags=re.MULTILINE)
        run_script(script, tmp_path, PATH=folders, COOKIECUTTER_CONFIG=str(config))
    made = {path.parent.name for path in tmp_path.glob("*/pyproject.toml")}
    assert made == {"order-service", "stock-keeper"}


@pytest.mark.slow
def test_pre_commit_runs_the_service_s_own_tools(bake: Bake, tmp_path: Path) -> None:
    project = bake(fresh=True, sample="minimal")
    lend_uv(project)
    sync(project, dev=True)
    who = {f"GIT_{role}_{part}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environ = {**who, "PRE_COMMIT_HOME": str(tmp_path)}

    def commit() -> str:
        return run(["bash", "-euc", "git add --all && git commit --message A"], project, **environ)

    run(["bash", "-euc", "git init --quiet && uvx pre-commit install"], project, **environ)
    printed = commit()
    assert all(re.search(rf"^{name}\.+Passed$", printed, re.MULTILINE) for name in ("ruff check", "mypy", "contract"))
    for fault, hook in {
        "import os\n": "ruff check",
        "A:int = 1\n": "ruff format",
        'A: int = "1"\n': "mypy",
        'from opentelemetry import metrics\n\nmetrics.get_meter("own").create_counter("unknown")\n': "contract",
    }.items():
        (project / "src/order_service/own.py").write_text(fault, encoding="utf-8")
        with pytest.raises(RuntimeError, match=rf"(?m)^{hook}\.+Failed$"):
            commit()
    assert not list(tmp_path.glob("repo*")), "a hook was downloaded"


@pytest.mark.parametrize(
    "block", ["make tests   # pytest", "make worker", "true\nrm missing.txt", "docker ps\nrm missing.txt"]
)
def test_a_wrong_command_is_found(block: str, bake: Bake, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((bake() / "Makefile").read_bytes())
    document = textwrap.indent(f"```sh\n{block}\n```\n", "   ")
    (tmp_path / "README.md").write_text(f"1. Run\n\n{document}", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"missing\.txt|No rule to make target"):
        run_documents(tmp_path)


def test_servers_run_in_the_background() -> None:
    block = "PORT=1 make run   # a server\ndocker run \\\n    image\ncurl x \\\n  y\n"
    assert make_script(block).splitlines() == [START, f"PORT=1 make run & {WAIT}", "curl x y"]
    block = "make worker WORKER='--concurrency=8'\ncelery --app x beat --schedule=/tmp/beat\nmake worker-test\n"
    assert make_script(block).splitlines()[1:] == [
        f"make worker WORKER='--concurrency=8' & {STILL_RUNS}",
        f".venv/bin/celery --app x beat --schedule=beat & {STILL_RUNS}",
        "make worker-test",
    ]
    assert make_script("kubectl apply\n# only a comment\n") == ""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_migration_needs_a_message(framework: str, bake: Bake) -> None:
    project, command = bake(framework=framework), ["make", "--dry-run", "--old-file=migrate", "migration"]
    with pytest.raises(RuntimeError, match='Say what changes: make migration M="add a column"'):
        run(command, project)
    assert "add_a_table" in run([*command, "M=add_a_table"], project)
