"""No value of any OTEL_* variable, with one other or with many, changes a response of the service.

The variables are those of docs/configuration.md; service_suite/test_docs.py compares them with the installed packages.
The frameworks take turns with the values; variables that only one framework has are tried there. So do the signals:
each value of a per-signal variable is tried for one signal, and for the general variable. answers.py explains how.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.service import Service, free_port

pytestmark = pytest.mark.slow

NONSENSE = ("nonsense", "(=,%\u2603")
"""A word, and characters that no list, pattern or encoding accepts."""
NUMBERS = ("-1", "0", "2.5", "1e400", "9" * 30)
BY_KIND = {
    "true or false": ("true", "false"),
    "0 to 1": ("0", "0.5", "nan"),
    "list of key=value": ("a=b,c=%20d", "service.name="),
    "list of regular expressions": (".*", "a,b"),
    "path": ("FOLDER/there.pem", "FOLDER/missing"),
    "URL": ("http://127.0.0.1:CLOSED", "https://127.0.0.1:CLOSED/a?b=c", "http://[", "127.0.0.1:CLOSED"),
    "format": ("%(message)s", "%(nothing)s"),
    "text": ("\u2603",),
    **dict.fromkeys(("ms", "s", "spans", "records", "attributes", "events", "links", "characters"), NUMBERS),
}
"""Values that match the kinds of the tables, or almost."""
MORE = {
    "OTEL_PROPAGATORS": ("none", "tracecontext,none", "tracecontext,", "baggage"),
    "OTEL_CONFIG_FILE": ("FOLDER/empty.yaml", "FOLDER/without.yaml", "FOLDER/with.yaml", "FOLDER/wrong.yaml"),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": ("process,os,host",),
    "OTEL_METRICS_EXPORTER": ("console", "none"),
    "OTEL_LOGS_EXPORTER": ("console", "none"),
    "OTEL_PYTHON_TRACER_PROVIDER": ("default_tracer_provider", "sdk_tracer_provider"),
    "OTEL_PYTHON_METER_PROVIDER": ("default_meter_provider", "sdk_meter_provider"),
    "OTEL_PYTHON_LOGGER_PROVIDER": ("sdk_logger_provider",),
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES": ("UNAVAILABLE", "NO_SUCH_CODE"),
}
"""Values that the tables describe in words, or that are documented elsewhere."""
FILES = {
    "there.pem": "",
    "empty.yaml": "",
    "without.yaml": 'file_format: "1.0"\n',
    "with.yaml": 'file_format: "1.0"\npropagator:\n  composite:\n    - tracecontext:\n',
    "wrong.yaml": "a: [",
}
SIGNALS = ("TRACES", "METRICS", "LOGS")
ROWS = 30
"""For each framework: random values, the same in every run, of all variables at once. They hold almost every pair of
values of two variables on some framework, and more."""
HIDING = r"OTEL_SDK_DISABLED|OTEL_CONFIG_FILE|OTEL_\w+_(EXPORTER|PROVIDER)"
"""Values of these may hide the effect of another variable, so each is tried alone."""
MASKING = ("OTEL_SDK_DISABLED", "OTEL_CONFIG_FILE")
"""Some values of these disable the other variables; a quarter of the rows has them."""


def documented(project: Path) -> dict[str, list[str]]:
    """Return the values to try for each variable: those in its row, those of its kind, and nonsense."""
    docs = (project / "docs" / "configuration.md").read_text(encoding="utf-8")
    values: dict[str, list[str]] = {}
    fitting: tuple[str, ...] = ()
    for heading in ("All OpenTelemetry variables", "Variables without effect"):
        (section,) = (part for part in re.split(r"^## ", docs, flags=re.MULTILINE) if part.startswith(f"{heading}\n"))
        for line in section.splitlines():
            if line.startswith("| `OTEL_"):
                first, default, *others, _ = (cell.replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
                if (kind := others[0].strip() if others else "") != "the same":
                    fitting = BY_KIND.get(re.split("[,(;] ?", kind)[0].strip(), ())
                named = re.findall(r"`([^`]+)`", " ".join((default, *others)))
                usable = [word for word in named if not re.match(r"[A-Z]{2,}|/v1|.*<|https?://", word)]
                for name in re.findall(r"`(OTEL_[A-Z0-9_]+)`", first):
                    general = values.get(re.sub("OTLP_(TRACES|METRICS|LOGS)_", "OTLP_", name), ())
                    found = (*general, *usable, *fitting, *MORE.get(name, ()), *NONSENSE)
                    values[name] = list(dict.fromkeys(found))
    assert len(values) > 100
    return values


def cases(framework: str, values: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Yield no variables first, then all variables empty, each value with one of another variable, all at random."""
    yield {}
    yield dict.fromkeys(values, "")
    # This provider is created, from the other variables, when the first module asks for a tracer.
    yield {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider", "OTEL_SPAN_EVENT_COUNT_LIMIT": "nonsense"}
    alone: list[dict[str, str]] = []
    paired: list[dict[str, str]] = []
    for name, found in values.items():
        signal = re.search("(TRACES|METRICS|LOGS)_", name)
        shared = found[SIGNALS.index(signal[1]) :: 3] if signal and name.replace(signal[0], "") in values else found
        turn = (FRAMEWORKS.index(framework) + len(name)) % len(FRAMEWORKS)
        is_own = re.search("FASTAPI|FLASK|DJANGO|HTTPX|REQUESTS", name)
        tried = alone if re.fullmatch(HIDING, name) else paired
        tried += [{name: value} for value in (found if is_own else shared[turn :: len(FRAMEWORKS)])]
    yield from alone
    half = (len(paired) + 1) // 2
    for one, other in zip_longest(paired[:half], paired[half:], fillvalue=dict[str, str]()):
        yield one | other
    chance = random.Random(framework)
    for row in range(ROWS):
        yield {name: chance.choice(found) for name, found in values.items() if row % 4 == 0 or name not in MASKING}


@pytest.mark.parametrize(
    "framework", [pytest.param(name, marks=pytest.mark.xdist_group(f"variables, {name}")) for name in FRAMEWORKS]
)
def test_no_variable_changes_an_answer(
    framework: str, installed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    project, python = installed("grpc", "config", framework=framework)
    service = Service(project, python, tmp_path)
    service.prepare()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    tried = list(cases(framework, documented(project)))
    closed = str(free_port())
    text = json.dumps([{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:CLOSED", **case} for case in tried])
    done = subprocess.run(
        [python, Path(__file__).with_name("answers.py"), framework, service.package, tmp_path / "service.db"],
        input=text.replace("FOLDER", str(tmp_path)).replace("CLOSED", closed),
        cwd=project,
        env={name: value for name, value in service.environ.items() if name not in ("DATABASE_URL", "PORT")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(tried)
    expected = outcomes[0]["answers"]
    assert [answer[0] for answer in expected] == [200, 422, 404, 201, 200]
    wrong = [
        f"{case}: {outcome.get('failure') or differences(outcome['answers'], expected)}"
        for case, outcome in zip(tried, outcomes, strict=True)
        if outcome.get("answers") != expected
    ]
    assert not wrong, "\n\n".join(wrong)


def differences(answers: list[object], expected: list[object]) -> list[object]:
    return [pair for pair in zip(answers, expected, strict=True) if pair[0] != pair[1]]
