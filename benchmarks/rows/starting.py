"""Short commands, against a process that only imports what the command has imported at its end, and against
one that imports the libraries among it alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from caffe_nets import TINY
from measuring import ENVIRONMENT, PROTOGEN, PYTHON, Row, against, usages

RUNS = 21  # a short process varies more than a long one
_MODULES = """
import sys
sys.argv = ["protogen", *sys.argv[1:]]
from protogen.cli import main
try:
    main()
except SystemExit:
    names = [name for name in sys.modules if name.partition(".")[0] in ("protogen", "click", "jinja2")]
    print("imported:", ", ".join(names))
"""


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net = folder / "net.prototxt"
    net.write_text(TINY)
    commands = {
        "protogen --help": (("--help",), "click", 1.3),
        "protogen upsample --factor 2": (
            ("upsample", "--factor", "2"),
            "click, jinja2.sandbox",
            1.5,
        ),
        "protogen summary": (("summary", net), "click", 2.5),
    }
    result = []
    for name, (arguments, libraries, goal) in commands.items():
        ours, all_of_it, alone = usages(
            [
                (PROTOGEN, *arguments),
                (PYTHON, "-c", f"import {_imported(*map(str, arguments))}"),
                (PYTHON, "-c", f"import {libraries}"),
            ],
            runs=RUNS,
        )
        result += against(name, "the same imports", ours, all_of_it, {"CPU time": 1.15})
        result += against(name, f"import {libraries}", ours, alone, {"CPU time": goal})
    return result


def _imported(*arguments: str) -> str:
    """Return the names of the modules that a command imports, in their order."""
    done = subprocess.run(
        [PYTHON, "-c", _MODULES, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    return done.stdout.rpartition("imported: ")[2].strip()
