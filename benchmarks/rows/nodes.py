"""Operators that other optimisers still find in protogen's ONNX files: onnxslim and onnxsim.

They are run where they are installed: in the Python that the environment variable PROTOGEN_OPTIMISERS names,
or in this one. A tool that is not installed has no rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from measuring import Row
from rows.forward import CORPUS, written

import protogen as pg
from protogen.onnx import load_model

NETS = ("DPN-92", "MobileNet-SSD", "SE-BN-Inception", "MobileNet v2")
# Exit code 3: the tool is not installed.
_COUNT = {
    "onnxslim": """
import sys
try:
    import onnxslim
except ImportError:
    sys.exit(3)
print(len(onnxslim.slim(sys.argv[1]).graph.node))
""",
    "onnxsim": """
import sys
try:
    import onnx, onnxsim
except ImportError:
    sys.exit(3)
print(len(onnxsim.simplify(onnx.load(sys.argv[1]))[0].graph.node))
""",
}
_NOT_INSTALLED = 3


def rows(folder: Path) -> list[Row]:
    """Return a row for each net and each optimiser that is installed."""
    if not CORPUS.is_dir():
        return []
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    return [row for name in NETS for row in _rows_of(name, folder)]


def _rows_of(name: str, folder: Path) -> Iterator[Row]:
    python = os.environ.get("PROTOGEN_OPTIMISERS", sys.executable)
    written(name, folder)
    path = folder / "net.onnx"
    ours = len(load_model(path).graph.node)
    for tool, script in _COUNT.items():
        done = subprocess.run([python, "-c", script, path], capture_output=True, text=True)
        if done.returncode == _NOT_INSTALLED:
            continue
        if done.returncode:
            raise SystemExit(f"{tool} fails on {name}:\n{done.stderr}")
        left = int(done.stdout.split()[-1])
        yield Row(f"operators of {name}", f"after {tool}", "nodes", ours, left, 1.0, "nodes")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(Path(scratch)):
            print(f"{row.work}: {row.value:.0f}, {row.floor} {row.base:.0f}", flush=True)
