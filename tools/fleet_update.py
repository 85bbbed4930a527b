"""Update a service with cruft in a temporary clone, and give its checkout the result as a new branch.

`git status` runs what the settings of a repository name. `cruft` clones the template that a record names, and deletes
the paths that a service skips. So cruft works in a clone without these settings, and records are checked first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cruft

from tools.compare import BY_BOTH, BY_TEMPLATE, CompareError, read_record, read_skip

STATES = {
    "updated": "the branch has the update",
    "current": "the template has changed nothing that the service follows",
    "conflict": "the service and the template have changed the same lines",
    "refused": "the template cannot use the answers",
    "unclean": "the working tree has changes",
    "exists": "the branch exists",
    "no checkout": "not the top of a git checkout",
    "no link": "no .cruft.json with a commit of the template's history",
    "failed": "git or cruft failed",
}
# The user's git settings must not run anything or wait for input.
SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
# The receiving side reads the settings of the service.
RECEIVE = (
    f"git -c core.hooksPath={os.devnull} -c core.fsmonitor=false -c core.alternateRefsCommand=true"
    " -c receive.autogc=false receive-pack"
)
JINJA = re.compile(r"\{[{%#]|^\s*# %", re.MULTILINE)
CHECK_SECONDS = 3600


class UpdateError(Exception):
    """The service gets no branch; `state` is the key of the reason in STATES."""

    def __init__(self, state: str, detail: str = "", conflicts: list[str] | None = None) -> None:
        super().__init__(detail or STATES[state])
        self.state = state
        self.conflicts = conflicts or []


def safe_environment(protocols: str) -> dict[str, str]:
    """Return an environment for git, and for programs that call it."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    settings: dict[str, str] = {}
    for number, (key, value) in enumerate(SETTINGS.items(), count):
        settings |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **os.environ,
        **settings,
        "GIT_CONFIG_COUNT": str(count + len(SETTINGS)),
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


def git(
    folder: Path, *arguments: str, protocols: str = "file", text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run git without the hooks and programs that a repository names."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**safe_environment(protocols), **variables},
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def require(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the command printed; raise UpdateError if it failed."""
    if done.returncode:
        raise UpdateError("failed", (done.stderr or done.stdout).strip()[-2000:])
    return done.stdout


@dataclass(frozen=True)
class Update:
    """What all services are updated to, and the command that then checks each."""

    template: Path
    commit: str
    version: str
    check: str | None

    @property
    def branch(self) -> str:
        return f"template-{self.version}-{self.commit[:10]}"

    def apply(self, service: Path, report: dict[str, Any], before: Path) -> dict[str, Any]:
        """Return the result: its state, the branch, and why there is none.

        The folder `before` has what was generated from the commit that the service follows.
        """
        try:
            self.require_checkout(service, report)
            with tempfile.TemporaryDirectory() as folder:
                clone = clone_clean(service, Path(folder))
                self.merge(clone, report, before, Path(folder))
                checked = None
                if self.check:  # in a clone that has the symbolic links
                    copy = Path(folder, "check", service.name)
                    require(git(clone, "clone", "--quiet", ".", str(copy)))
                    checked = run_check(self.check, copy)
                to = (str(service), f"HEAD:refs/heads/{self.branch}")
                require(git(clone, "push", "--quiet", "--no-verify", f"--receive-pack={RECEIVE}", "--", *to))
            return {"state": "updated", "branch": self.branch, "check": checked}
        except UpdateError as error:
            return {"state": error.state, "detail": str(error), "conflicts": error.conflicts}
        except Exception as error:  # whatever the service contains, the others are updated
            return {"state": "failed", "detail": str(error) or repr(error), "conflicts": []}

    def require_checkout(self, service: Path, report: dict[str, Any]) -> None:
        """Raise UpdateError for a service that cannot be updated."""
        if not (service / ".git").exists():
            raise UpdateError("no checkout")
        if report["state"] == "refused":
            raise UpdateError("refused", report["error"])
        if report.get("record") != ".cruft.json" or not report.get("ancestor"):
            raise UpdateError("no link", report.get("ancestor_missing") or report.get("error") or "")
        states = {difference["state"] for difference in report["differences"]}
        if not states & {BY_TEMPLATE, BY_BOTH}:
            raise UpdateError("current")
        if git(service, "show-ref", "--quiet", "--verify", f"refs/heads/{self.branch}").returncode == 0:
            raise UpdateError("exists", f"{self.branch} exists")
        # Newer versions of git run hooks that are settings.
        if git(service, "config", "--local", "--includes", "--get-regexp", r"^hook\.").returncode == 0:
            raise UpdateError("failed", "its git settings define hooks, which would run")

    def merge(self, clone: Path, report: dict[str, Any], before: Path, folder: Path) -> None:
        """Update the clone, and commit the result; raise UpdateError for conflicts."""
        path = clone / ".cruft.json"
        if not path.is_file():
            raise UpdateError("no link", ".cruft.json is not committed")
        # What is committed need not be what the comparison has read.
        try:
            read_skip(clone)
            answers = read_record(clone).answers
        except CompareError as error:
            raise UpdateError("refused", str(error)) from None
        # cruft renders the answers, and Jinja can run anything.
        if odd := [prompt for prompt, answer in answers.items() if JINJA.search(answer)]:
            raise UpdateError("refused", f"cruft would render what looks like Jinja in {', '.join(odd)}")
        # The blobs from which git merges: the service's history may not have them, and the clone has no history.
        names = "".join(f"{file}\n" for file in before.rglob("*") if file.is_file())
        require(git(clone, "hash-object", "-w", "--no-filters", "--stdin-paths", text=names))
        state = json.loads(path.read_text(encoding="utf-8"))
        named = {key: state.get(key) for key in ("template", "directory", "checkout")}
        own = {"template": str(self.template), "directory": None, "checkout": None, "commit": report["ancestor"]}
        write_state(path, {**state, **own})
        base = require(git(clone, "rev-parse", "HEAD")).strip()
        commit = ("commit", "--quiet", "--no-verify", "--all", "--allow-empty", "--message")
        require(git(clone, *commit, "The template is local"))

        # Without the defaults of the user, so that it does not matter who runs this.
        (folder / "cookiecutter.yaml").write_text("{}\n", encoding="utf-8")
        variables = {**safe_environment("file"), "COOKIECUTTER_CONFIG": str(folder / "cookiecutter.yaml")}
        with patch.dict(os.environ, variables), redirect_stdout(StringIO()), redirect_stderr(StringIO()) as printed:
            cruft.update(clone, skip_apply_ask=True, checkout=self.commit)
        unmerged = require(git(clone, "diff", "--no-ext-diff", "--name-only", "--diff-filter=U")).splitlines()
        rejected = require(git(clone, "ls-files", "--others", "--", "*.rej")).splitlines()
        if conflicts := sorted({*unmerged, *(name.removesuffix(".rej") for name in rejected)}):
            raise UpdateError("conflict", conflicts=conflicts)
        # cruft reports success in any case.
        if failed := re.findall(r"^error: .*", printed.getvalue(), re.MULTILINE):
            raise UpdateError("conflict", "\n".join(failed))

        state = json.loads(path.read_text(encoding="utf-8"))
        state["context"]["cookiecutter"]["_template"] = named["template"]
        write_state(path, {**state, **named})
        require(git(clone, "reset", "--quiet", "--soft", base))
        require(git(clone, "add", "--all"))
        require(git(clone, *commit, f"Update to version {self.version} of the template\n\nCommit {self.commit}"))


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write .cruft.json as cruft does."""
    path.write_text(json.dumps(state, ensure_ascii=False, indent=2, separators=(",", ": ")) + "\n", encoding="utf-8")


def clone_clean(service: Path, folder: Path) -> Path:
    """Return a clone of the last commit; raise UpdateError if the working tree differs from it."""
    clone = folder / "service"
    # As documented in git(1), a repository that is not trusted must be cloned before anything reads its working tree.
    # Without symbolic links, nothing in the clone can lead out of it.
    shallow = ("--quiet", "--no-local", "--depth=1", "--no-tags", "--config", "core.symlinks=false")
    require(git(folder, "clone", *shallow, "--", str(service), str(clone)))
    found = git(service, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-path", "info/exclude")
    index, exclude = map(Path, require(found).splitlines())
    try:
        shutil.copy2(index, folder / "index")
        if exclude.exists():
            shutil.copyfile(exclude, clone / ".git/info/exclude")
    except OSError as error:
        raise UpdateError("failed", f"its index cannot be read: {error}") from None
    place = (f"--git-dir={clone / '.git'}", f"--work-tree={service}", "-c", "core.symlinks=true")
    options = ("--porcelain", "--no-renames", "--ignore-submodules=all", "--untracked-files=normal")
    status = require(git(folder, *place, "status", *options, GIT_INDEX_FILE=str(folder / "index")))
    if status:
        names = [line[3:] for line in status.splitlines()]
        raise UpdateError("unclean", f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")
    return clone


def run_check(command: str, folder: Path) -> dict[str, Any]:
    """Run a shell command in the folder; return its status and the end of its output."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - 4000))
        return {"command": command, "status": status, "output": output.read().decode(errors="replace")}
