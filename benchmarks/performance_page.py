"""The page docs/performance.md, written from the data of ``performance.py``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from measuring import Row

HEAD = """# Performance

One command measures this page: `python benchmarks/performance.py`. Every number is compared with a floor that
was measured in the same run, in turn with protogen, in fresh processes: a process that does only what the work
cannot avoid, such as `cp` of the same bytes. Times are medians, memory is the largest resident memory. A ratio
depends less on the machine than a time does; this run was on {processors} processors ({processor}) with Python
{python} and {libraries}.

`goal` is the largest ratio to the floor that a release may have, or the largest number where there is no floor.
"""

TITLES = {
    "conversion": "Conversion",
    "filling": "Initial weights",
    "forward": "Forward pass of emitted ONNX",
    "many": "Many small nets",
    "nodes": "What other optimisers find in emitted ONNX",
    "reading": "Files of many layers",
    "rewriting": "Proofs of a rewrite",
    "running": "Running and comparing",
    "starting": "Short commands",
}


def page(data: Mapping[str, Any]) -> str:
    """Return the page."""
    machine = data["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    lines = [HEAD.format(**{**machine, "libraries": libraries})]
    for name, plain in data["rows"].items():
        if plain:
            title = TITLES.get(name, name.capitalize())
            lines += [f"## {title}", "", *textwrap.wrap(data["notes"][name], 110), ""]
            lines += [*table([Row(**row) for row in plain]), ""]
    return "\n".join(lines).rstrip() + "\n"


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| work | quantity | protogen | floor | ratio | goal |"
    yield "|---|---|---:|---:|---:|---:|"
    for row in rows:
        floor = "" if row.base is None else f"{number(row.base, row.unit)} ({row.floor})"
        ratio = "" if row.base is None else f"{row.ratio:.2f}"
        goal = number(row.goal, row.unit) if row.base is None else f"{row.goal:g}"
        missed = "" if row.holds else " (not reached)"
        yield (
            f"| {row.work} | {row.quantity} | {number(row.value, row.unit)} | {floor} | {ratio} | "
            f"{goal}{missed} |"
        )


def number(value: float, unit: str) -> str:
    """Return a number with its unit; seconds below 1 as milliseconds."""
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.4g} {unit}".strip()
