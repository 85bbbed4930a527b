"""No answer breaks a project or runs as code, all invalid ones are reported at once, overlays are laid correctly."""

import ast
import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]
from cookiecutter.generate import generate_files  # type: ignore[import-untyped]
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import FileSystemLoader

from tests.conftest import REPO

pytestmark = pytest.mark.usefixtures("own_tempdir")

PROMPTS: dict[str, Any] = {
    prompt: default
    for prompt, default in json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8")).items()
    if not prompt.startswith("_")
}
CHOICES = {prompt: default for prompt, default in PROMPTS.items() if isinstance(default, list) and prompt[0] != "_"}
PROJECT = REPO / "{{cookiecutter.project_slug}}"
OVERLAYS = PROJECT / "overlays"

FREE_TEXT = ("project_name", "description", "author_name")
HOSTILE_BUT_ALLOWED = (
    "$(touch pwned) `touch pwned` ; touch pwned & | > pwned",
    "'''; import os; os.system('touch pwned') #",
    '"""; import os; os.system("touch pwned") #',
    '"""\\"""\\\\"""""""',
    'Ünï "quoted" C:\\x 🚀',
    "ends in a backslash \\",
    "# % if x",
    "# %% x",
    "{{ cookiecutter }} {% raw %} {# no comment",
    "}}{{ 7 * 7 }}",
    'key: [a, {b}] # %} {# "" \\',
    "- &a *a !!python/object/apply:os.system [pwned]",
    "<script>alert(1)</script> ]]> --> %s {0} ${HOME} %PATH%",
    "\\N{BULLET} \\x41 \\u0041 \\0 \\n",
    "__import__('os').system('touch pwned')",
)
NEVER_ALLOWED = (
    "",
    " ",
    " x",
    "two\nlines",
    "two\rlines",
    "tab\t",
    "nul\0",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\udc80",
    "x" * 10_000,
)

Context = Callable[..., dict[str, Any]]
Hook = Callable[[str, dict[str, Any]], ModuleType]


@pytest.fixture(scope="session")
def pre_gen(load_hook: Hook, make_context: Context) -> ModuleType:
    return load_hook("pre_gen_project", make_context())


def run_cookiecutter(home: Path, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    """Run the real command in `home`, which is also its home folder, and type the given lines as answers."""
    environ = {key: value for key, value in os.environ.items() if key != "COOKIECUTTER_CONFIG"}
    environ |= {"HOME": str(home), "USERPROFILE": str(home), "PWD": str(home), "PYTHONIOENCODING": "utf-8"}
    environ["TMPDIR"] = str(home.parent)  # cookiecutter leaves rendered hooks there
    command = [sys.executable, "-m", "cookiecutter", *arguments]
    return subprocess.run(
        command, cwd=home, env=environ, input=answers, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


class YamlLoader(yaml.SafeLoader):
    """Plain YAML, plus the tag with which compose.override.yaml empties a list."""


YamlLoader.add_constructor("!reset", lambda loader, node: None)


def parse(path: Path, text: str) -> Any:
    """Parse a file by its kind, which its name shows."""
    match path.suffix:
        case ".py":
            return ast.parse(text, str(path))
        case ".toml":
            return tomllib.loads(text)
        case ".json":
            return json.loads(text)
        case ".yaml" | ".yml":
            return list(yaml.load_all(text, YamlLoader))
    return None


def assert_project_is_sound(project: Path, answers: dict[str, Any]) -> None:
    for path in project.rglob("*"):
        if path.suffix in {".py", ".toml", ".json", ".yaml", ".yml"}:
            parse(path, path.read_text(encoding="utf-8"))
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["description"] == answers["description"]
    assert metadata["authors"][0]["name"] == answers["author_name"]


# The validators


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_the_sources_of_the_hooks_are_python(name: str) -> None:
    ast.parse((REPO / "hooks" / f"{name}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_good_and_bad_examples(name: str, load_hook: Hook, make_context: Context) -> None:
    result = doctest.testmod(load_hook(name, make_context()))
    assert result.attempted
    assert not result.failed


def test_every_prompt_has_a_rule_with_the_choices_of_cookiecutter_json(pre_gen: ModuleType) -> None:
    assert set(pre_gen.RULES) == set(PROMPTS)
    assert {prompt: list(choices) for prompt, choices in pre_gen.CHOICES.items()} == CHOICES


def test_the_examples_in_the_messages_are_allowed(pre_gen: ModuleType, make_context: Context) -> None:
    examples = {prompt: example for prompt, (_, _, example) in pre_gen.RULES.items()}
    assert not pre_gen.find_errors(make_context(**examples)["cookiecutter"])


def test_the_default_answers_are_allowed(pre_gen: ModuleType, make_context: Context) -> None:
    assert not pre_gen.find_errors(make_context()["cookiecutter"])


@pytest.mark.parametrize("text", NEVER_ALLOWED, ids=ascii)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_no_prompt_accepts_these(prompt: str, text: str, pre_gen: ModuleType, make_context: Context) -> None:
    errors = pre_gen.find_errors(make_context(**{prompt: text})["cookiecutter"])
    assert list(errors) == [prompt]
    assert len(errors[prompt]) < 500


@pytest.mark.parametrize("value", [0.5, 1, True, None, ["0.5"]], ids=repr)
def test_an_answer_is_text(value: object, pre_gen: ModuleType, make_context: Context) -> None:
    """A replay file may easily contain a number without quotes."""
    errors = pre_gen.find_errors(make_context(sampler_ratio=value)["cookiecutter"])
    assert "double quotes" in errors["sampler_ratio"]


def test_pinned_distributions_are_not_valid_names_for_a_service(pre_gen: ModuleType, make_context: Context) -> None:
    versions = make_context()["cookiecutter"]["_versions"]
    for name in (name for name in versions if not name.endswith("_image")):
        assert pre_gen.check_project_slug(name.replace("_", "-")), name
        assert pre_gen.check_package_name(name), name


# The message


BAD = {
    "project_slug": "Order_Service",
    "package_name": "flask",
    "description": 'two\n"""lines',
    "author_name": "x" * 10_000,
    "sampler_ratio": "1e-3",
    "framework": "bottle",
}


def test_all_errors_come_in_one_message(
    load_hook: Hook, make_context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = load_hook("pre_gen_project", make_context(**BAD, _template="gh:org/template", _repo_dir="x/template"))
    assert hook.main() == 1
    out, message = capsys.readouterr()
    assert not out
    for prompt, value in BAD.items():
        assert f"{prompt}: {repr(value)[:60]}" in message
        _, allowed, example = hook.RULES[prompt]
        assert f"Allowed: {allowed}. For example: {example}" in message
    assert "service_namespace" not in message
    assert "--replay" in message
    assert len(message) < 5000


def test_the_message_under_cruft_names_its_options(
    load_hook: Hook, make_context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = load_hook("pre_gen_project", make_context(sampler_ratio=".5", _template="gh:org/template", _commit="abc"))
    assert hook.main() == 1
    message = capsys.readouterr().err
    assert "write 0.5" in message
    assert """cruft update -y --variables-to-update '{"sampler_ratio": "0.25"}'""" in message
    assert "--replay" not in message


def test_good_answers_are_silent(load_hook: Hook, make_context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_hook("pre_gen_project", make_context()).main() == 0
    assert capsys.readouterr() == ("", "")


def test_both_printed_commands_work_as_printed(tmp_path: Path) -> None:
    bad = ["project_slug=Order_Service", "sampler_ratio=1e-3", 'author_name=Zoë "Z" C:\\']
    refused = run_cookiecutter(tmp_path, str(REPO), "--no-input", *bad)
    assert refused.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cookiecutter_replay"]

    commands = [shlex.split(line) for line in re.findall(r"^ +(cookiecutter .*)$", refused.stderr, re.MULTILINE)]
    (_, *again), (_, *replay) = commands
    assert "project_slug=order-service" in again
    typed = run_cookiecutter(tmp_path, *again, answers="\n" * len(PROMPTS))
    assert typed.returncode == 0, typed.stderr
    assert (tmp_path / "order-service" / "pyproject.toml").is_file()

    # The run above overwrote the replay file: refuse once more, then correct the file and nothing else.
    run_cookiecutter(tmp_path, str(REPO), "--no-input", *bad)
    replay_file = Path(replay[replay.index("--replay-file") + 1])
    assert replay_file.name == f"{REPO.name}.json"
    context = json.loads(replay_file.read_text(encoding="utf-8"))
    context["cookiecutter"] |= {"project_slug": "second", "package_name": "second", "sampler_ratio": "0.001"}
    replay_file.write_text(json.dumps(context), encoding="utf-8")
    replayed = run_cookiecutter(tmp_path, *replay)
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert_project_is_sound(tmp_path / "second", context["cookiecutter"])
    assert context["cookiecutter"]["author_name"] == 'Zoë "Z" C:\\'


def test_an_existing_project_is_left_alone_when_an_answer_is_refused(tmp_path: Path) -> None:
    notes = tmp_path / "order-service" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine", encoding="utf-8")
    refused = run_cookiecutter(tmp_path, str(REPO), "--no-input", "-f", "sampler_ratio=2")
    assert refused.returncode == 1
    assert "--overwrite-if-exists" in refused.stderr
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


def test_a_refusal_reaches_the_callers_of_the_library(cookies: Any) -> None:
    result = cookies.bake(template=str(REPO), extra_context={"framework": "flask", "package_name": "import"})
    assert isinstance(result.exception, FailedHookException)
    assert cookies.bake(template=str(REPO)).exit_code == 0


# Answers as data. Cookiecutter itself renders key=value answers, so hostile Jinja in them is a matter between the user
# and cookiecutter. It does not render typed and replayed answers, so these tests use those.


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE_BUT_ALLOWED)
def test_hostile_text_is_only_text(
    text: str,
    tmp_path: Path,
    config_file: Path,
    make_context: Context,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    context = make_context(**dict.fromkeys(FREE_TEXT, text))
    replay_file = tmp_path / "answers.json"
    replay_file.write_text(json.dumps(context), encoding="utf-8")
    cookiecutter(str(REPO), replay=str(replay_file), config_file=str(config_file))
    assert capfd.readouterr() == ("", "")
    assert_project_is_sound(tmp_path / "order-service", context["cookiecutter"])
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("text", [*HOSTILE_BUT_ALLOWED, *NEVER_ALLOWED], ids=ascii)
@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_hooks_receive_every_answer_unchanged(name: str, text: str, load_hook: Hook, make_context: Context) -> None:
    context = make_context(**dict.fromkeys(PROMPTS, text))
    assert context["cookiecutter"] == load_hook(name, context).ANSWERS


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
@settings(deadline=None)
@given(text=st.text() | st.text('"\\{}%#\n\udc80'))
def test_hooks_receive_any_answer_unchanged(name: str, text: str, load_hook: Hook, make_context: Context) -> None:
    context = make_context(description=text)
    assert load_hook(name, context).ANSWERS["description"] == text


def texts(most: int) -> st.SearchStrategy[str]:
    """Generate mostly allowed text, with many characters that are special in some language."""
    special = st.sampled_from("\"'\\{}[]()<>%#$`:&*!|@,=?~-\u00e9\U0001f680 ")
    printable = st.text(special | st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=most)
    return printable.map(str.strip) | st.sampled_from((*HOSTILE_BUT_ALLOWED, *NEVER_ALLOWED)) | st.text()


ANSWERS = st.fixed_dictionaries(
    {
        "project_name": texts(60),
        "description": texts(200),
        "author_name": texts(100),
        "service_namespace": st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True) | texts(9),
        **{prompt: st.sampled_from(choices) for prompt, choices in CHOICES.items()},
    }
)


@cache
def files_with_free_text() -> list[Path]:
    pattern = re.compile(r"cookiecutter\.(project_name|description|author_name|service_namespace)\b")
    return [
        path
        for path in sorted(PROJECT.rglob("*"))
        if path.suffix in {".py", ".toml", ".json", ".yaml", ".yml"} and pattern.search(path.read_text("utf-8"))
    ]


def choices_of_overlay(path: Path) -> dict[str, str]:
    """Return answers for which the file is generated, if it is in an overlay: the first of alternatives."""
    if not path.is_relative_to(OVERLAYS):
        return {}
    prompts, folders = path.relative_to(OVERLAYS).parts[:2]
    return {
        prompt: next(answer for answer in CHOICES[prompt] if answer.replace("/", "-") in alternatives.split(","))
        for prompt, alternatives in zip(prompts.split("+"), folders.split("+"), strict=True)
    }


@pytest.fixture(scope="session")
def render(make_context: Context) -> Callable[[Path, dict[str, Any]], str]:
    """Render one file of the template; compiled templates are cached, which makes many examples affordable."""
    environment = create_env_with_context(make_context())
    environment.loader = FileSystemLoader([PROJECT, REPO / "templates"])

    def render(path: Path, context: dict[str, Any]) -> str:
        text: str = environment.get_template(path.relative_to(PROJECT).as_posix()).render(**context)
        return text

    return render


@settings(deadline=None, max_examples=200)
@given(answers=ANSWERS)
def test_any_text_is_refused_or_only_text(
    answers: dict[str, str],
    pre_gen: ModuleType,
    make_context: Context,
    render: Callable[[Path, dict[str, Any]], str],
) -> None:
    refused = pre_gen.find_errors(make_context(**answers)["cookiecutter"])
    allowed = {prompt: text for prompt, text in answers.items() if prompt not in refused}
    for path in files_with_free_text():
        context = make_context(**{**allowed, **choices_of_overlay(path)})
        parsed = parse(path, render(path, context))
        if path == PROJECT / "pyproject.toml":
            assert parsed["project"]["description"] == context["cookiecutter"]["description"]
            assert parsed["project"]["authors"][0]["name"] == context["cookiecutter"]["author_name"]


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(answers=ANSWERS)
@example(answers=dict.fromkeys(FREE_TEXT, 'key: [a, {b}] # %} {# "" \\'))
def test_whole_projects_are_generated_or_refused(
    answers: dict[str, str], pre_gen: ModuleType, make_context: Context
) -> None:
    def generate(folder: str) -> dict[str, Any]:
        context = make_context(**answers)
        generate_files(repo_dir=str(REPO), context=context, output_dir=folder)
        return context["cookiecutter"]  # type: ignore[no-any-return]

    with TemporaryDirectory() as folder:
        refused = pre_gen.find_errors(make_context(**answers)["cookiecutter"])
        if refused:
            with pytest.raises(FailedHookException):
                generate(folder)
            assert not os.listdir(folder)
        answers = {prompt: text for prompt, text in answers.items() if prompt not in refused}
        assert_project_is_sound(Path(folder, "order-service"), generate(folder))


# Overlays


def replaced_files(hook: ModuleType) -> set[str]:
    """Return the common files of the template, in the current folder, that an overlay has as well.

    The hook itself finds every other contradiction of any combination of answers.
    """
    prompts = sorted({prompt for group in os.listdir("overlays") for prompt in group.split("+")} & set(CHOICES))
    found = set()
    for answers in product(*(CHOICES[prompt] for prompt in prompts)):
        hook.ANSWERS.update(zip(prompts, answers, strict=True))
        found |= {target for target in hook.find_moves() if os.path.lexists(target)}
    return found


def test_the_overlays_of_the_template_contradict_neither_each_other_nor_the_common_files(
    load_hook: Hook, make_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert not replaced_files(load_hook("post_gen_project", make_context()))


def test_an_overlay_that_replaces_a_common_file_is_found(
    load_hook: Hook, make_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("README.md", "overlays/framework/flask/app.py", "overlays/framework+sample/django+minimal/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    hook = load_hook("post_gen_project", make_context())
    assert replaced_files(hook) == {"README.md"}
    (tmp_path / "overlays/sample/minimal").mkdir(parents=True)
    (tmp_path / "overlays/sample/minimal/app.py").touch()
    with pytest.raises(hook.OverlayError, match=r"both produce app\.py"):
        replaced_files(hook)


@pytest.fixture
def lay(
    load_hook: Hook, make_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, str]]]:
    """Run the hook in a project of the given files; return its status and the resulting files."""
    monkeypatch.chdir(tmp_path)

    def lay(files: dict[str, str], context: dict[str, Any] | None = None) -> tuple[int, dict[str, str]]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        answers = {"framework": "flask", "otlp_protocol": "http/protobuf", "kubernetes": "no"}
        status: int = load_hook("post_gen_project", context or make_context(**answers)).main()
        found = (path for path in tmp_path.rglob("*") if path.is_file())
        return status, {path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in found}

    return lay


Lay = Callable[..., tuple[int, dict[str, str]]]


def test_the_files_of_the_chosen_answers_are_laid(lay: Lay, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, files = lay(
        {
            "README.md": "common",
            "overlays/framework/flask/app.py": "flask",
            "overlays/framework/flask/deploy/a/b.yaml": "flask",
            "overlays/framework/flask,django/gunicorn.conf.py": "flask or django",
            "overlays/framework/fastapi,django/uvicorn.py": "fastapi or django",
            "overlays/framework/django/manage.py": "django",
            "overlays/otlp_protocol/http-protobuf/deploy/a/c.yaml": "http",
            "overlays/otlp_protocol/grpc/deploy/a/c.yaml": "grpc",
            "overlays/kubernetes/yes/deploy/kubernetes/d.yaml": "yes",
            "overlays/framework+otlp_protocol/flask+http-protobuf/http.py": "flask and http",
            "overlays/framework+otlp_protocol/flask+grpc/grpc.py": "flask and grpc",
            "overlays/framework+otlp_protocol/django+http-protobuf/django.py": "django and http",
            "overlays/framework+kubernetes+sample/flask+no+orders/three.py": "flask, no and orders",
            "overlays/framework+kubernetes+sample/flask,django+yes+orders/three.py": "flask or django, yes and orders",
            "overlays/framework+sample/fastapi,flask+minimal,orders/either.py": "either of both",
            "overlays/framework+sample/fastapi,flask+minimal/hello.py": "either and minimal",
        }
    )
    assert status == 0
    assert files == {
        "README.md": "common",
        "app.py": "flask",
        "deploy/a/b.yaml": "flask",
        "gunicorn.conf.py": "flask or django",
        "deploy/a/c.yaml": "http",
        "http.py": "flask and http",
        "three.py": "flask, no and orders",
        "either.py": "either of both",
    }
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["a", "deploy"]
    assert capsys.readouterr() == ("", "")


def test_a_project_that_is_generated_again_gets_the_new_files(lay: Lay) -> None:
    """Files that `--overwrite-if-exists` finds from an earlier generation are not a contradiction."""
    assert lay({"app.py": "last time", "overlays/framework/flask/app.py": "new"}) == (0, {"app.py": "new"})


def test_a_template_without_overlays(lay: Lay) -> None:
    assert lay({"app.py": "common"}) == (0, {"app.py": "common"})


def test_overlays_are_laid_under_cruft_too(lay: Lay, make_context: Context) -> None:
    context = make_context(framework="flask")
    del context["_cookiecutter"]
    assert lay({"overlays/framework/flask/app.py": "flask"}, context) == (0, {"app.py": "flask"})


def test_permissions_are_preserved(lay: Lay, tmp_path: Path) -> None:
    script = tmp_path / "overlays" / "framework" / "flask" / "run.sh"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    assert lay({"run.sh": "common"})[0] == 0
    assert os.access(tmp_path / "run.sh", os.X_OK)


@pytest.mark.parametrize(
    ("overlays", "complaint"),
    [
        (["framewrok/flask/app.py"], "no prompt 'framewrok'"),
        (["_versions/flask/app.py"], "no prompt '_versions'"),
        (["framework+otlp/flask+grpc/app.py"], "no prompt 'otlp'"),
        (["framework+/flask/app.py"], "no prompt ''"),
        (["framework/flaks/app.py"], "prompt 'framework' has no such choice"),
        (["framework/fastapi,flaks/app.py"], "prompt 'framework' has no such choice"),
        (["framework/flask, django/app.py"], "prompt 'framework' has no such choice"),
        (["framework+sample/flask+order/app.py"], "prompt 'sample' has no such choice"),
        (["framework+sample/orders+flask/app.py"], "prompt 'framework' has no such choice"),
        (["otlp_protocol/http/protobuf/app.py"], "prompt 'otlp_protocol' has no such choice"),
        (["framework/flask+orders/app.py"], "expected one answer per prompt"),
        (["framework+sample/flask/app.py"], "expected one answer per prompt"),
        (["sample+framework/orders+flask/app.py"], "alphabetical order"),
        (["framework+framework/flask+flask/app.py"], "alphabetical order"),
        (["framework+sample+kubernetes/flask+orders+no/app.py"], "alphabetical order"),
        (["framework+kubernetes+sample+worker/flask+no+orders+none/app.py"], "one to three prompts"),
        (["framework/flask/app.py", "kubernetes/no/app.py"], "both produce app.py"),
        (["framework/flask/app.py", "framework/flask,django/app.py"], "both produce app.py"),
        (["framework/flask/a/app.py", "framework+kubernetes/flask+no/a/app.py"], "a/app.py both produce a/app.py"),
        (["framework/flask/README.md/app.py"], "README.md"),
    ],
)
def test_wrong_overlays_fail_loudly(
    overlays: list[str], complaint: str, lay: Lay, capsys: pytest.CaptureFixture[str]
) -> None:
    project = {"README.md": "common", **{f"overlays/{name}": "overlay" for name in overlays}}
    status, files = lay(project)
    assert (status, files) == (1, project)
    assert complaint in capsys.readouterr().err
