"""Time of starting protogen, and time per layer of a specification.

The start is compared with a process that imports the required libraries:
``python -c "import click, jinja2, google.protobuf"``. Goal: ratio at most 1.5.
The time per layer of a specification with 10,000 layers is compared with that of 100 layers. Goal: ratio
at most 1.

    python benchmarks/startup.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from protogen.generate.specification import UpsampleSpec
from protogen.generate.upsampling import Upsampling

RUNS = 21
# An installed package has bytecode files, even if this shell disables them.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def best(command: list[str]) -> float:
    """Return the seconds of the fastest run."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        times.append(time.perf_counter() - start)
    return min(times)


def per_layer(count: int) -> float:
    """Return the seconds per layer to check, render and parse ``count`` layers."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        specs = [
            UpsampleSpec((2, 2), name=f"up{i}", bottom=f"x{i}", top=f"up{i}") for i in range(count)
        ]
        assert Upsampling(specs).prototxt.count("Deconvolution") == count
        times.append(time.perf_counter() - start)
    return min(times) / count


def main() -> None:
    floor = best([sys.executable, "-c", "import click, jinja2, google.protobuf"])
    script = shutil.which("protogen", path=str(Path(sys.executable).parent))
    assert script is not None, "install protogen into this environment first"
    ours = best([script, "upsample", "--factor", "2"])
    print(f"floor, imports alone        {floor * 1e3:7.1f} ms")
    print(f"protogen upsample --factor 2{ours * 1e3:7.1f} ms   ratio {ours / floor:.2f} (goal 1.5)")
    few, many = per_layer(100), per_layer(10_000)
    print(f"per layer, 100 layers       {few * 1e6:7.1f} us")
    print(f"per layer, 10,000 layers    {many * 1e6:7.1f} us   ratio {many / few:.2f} (goal 1)")


if __name__ == "__main__":
    main()
