"""Services to which their owner has added a module with routes, as the README describes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.processes.conftest import EXTRAS
from tests.processes.servers import Kind, Server

FOLDER = Path(__file__).parent
SEAMS = {
    "fastapi": ("components.py", "[routes.router]", "[routes.router, extra.router]", "from . import extra"),
    "flask": ("components.py", "[routes.blueprint]", "[routes.blueprint, extra.blueprint]", "from . import extra"),
    "django": (
        "urls.py",
        "urlpatterns = [",
        "urlpatterns = [\n    *extra.urlpatterns,",
        "from order_service import extra",
    ),
}
"""The file that lists the owner's routes, the line to replace, and the import that this needs."""

Extended = Callable[[Kind, str, Mapping[str, str]], Server]


@pytest.fixture(scope="session")
def extended(
    installed: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Kind, str, Mapping[str, str]], Server]:
    """Return a function that builds a server, not yet started, of a service with two more modules.

    `extra` is `tests/extensions/<name>_<framework>.py`, and `owner` has what the frameworks share:
    `with extended(UVICORN, "http", receiver.environ(HTTP)) as server`.
    """

    def extended(kind: Kind, name: str, environ: Mapping[str, str]) -> Server:
        original, python = installed(*EXTRAS[kind.framework], framework=kind.framework)
        project = tmp_path_factory.mktemp(name) / original.name
        shutil.copytree(original, project, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        package = project / "src" / "order_service"
        shutil.copy(FOLDER / "owner.py", package / "owner.py")
        shutil.copy(FOLDER / f"{name}_{kind.framework}.py", package / "extra.py")
        seam, before, after, line = SEAMS[kind.framework]
        source = (package / seam).read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{seam} no longer has {before!r}"
        future = "from __future__ import annotations\n"
        source = source.replace(before, after)
        source = source.replace(future, f"{future}\n{line}\n") if future in source else f"{line}\n{source}"
        (package / seam).write_text(source, encoding="utf-8")
        # The original is installed in the environment; this takes precedence.
        environ = {**environ, "PYTHONPATH": str(project / "src")}
        return Server(kind, project, python, tmp_path_factory.mktemp("run"), environ)

    return extended
