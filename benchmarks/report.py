"""docs/benchmarks.md and its plots, made from the measured file and from nothing else."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

PARTS = ("in_process", "routes", "servers", "throughput", "decorators", "tasks", "start_up", "generation", "shutdown")
FRAMEWORKS = {"flask": "Flask", "fastapi": "FastAPI", "django": "Django"}
Goal = tuple[str, str, float, float]
"""What, where, at most, measured."""


def write(results: Path) -> None:
    """Write the page and the plots beside the measured file."""
    found = json.loads(results.read_text(encoding="utf-8"))
    (results.parent / "benchmarks.md").write_text(page(found), encoding="utf-8")
    plot(found, "in_process", results.parent / "benchmarks-in-process.svg")
    plot(found, "servers", results.parent / "benchmarks-servers.svg")


def page(found: dict[str, Any]) -> str:
    """Return docs/benchmarks.md."""
    frame = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    return frame.replace("RESULTS", text(found).strip())


def text(found: dict[str, Any]) -> str:
    """Return what was measured, as tables."""
    parts = [SECTIONS[part](found[part]) for part in PARTS if part in found]
    machine = found["machine"]
    how = f"{machine['processor']}; {machine['system']}; Python {machine['Python']}; {machine['minutes']} minutes"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
    used = textwrap.fill(f"With: {versions}.", 120, break_on_hyphens=False)
    return "\n\n".join([f"Measured on: {how}.", used, goals_table(goals(found)), *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and between which values it lies."""
    text = f"{median(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def differences(cells: dict[str, Any], variant: str, bare: str = "bare") -> list[float]:
    """Return the CPU above that of the bare application in each round, in which conditions are the same for both."""
    return [ours - theirs for ours, theirs in zip(cells[variant]["cpu"], cells[bare]["cpu"], strict=True)]


def added(cells: dict[str, Any], variant: str, bare: str = "bare") -> float:
    """Return the CPU above that of the bare application."""
    return median(differences(cells, variant, bare))


def ratio(cells: dict[str, Any], variant: str, against: str) -> float:
    """Of the CPU that the two add to the bare application."""
    return added(cells, variant) / added(cells, against)


def times(cells: dict[str, Any], variant: str, against: str) -> float:
    """Return how many times as long as the other a variant takes in the same round."""
    pairs = zip(cells[variant]["ms"], cells[against]["ms"], strict=True)
    return float(median(ours / theirs for ours, theirs in pairs))


def in_process(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{name}, {variant}",
            spread(cells[variant]["cpu"]),
            f"{added(cells, variant):+,.0f}",
            f"{ratio(cells, variant, 'floor'):.2f}" if variant != "bare" else "",
        ]
        for framework, name in FRAMEWORKS.items()
        for cells in [part[framework]]
        for variant in cells
    ]
    return "## In process\n\n![Added CPU](benchmarks-in-process.svg)\n\n" + table(
        ["", "CPU µs per request", "added", "of the floor's"], rows
    )


def growth(cells: dict[str, Any], variant: str) -> float:
    """What the variant adds with many routes, of what it adds with few."""
    few, *_, many = (name.partition(", ")[2] for name in cells)
    more, less = (added(cells, f"{variant}, {count}", f"bare, {count}") for count in (many, few))
    return more / less


def routes(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{name}, {variant}",
            *(spread(cells[cell]["cpu"]) for cell in cells if cell.startswith(f"{variant},")),
            f"{growth(cells, variant):.2f}" if variant != "bare" else "",
        ]
        for framework, name in FRAMEWORKS.items()
        for cells in [part[framework]]
        for variant in dict.fromkeys(cell.partition(",")[0] for cell in cells)
    ]
    counts = dict.fromkeys(cell.partition(", ")[2] for cell in part["flask"])
    head = ["", *(f"CPU µs per request, {count}" for count in counts), "added, of that with few"]
    return "## Many routes\n\n" + table(head, rows)


def servers(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{name}, {variant}",
            spread(figures["cpu"]),
            f"{ratio(cells, variant, 'guide'):.2f}" if variant != "bare" else "",
            spread(figures["rate"]),
            spread(figures["p99"], 1),
            f"{median(figures['memory']):.0f}",
            f"{median(figures['spans']):.2f}",
        ]
        for framework, name in FRAMEWORKS.items()
        for cells in [part[framework]]
        for variant, figures in cells.items()
    ]
    head = ["", "CPU µs per request", "added, of the guide's", "requests/s", "p99 ms", "MB", "spans per request"]
    return "## Real servers\n\n![Added CPU](benchmarks-servers.svg)\n\n" + table(head, rows)


def throughput(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{name}, {cell}",
            f"{figures['rate'][0]:,.0f}",
            f"{figures['answered'][0]:,.0f}",
            f"{figures['dropped'][0]:,.0f}",
            spread(figures["p99"], 1),
            f"{figures['memory'][0]:.0f}",
        ]
        for framework, name in FRAMEWORKS.items()
        for cell, figures in part[framework].items()
    ]
    return "## Six spans a request, a slow receiver\n\n" + table(
        ["", "asked/s", "answered/s", "spans dropped", "p99 ms at half of it", "MB"], rows
    )


def decorators(part: dict[str, Any]) -> str:
    cells = part["all"]
    rows = [[way, *(spread(cells[circumstance][way], 2) for circumstance in cells)] for way in cells["sampled"]]
    return "## A traced function\n\nMicroseconds a call; ratios where it says `of`.\n\n" + table(["", *cells], rows)


def tasks(part: dict[str, Any]) -> str:
    cells = part["all"]
    rows = [
        [
            variant,
            spread(figures["cpu"]),
            f"{added(cells, variant):+,.0f}",
            f"{ratio(cells, variant, 'instrumentation'):.2f}" if variant != "bare" else "",
        ]
        for variant, figures in cells.items()
    ]
    return "## Tasks\n\n" + table(["", "CPU µs per task", "added", "of the instrumentation's"], rows)


def start_up(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{name}, {variant}",
            spread(figures["ms"]),
            f"{times(part[framework], variant, 'bare'):.2f}",
            f"{median(figures['memory']):.0f}",
        ]
        for framework, name in FRAMEWORKS.items()
        for variant, figures in part[framework].items()
    ]
    return "## Start of a process\n\n" + table(["", "ms", "of bare", "MB at most"], rows)


def generation(part: dict[str, Any]) -> str:
    cells = part["all"]
    rows = [
        [template, spread(figures["ms"]), f"{times(cells, template, 'one file'):.2f}"]
        for template, figures in cells.items()
    ]
    return "## Generation\n\n" + table(["", "ms", "of one file"], rows)


def shutdown(part: dict[str, Any]) -> str:
    rows = [
        [f"{state}, {variant}", f"{seconds[0]:.1f}"]
        for state, variants in part["all"].items()
        for variant, seconds in variants.items()
    ]
    return "## Shutdown with 3,000 spans queued\n\n" + table(["receiver, by whom", "s"], rows)


SECTIONS = {
    "in_process": in_process,
    "routes": routes,
    "servers": servers,
    "throughput": throughput,
    "decorators": decorators,
    "tasks": tasks,
    "start_up": start_up,
    "generation": generation,
    "shutdown": shutdown,
}


def goals(found: dict[str, Any]) -> list[Goal]:
    """What was aimed at, and what came out."""
    result: list[Goal] = []
    for where, cells in found.get("in_process", {}).items():
        full = 2.4 if where == "fastapi" else 2.6
        result += [
            ("in process, ratio 1.0: added CPU, of the floor's", where, full, ratio(cells, "ours 1.0", "floor")),
            ("in process, ratio 0.1: added CPU, of the floor's", where, 1.9, ratio(cells, "ours 0.1", "floor")),
        ]
        if "ours, no speed-ups" in cells:
            gain = ratio(cells, "ours 1.0", "ours, no speed-ups")
            result.append(("in process: added CPU, of that without speed-ups", where, 0.99, gain))
    for where, cells in found.get("routes", {}).items():
        result.append(("500 routes: added CPU, of that with 10", where, 1.2, growth(cells, "ours 1.0")))
    for where, cells in found.get("servers", {}).items():
        full, sampled = (0.65, 0.3) if where == "fastapi" else (0.9, 0.5)
        others = [name for name in cells if name not in ("bare", "guide") and not name.startswith("ours")]
        nearest = min(others, key=partial(added, cells))
        p99 = median(cells["ours 1.0"]["p99"]) / median(cells["guide"]["p99"])
        result += [
            ("real server, ratio 1.0: added CPU, of the guide's", where, full, ratio(cells, "ours 1.0", "guide")),
            ("real server, ratio 0.1: added CPU, of the guide's", where, sampled, ratio(cells, "ours 0.1", "guide")),
            ("real server, ratio 1.0: p99, of the guide's", where, 1.0, p99),
            (f"real server: added CPU, of that of {nearest}", where, 1.0, ratio(cells, "ours 1.0", nearest)),
        ]
    for where, cells in found.get("throughput", {}).items():
        bare, ours = cells["bare"], cells["ours"]
        p99 = {name: median(figures["p99"]) for name, figures in cells.items()}
        result += [
            ("load: spans dropped", where, 0, ours["dropped"][0]),
            ("load: p99, of the guide's", where, 1.0, p99["ours"] / p99["guide"]),
            ("load: p99, of that with the SDK's defaults", where, 1.0, p99["ours"] / p99["ours, the SDK's defaults"]),
            ("load: MB above bare", where, 60, ours["memory"][0] - bare["memory"][0]),
        ]
    calls = [
        {way: median(values) for way, values in figures.items()}
        for figures in found.get("decorators", {}).get("all", {}).values()
    ]
    for way in ("traced", "traced, async", "paired", "paired, async") if calls else ():
        recorded, dropped, free = calls
        result += [
            ("sampled call, of start/end by hand", way, 1.08, recorded[f"{way}, of by hand"]),
            ("call that is not sampled, of the API's decorator", way, 0.15, dropped[f"{way}, of API"]),
            ("call without a provider, µs", way, 2.0, free[way]),
        ]
    if "tasks" in found:
        share = ratio(found["tasks"]["all"], "ours 1.0", "instrumentation")
        result.append(("tasks: added CPU, of that of Celery's instrumentation", "", 1.3, share))
    for where, cells in found.get("start_up", {}).items():
        limit = {"flask": 2.1, "fastapi": 1.5, "django": 1.8}[where]
        result.append(("start, of bare", where, limit, times(cells, "ours, http", "bare")))
    if "generation" in found:
        cells = found["generation"]["all"]
        *_, many, this = cells
        result.append(("generation, of as many files of one line", "", 1.3, times(cells, this, many)))
    if "shutdown" in found:
        result.append(("shutdown with a dead receiver, s", "", 6.0, found["shutdown"]["all"]["refused"]["ours"][0]))
    return result


def goals_table(found: list[Goal]) -> str:
    rows = [
        [what, FRAMEWORKS.get(where, where), f"{limit:g}", f"{value:.2f}", "yes" if value <= limit else "**no**"]
        for what, where, limit, value in found
    ]
    return "## Goals\n\n" + table(["", "", "at most", "measured", "reached"], rows)


def plot(found: dict[str, Any], part: str, path: Path) -> None:
    """Bars of the CPU that each variant adds, with the middle half of its rounds."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same file gives the same plot, to the byte.
    mpl.rcParams["svg.hashsalt"] = part
    figure, axes = plt.subplots(1, len(FRAMEWORKS), figsize=(11, 3.6), layout="constrained")
    for axis, (framework, name) in zip(axes, FRAMEWORKS.items(), strict=True):
        cells = found[part][framework]
        variants = [variant for variant in cells if variant != "bare"]
        height = [added(cells, variant) for variant in variants]
        quarters = [quantiles(differences(cells, variant)) for variant in variants]
        error = [[middle - low for low, middle, _ in quarters], [high - middle for _, middle, high in quarters]]
        colours = ["#1f77b4" if variant.startswith("ours") else "#b0b0b0" for variant in variants]
        axis.bar(variants, height, color=colours, yerr=error, ecolor="#606060", capsize=2)
        axis.set_title(name)
        axis.tick_params(axis="x", labelrotation=60)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("added CPU, µs per request")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
