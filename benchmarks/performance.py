"""Measures every goal of speed and memory, and writes docs/performance.md.

    python benchmarks/performance.py                     # all rows, about 20 minutes
    python benchmarks/performance.py running conversion  # the rows of two modules of benchmarks/rows
    python benchmarks/performance.py --only-page         # write the page again

The rows are printed one after the other. The exit code is 1 if a goal does not hold. The page is written
only from a run of all rows, whose numbers are in ``performance.json``. Rows that need what is not there
(real Caffe, OpenCV 4, the published nets) are printed as skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from measuring import Row

HERE = Path(__file__).parent
DATA = HERE / "performance.json"
PAGE = HERE.parent / "docs" / "performance.md"
LIBRARIES = ("onnxruntime", "onnx", "numpy", "protobuf", "click", "jax")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    modules = sorted(path.stem for path in (HERE / "rows").glob("[a-z]*.py"))
    parser.add_argument("modules", nargs="*", choices=[[], *modules], metavar="MODULE")
    parser.add_argument("--only-page", action="store_true")
    arguments = parser.parse_args()
    if arguments.only_page:
        from performance_page import page

        PAGE.write_text(page(json.loads(DATA.read_text())))
        return 0
    chosen = arguments.modules or modules
    measured = {name: _measured(name) for name in chosen}
    if not arguments.modules:
        from performance_page import page

        notes = {name: _note(name) for name in measured}
        data = {"machine": _machine(), "notes": notes, "rows": measured}
        DATA.write_text(json.dumps(data, indent=1) + "\n")
        PAGE.write_text(page(data))
    every = [Row(**row) for rows in measured.values() for row in rows]
    missed = [row for row in every if not row.holds]
    print(f"{len(every)} rows, {len(missed)} above their goals")
    return 1 if missed else 0


def _measured(name: str) -> list[dict[str, Any]]:
    """Print and return the rows of a module."""
    module = import_module(f"rows.{name}")
    begin = time.monotonic()
    print(f"{name}: {_note(name)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Row] = module.rows(Path(folder))
    for row in rows:
        print(f"  {line(row)}", flush=True)
    print(f"  {'skipped: what it needs is not there; ' if not rows else ''}"
          f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip
    return [row.plain() for row in rows]


def _note(name: str) -> str:
    """Return what a module measures, in one paragraph."""
    return " ".join((import_module(f"rows.{name}").__doc__ or "").split()).replace("``", "`")


def line(row: Row) -> str:
    """Return a row as text: work, quantity, ours, floor, ratio, goal."""
    sign = "" if row.holds else "   ABOVE THE GOAL"
    of_floor = "" if row.base is None else f" against {row.base:.3g} of {row.floor}"
    ratio = "" if row.base is None else f", ratio {row.ratio:.2f}"
    return f"{row.work}: {row.quantity} {row.value:.3g} {row.unit}{of_floor}{ratio}, goal {row.goal:g}{sign}"


def _machine() -> dict[str, Any]:
    """Return what the numbers depend on, besides protogen."""
    processor = next(
        (
            one.partition(":")[2].strip()
            for one in Path("/proc/cpuinfo").read_text().splitlines()
            if one.startswith("model name")
        )
        if Path("/proc/cpuinfo").exists()
        else iter(()),
        platform.processor(),
    )
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


if __name__ == "__main__":
    sys.exit(main())
