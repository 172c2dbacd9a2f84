"""Measures how the time of every command grows with the number of layers.

Each command runs on nets of six kinds, with 1,000 and 10,000 layers, which takes 10 to 20 minutes. The table
has the CPU time for each layer, without that of a net of 10 layers, and how much it grows from one size to
the next: 1.0 is linear, 10 is quadratic. The goal is 1.5.

    python benchmarks/scaling.py [--only convert --only check] [--net chain] [--sizes 1000,10000,100000]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import measuring

GOAL = 1.5
SMALL = 10
SIZES = (1_000, 10_000)
LEAST = 0.1  # seconds: below, the difference to the small net is noise
RUNS = 3  # of commands that take less than LONG; the fastest counts
LONG = 1.5  # seconds
LIMIT = 150  # seconds of CPU time of one command

SHAPE = (1, 2, 2, 2)
# Units of variance stay as they are, so that 100,000 layers neither overflow nor vanish.
CONVOLUTION = """  convolution_param {
    num_output: 2
    kernel_size: 1
    weight_filler { type: "orthogonal" }
  }
"""


def layer(name: str, type_: str, bottoms: Sequence[str], top: str, parameters: str = "") -> str:
    """Return the text of a layer with one top."""
    wires = "".join(f'  bottom: "{bottom}"\n' for bottom in bottoms)
    return f'layer {{\n  name: "{name}"\n  type: "{type_}"\n{wires}  top: "{top}"\n{parameters}}}\n'


def chain(count: int) -> Iterator[str]:
    """Convolution, BatchNorm, Scale and ReLU, one after the other, in place where Caffe can."""
    top = "data"
    for i in range(0, count, 4):
        yield layer(f"conv{i}", "Convolution", [top], f"conv{i}", CONVOLUTION)
        top = f"conv{i}"
        yield layer(f"bn{i}", "BatchNorm", [top], top)
        yield layer(f"scale{i}", "Scale", [top], top, "  scale_param { bias_term: true }\n")
        yield layer(f"act{i}", "TanH", [top], top)


def wide(count: int) -> Iterator[str]:
    """One Concat that reads all other layers."""
    names = [f"x{i}" for i in range(count - 2)]
    yield layer("conv", "Convolution", ["data"], "conv", CONVOLUTION)
    for i, name in enumerate(names):
        yield layer(name, "Power", ["conv"], name, f"  power_param {{ scale: {1 + i / 10} }}\n")
    yield layer("all", "Concat", names, "all")


def heads(count: int) -> Iterator[str]:
    """Layers that read one blob, each of them an output of the net."""
    yield layer("conv", "Convolution", ["data"], "conv", CONVOLUTION)
    for i in range(count - 1):
        yield layer(f"x{i}", "Power", ["conv"], f"x{i}", "  power_param { scale: 2 }\n")


def residual(count: int) -> Iterator[str]:
    """Sums of a branch and what it reads, on top of each other."""
    top = "data"
    for i in range(0, count, 3):
        yield layer(f"conv{i}", "Convolution", [top], f"conv{i}", CONVOLUTION)
        yield layer(f"act{i}", "ReLU", [f"conv{i}"], f"conv{i}")
        half = "  eltwise_param {\n    coeff: 0.5\n    coeff: 0.5\n  }\n"
        yield layer(f"sum{i}", "Eltwise", [top, f"conv{i}"], f"sum{i}", half)
        top = f"sum{i}"


def dense(count: int) -> Iterator[str]:
    """Dense blocks: each Convolution reads all before it in its block of 8."""
    top = "data"
    for i in range(0, count, 18):
        tops = [top]
        for k in range(8):
            name = f"conv{i}_{k}"
            yield layer(name, "Convolution", [top], name, CONVOLUTION)
            tops.append(name)
            top = f"cat{i}_{k}"
            yield layer(top, "Concat", tops, top)
        yield layer(f"down{i}", "Convolution", [top], f"down{i}", CONVOLUTION)
        yield layer(f"act{i}", "TanH", [f"down{i}"], f"act{i}")
        top = f"act{i}"


def forks(count: int) -> Iterator[str]:
    """Layers of forks: ``rewrite`` replaces each of them."""
    top = "data"
    for i in range(0, count, 2):
        yield layer(f"conv{i}", "Convolution", [top], f"conv{i}", CONVOLUTION)
        yield layer(f"act{i}", "HardSwish", [f"conv{i}"], f"conv{i}")
        top = f"conv{i}"


NETS: dict[str, Callable[[int], Iterator[str]]] = {
    "chain": chain,
    "wide": wide,
    "heads": heads,
    "residual": residual,
    "dense": dense,
    "forks": forks,
}

# In this order: init writes the weights that the others read, convert the model.
COMMANDS: dict[str, str] = {
    "init": "init {net} -o {weights} --fill",
    "convert": "convert {net} {weights} -o {model}",
    "onnxruntime alone": "{model}",
    "convert back": "convert {model} -o {out}.prototxt --caffemodel {out}.caffemodel",
    "convert --dry-run": "convert {net} {weights} --dry-run",
    "convert --target": "convert {model} -o {out}.prototxt --target rknn2",
    "check": "check {net}",
    "fmt": "fmt --check {net}",
    "summary": "summary {net}",
    "weights": "weights {weights}",
    "diff": "diff {net} {net}",
    "upgrade": "upgrade {net} -o {out}.prototxt",
    "dialects": "dialects {net}",
    "draw": "draw {net} -o {out}.svg",
    "draw --no-fold": "draw {net} --no-fold -o {out}.svg",
    "report": "report {net} {weights} -o {out}.html",
    "cut": "cut {net} {weights} --to-blob {middle} -o {out}.prototxt --caffemodel {out}.caffemodel",
    "cut a model": "cut {model} --to-blob {middle} -o {out}.onnx",
    "rewrite": "rewrite {net} {weights} -o {out}.prototxt --caffemodel {out}.caffemodel",
    "rewrite --target": "rewrite {net} {weights} --target rknn2 -o {out}.prototxt",
    "preprocess": "preprocess {net} {weights} --mean 1,2 -o {out}.prototxt --caffemodel {out}.caffemodel",
    "upsample": "upsample --factor 2 --into {net} --after {middle} -o {out}.prototxt",
    "run": "run {net} {weights} --input data={array}",
    "verify": "verify {net} {weights} {model}",
    "rescue": "rescue {net} {weights} -o {out}",
    "health": "health {net}",
}
# XLA compiles the gradient of a whole net at once. Its time grows faster than the net, and 1,000 layers take
# most of a minute.
ASKED = ("health",)
# onnxruntime's own optimiser grows faster than the net where a net has many branches. Commands that run the
# net cannot grow less, so they are compared with it.
ALONE = "onnxruntime alone"
_ALONE = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {one.name: np.ones(one.shape, np.float32) for one in session.get_inputs()})
"""
ALWAYS = ("init", "convert", ALONE)  # the others read their files
RUNNING = ("run", "verify", "rescue", "rewrite --target", "convert --target")


@dataclass(frozen=True)
class Growth:
    """The time of one command on nets of one kind.

    Attributes:
        seconds: CPU time at each number of layers; None where the command was stopped.
        problem: the last line of what a command wrote that failed.
        goal: the largest growth.
    """

    command: str
    net: str
    seconds: dict[int, float | None]
    problem: str = ""
    goal: float = GOAL

    def of_layer(self, count: int) -> float | None:
        """Seconds for each layer, without those of the small net."""
        taken, start = self.seconds.get(count), self.seconds.get(SMALL)
        return None if taken is None or start is None else max(0.0, taken - start) / count

    @property
    def ratio(self) -> float | None:
        """How much the time of a layer grows from the first to the last size."""
        sizes = sorted(set(self.seconds) - {SMALL})
        first, last = self.of_layer(sizes[0]), self.of_layer(sizes[-1])
        if first is None or last is None or last * sizes[-1] < LEAST:
            return None
        return last / max(first, LEAST / sizes[0])

    @property
    def holds(self) -> bool:
        complete = None not in self.seconds.values() and not self.problem
        return complete and (self.ratio is None or self.ratio <= self.goal)


class Bench:
    """The files of one net, and the commands that run on them."""

    def __init__(self, folder: Path, kind: str, count: int) -> None:
        self._paths = {
            "net": folder / f"{kind}{count}.prototxt",
            "weights": folder / f"{kind}{count}.caffemodel",
            "model": folder / f"{kind}{count}.onnx",
            "array": folder / "data.npy",
            "out": folder / "out",
        }
        layers = list(NETS[kind](count - 1))[: count - 1]  # and an input
        sizes = "".join(f"      dim: {size}\n" for size in SHAPE)
        shape = f"  input_param {{\n    shape {{\n{sizes}    }}\n  }}\n"
        text = f'name: "{kind}"\n' + layer("data", "Input", [], "data", shape) + "".join(layers)
        self._paths["net"].write_text(text)
        self._middle = layers[len(layers) // 2].split('top: "')[1].partition('"')[0]

    def run(self, command: str, limit: int) -> tuple[float | None, str]:
        """Return the CPU time of a command, and why it failed; None where it was stopped."""
        paths = {name: str(path) for name, path in self._paths.items()}
        words = COMMANDS[command].format(middle=self._middle, **paths).split()
        for name in ("weights", "model"):
            needed = str(self._paths[name]) in words[1:] and words[-1] != str(self._paths[name])
            if needed and command != "init" and not self._paths[name].exists():
                return None, f"there is no {self._paths[name].name}"

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))

        with tempfile.TemporaryFile("w+") as messages:
            alone = [measuring.PYTHON, "-c", _ALONE]
            process = subprocess.Popen(
                [*(alone if command == ALONE else [measuring.PROTOGEN]), *words],
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=measuring.ENVIRONMENT,
                preexec_fn=limited,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            messages.seek(0)
            lines = messages.read().strip().splitlines() or [""]
        if process.returncode < 0:
            return None, f"stopped after {limit} s"
        refused = process.returncode not in (0, 1) or any("Traceback" in line for line in lines)
        return used.ru_utime + used.ru_stime, lines[-1][:200] if refused else ""


def measure(
    nets: Sequence[str], commands: Sequence[str], sizes: Sequence[int], limit: int
) -> Iterator[Growth]:
    """Run every command on every net, one net after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import numpy as np

        np.save(folder / "data.npy", np.random.default_rng(0).standard_normal(SHAPE, np.float32))
        starts: dict[str, float] = {}
        for kind in nets:
            inherent = GOAL
            benches = {count: Bench(folder, kind, count) for count in (SMALL, *sizes)}
            for command in COMMANDS:
                if command not in (*commands, *ALWAYS):
                    continue
                seconds: dict[int, float | None] = {}
                problems: list[str] = []
                for count, bench in benches.items():
                    for _ in range(RUNS):
                        taken, problem = bench.run(command, limit)
                        known = seconds.get(count)
                        seconds[count] = taken if known is None else min(known, taken or known)
                        if taken is None or taken > LONG or problem:
                            break
                    problems += [problem] if problem else []
                goal = inherent if command in RUNNING else math.inf if command == ALONE else GOAL
                small, first = seconds[SMALL], seconds[sizes[0]]
                if small is not None:
                    starts[command] = min(small, starts.get(command, small))
                    if first is not None and first < small:  # few boxes are drawn in another way
                        seconds[SMALL] = starts[command]
                row = Growth(command, kind, seconds, problems[-1] if problems else "", goal)
                if command == ALONE:
                    inherent = max(GOAL, row.ratio or GOAL)
                yield row


def line(row: Growth, sizes: Sequence[int]) -> str:
    """One line of the table."""
    cells = []
    for count in (SMALL, *sizes):
        taken, each = row.seconds[count], row.of_layer(count)
        total = "   -    " if taken is None else f"{taken:6.2f} s"
        rate = "" if count == SMALL else f"{'-' if each is None else f'{each * 1e6:.0f}':>7} us"
        cells.append(f"{total}{rate}")
    ratio = f"{row.ratio:5.2f}" if row.ratio is not None else "    -"
    state = "" if row.holds else "  OVER"
    return (
        f"{row.net:9} {row.command:18} {'  '.join(cells)}  x{ratio}{state}  {row.problem}".rstrip()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--net", action="append", choices=list(NETS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of layers")
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds of one command")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    begin, rows = time.perf_counter(), []
    for row in measure(
        options.net or list(NETS),
        options.only or [name for name in COMMANDS if name not in ASKED],
        sizes,
        options.limit,
    ):
        rows.append(row)
        print(line(row, sizes), flush=True)
    over = [row for row in rows if not row.holds]
    print(f"{len(rows)} rows in {time.perf_counter() - begin:.0f} s, {len(over)} over {GOAL}")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
