"""Short commands, against a process that only imports the libraries that the command needs."""

from __future__ import annotations

from pathlib import Path

from caffe_nets import TINY
from measuring import PROTOGEN, PYTHON, Row, against, usages

RUNS = 21  # a short process varies more than a long one


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net = folder / "net.prototxt"
    net.write_text(TINY)
    commands = {
        "protogen --help": (("--help",), "click"),
        "protogen upsample --factor 2": (("upsample", "--factor", "2"), "click, jinja2.sandbox"),
        "protogen summary": (("summary", net), "click"),
    }
    result = []
    for name, (arguments, libraries) in commands.items():
        ours, floor = usages(
            [(PROTOGEN, *arguments), (PYTHON, "-c", f"import {libraries}")], runs=RUNS
        )
        result += against(name, f"import {libraries}", ours, floor, {"CPU time": 1.15})
    return result
