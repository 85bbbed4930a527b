"""A file's path shows whose it is: the template's files do not mention the sample, and imports point one way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.test_bake import CODE, PAIRS, Answers, as_parameters, cover, files
from tools.compare import RECORDS, find_areas, find_own, read_skip
from tools.documents import find_imports

Bake = Callable[..., Path]
Files = Mapping[str, str]

# Not "Order Service": the name of the project appears in every file.
NAME = "Stock Keeper"

# Words of both samples, in any case, including those inside names such as `OrderRow` and `PAYMENT_URL`.
WORDS = """
    order orders payment payments sku skus checkout decline declined declines price prices quantity quantities
    customer customers charge charged charges refund refunds invoice invoices paid announce announced announces
    hello greeting greetings
"""
# Other meanings of these words.
PHRASES = (
    '"GROUP", "ORDER"',
    "actions/checkout",
    "for the checkout",
    "from a checkout",
    "in the order in which",
    "out_of_order_time_window",
)
# The answers, and the list of all variables, which owners edit.
WITH_THE_SAMPLE = (*RECORDS, ".env.example")


def read(project: Path) -> dict[str, str]:
    return {path.relative_to(project).as_posix(): path.read_text(encoding="utf-8") for path in files(project)}


def owned(project: Path) -> set[str]:
    """Return the files that `[tool.cruft] skip` leaves to the owner."""
    return find_own(project, read_skip(project) or [])


def of_the_template(project: Path) -> dict[str, str]:
    """Return the conventions, without the list of files that are not conventions."""
    found = {path: text for path, text in read(project).items() if path not in {*owned(project), *WITH_THE_SAMPLE}}
    before, start, rest = found["pyproject.toml"].partition("[tool.cruft]\n")
    assert start
    found["pyproject.toml"] = before + rest[rest.index("]\n") :]
    return found


def find_words(found: Files) -> Iterator[str]:
    """Yield the place and the word for each word of the samples, in paths and in lines."""
    words, phrases = set(WORDS.split()), re.compile("|".join(map(re.escape, PHRASES)))
    for path, text in found.items():
        for number, line in enumerate([path, *text.splitlines()]):
            for word in re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])", phrases.sub(" ", line)):
                if word.lower() in words:
                    yield f"{path}:{number}: {word}: {line.strip()[:120]}"


@pytest.mark.parametrize("answers", as_parameters(cover(2, *CODE)))
def test_conventions_do_not_mention_the_sample(answers: Answers, bake: Bake) -> None:
    found = list(find_words(of_the_template(bake(project_name=NAME, **answers))))
    assert not found, "\n".join(found)


def test_every_phrase_is_still_needed(bake: Bake) -> None:
    conventions = "\n".join(of_the_template(bake(project_name=NAME)).values())
    assert [phrase for phrase in PHRASES if phrase not in conventions] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/stock_keeper/observability/logs.py", "# The order was created."),
        ("src/stock_keeper/observability/logs.py", "class OrderRow:"),
        ("src/stock_keeper/settings.py", 'url = os.environ["PAYMENT_URL"]'),
        ("src/stock_keeper/worker.py", 'app.send_task("orders.announce")'),
        ("src/stock_keeper/app.py", "from .orders import routes"),
        ("dev/viewer/page.html", "<td>${span.attributes.orderId}</td>"),
        ("deploy/dashboards/service.json", '"expr": "sum(rate(orders_created_total[5m]))"'),
        ("deploy/prometheus/alerts.yaml", "- alert: PaymentsDeclined"),
        ("deploy/kubernetes/base/deployment.yaml", "- name: PAYMENT_LIMIT"),
        ("compose.yaml", "POSTGRES_DB: orders"),
        ("docs/configuration.md", "Each SKU may appear once; send actions/checkout to the checkout."),
        ("tests/observability/test_requests.py", 'client.get("/api/hello/Ada")'),
        ("Makefile", "orders: install"),
    ],
)
def test_a_word_of_the_sample_is_found(path: str, line: str, bake: Bake) -> None:
    text = of_the_template(bake(project_name=NAME, worker="celery"))[path]
    assert len(set(find_words({path: f"{text}{line}\n"})) - set(find_words({path: text}))) >= 1


def test_a_word_in_a_path_is_found_and_others_are_not() -> None:
    assert len(list(find_words({"deploy/dashboards/orders.json": ""}))) == 1
    others = "border ordering reordered OrderedDict disorder skull payload prepaid priceless"
    assert list(find_words({"docs/runbook.md": f"{others}\nSpans in the order in which they end.\n"})) == []


# Imports

# The layers that a file may import from; the folders and `[tool.cruft] skip` determine a file's layer.
MAY_IMPORT = {
    "observability": {"observability"},
    "shell": {"observability", "shell", "components"},
    "components": {"observability", "shell", "sample"},
    "sample": {"observability", "shell", "sample"},
    "viewer": {"viewer", "requests"},
    "bench": {"viewer", "bench", "requests"},
    "requests": {"bench", "requests"},
    "tests": {"observability", "shell", "components", "viewer", "bench", "requests", "tests"},
    "sample tests": {"observability", "shell", "components", "sample", "requests", "tests", "sample tests"},
}


def find_layer(path: str, own: set[str]) -> str:
    if path in own:
        folder = path.partition("/")[0]
        name = "components" if path.endswith("/components.py") else "sample"
        return {"dev": "requests", "tests": "sample tests"}.get(folder, name)
    (area,) = find_areas(path)
    return {"doctor": "observability", "database": "shell", "worker": "shell"}.get(area, area)


def find_wrong_imports(found: Files, own: set[str]) -> Iterator[str]:
    """Yield each import of a project module from a layer that is off limits to the importing file."""
    modules = {path: text for path, text in found.items() if re.match("(src|dev|tests)/.*[.]py$", path)}
    layers = {}
    for path in modules:
        name = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        layers[name] = find_layer(path, own)
    for path, text in modules.items():
        layer = find_layer(path, own)
        for name in find_imports(path, text):
            parts = name.split(".")
            module = next((m for end in range(len(parts), 0, -1) if (m := ".".join(parts[:end])) in layers), None)
            if module and layers[module] not in MAY_IMPORT[layer]:
                yield f"{path} ({layer}) imports {module} ({layers[module]})"


@pytest.mark.parametrize("answers", as_parameters(cover(2, *CODE)))
def test_imports_point_one_way(answers: Answers, bake: Bake) -> None:
    project = bake(project_name=NAME, **answers)
    found = list(find_wrong_imports(read(project), owned(project)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/stock_keeper/observability/logs.py", "from ..settings import Settings"),
        ("src/stock_keeper/observability/doctor/setup.py", "from ...orders import settings"),
        ("src/stock_keeper/observability/telemetry.py", "import stock_keeper.app"),
        ("src/stock_keeper/app.py", "from .orders.models import OrderRow"),
        ("src/stock_keeper/app.py", "from . import orders"),
        ("src/stock_keeper/problems.py", "def later() -> None:\n    from stock_keeper import orders"),
        ("src/stock_keeper/database.py", "from .orders import models"),
        ("src/stock_keeper/observability/celery.py", "from .. import celery_app"),
        ("src/stock_keeper/celery_app.py", "from .orders import messages"),
        ("src/stock_keeper/worker.py", "from .orders.messages import announce"),
        ("src/stock_keeper/orders/service.py", "from ..app import create_app\nfrom .. import components"),
        ("src/stock_keeper/components.py", "from dev.sample import requests"),
        ("dev/viewer/store.py", "from dev import bench"),
        ("dev/viewer/otlp.py", "from stock_keeper.observability import speedups"),
        ("tests/observability/test_requests.py", "from stock_keeper.orders import service"),
        ("tests/observability/test_requests.py", "from tests.orders import test_orders"),
        ("tests/conftest.py", "import stock_keeper.orders.models as models"),
    ],
)
def test_an_import_the_wrong_way_is_found(path: str, line: str, bake: Bake) -> None:
    project = bake(project_name=NAME, worker="celery")
    found = read(project)
    before = set(find_wrong_imports(found, owned(project)))
    found[path] += f"\n{line}\n"
    assert set(find_wrong_imports(found, owned(project))) - before


# Areas


@pytest.mark.parametrize("answers", as_parameters(PAIRS))
def test_every_convention_belongs_to_exactly_one_area(answers: Answers, bake: Bake) -> None:
    project = bake(**answers)
    conventions = set(read(project)) - owned(project) - set(RECORDS)
    assert {path: areas for path in sorted(conventions) if len(areas := find_areas(path)) != 1} == {}


@pytest.mark.parametrize("answers", as_parameters(PAIRS))
def test_the_list_of_owned_files_names_what_was_generated(answers: Answers, bake: Bake) -> None:
    project = bake(**answers)
    for path in read_skip(project) or []:
        assert path == "uv.lock" or (project / path).exists(), path


@pytest.mark.parametrize("answers", as_parameters(cover(2, "framework", "sample", "worker")))
def test_the_contract_covers_every_module_that_is_not_the_templates(answers: Answers, bake: Bake) -> None:
    project = bake(**answers)
    modules = {path.split("/")[2].removesuffix(".py") for path in of_the_template(project) if path.startswith("src/")}
    text = (project / "tests/contract.py").read_text(encoding="utf-8")
    names = {name for line in re.findall(r"^TEMPLATE .*", text, re.MULTILINE) for name in re.findall(r'"(\w+)"', line)}
    assert names == {name for name in modules if not name.startswith("__")}
