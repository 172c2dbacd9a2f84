"""``protogen init`` on VGG16: 138 million random weights, streamed to a caffemodel.

The script prints the time without the start of Python, as a ratio to ``cp`` of the weights in the same
run (goal: below 10), and the peak memory (goal: below 300 MB).

    python benchmarks/init.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from convert import medians, vgg16


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net, weights, copy = folder / "vgg.prototxt", folder / "vgg.caffemodel", folder / "copy"
        net.write_text(vgg16())
        [(start, _)] = medians([(python, "-c", "pass")], [], 5)
        for filler in ("gaussian:0.01", "xavier"):
            init = (python, "-m", "protogen", "init", net, "-o", weights, "--set", f"*={filler}")
            [(took, peak)] = medians([init], [weights])
            [(floor, _)] = medians([(shutil.which("cp"), weights, copy)], [copy])
            print(
                f"{filler}: cp {floor * 1e3:.0f} ms; init {took * 1e3:.0f} ms, without the start "
                f"{(took - start) / floor:.2f} x cp (goal 10), peak {peak:.0f} MB (goal 300)"
            )


if __name__ == "__main__":
    main()
