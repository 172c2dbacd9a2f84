"""Nets that were imported from ONNX, compared with the source models: size and time.

Every net of ``benchmarks/nets`` and every ONNX file given is imported without a target (layers of BVLC
Caffe). The script prints a row for each:

- operators of the source, without those whose result is a constant; Caffe layers and tops, without
  Input and Parameter;
- multiply-adds of the net as a ratio to the source. Of the source count Conv, ConvTranspose, Gemm,
  MatMul, Einsum, LSTM, GRU and RNN, and one for each value of BatchNormalization and of a Mul without a
  single number. Of the net count what ``protogen summary`` counts (products of data with parameters),
  and one for each product of an Eltwise, because products of matrices are written with them;
- memory of all blobs as a ratio to that of the values of the source. Inputs are counted, constants are
  not. Views are not counted: in the source the outputs of Reshape, Flatten, Squeeze, Unsqueeze, Identity
  and Dropout, in the net the tops of layers that share the memory of their bottom. An activation is in
  place in both by one rule: it reads one computed value (and constants) and changes each number alone,
  nothing else reads this value, and it is not an input, an output or a view;
- time in onnxruntime of protogen's own export of the net (as ``pg.run`` runs it), as a ratio to the
  source; and time in OpenCV 4 of the net as a prototxt and a caffemodel, as a ratio to OpenCV's own
  reader of ONNX. A dash is a net that OpenCV refuses, or computes wrongly, in one of the two forms.

Times are those of one thread on the CPU (``time.thread_time``: other processes do not count). Runs of the
two alternate; the ratio is the median of the ratios of neighbouring runs.

OpenCV is found as ``protogen try`` finds it (docs/try.md); without it, its column is left out.

    python benchmarks/imported.py [FILE_OR_FOLDER ...] [--nets "yolo*"] [--no-times] [--details]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import subprocess
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from pairs import ROUNDS, median_ratio
from sizes import Parts, Size, groups, net_size, source_size, total

import protogen as pg
from protogen.converting.onnx_to_caffe import convert_onnx
from protogen.errors import InputError, ProtogenError
from protogen.onnx import lower, to_model
from protogen.onnx.importer.source import read_source
from protogen.running.drawing import random_inputs
from protogen.running.matching import compare
from protogen.running.trying import find
from protogen.running.words import telling

Arrays = dict[str, NDArray[Any]]

NETS = Path(__file__).parent / "nets"
PAIRS = Path(__file__).parent / "pairs.py"
COLUMNS = ("operators", "layers", "tops", "products", "memory", "time", "OpenCV")
RATIOS = COLUMNS[3:]
# What is limited, the column, the largest value, and the nets: a pattern, or "convolutional".
GOALS = (
    ("multiply-adds", "products", 1.05, "*"),
    ("memory of convolutional nets", "memory", 1.5, "convolutional"),
    ("time in onnxruntime", "time", 1.3, "*"),
    ("layers of shufflenet_v2", "layers", 190, "shufflenet_v2*"),
    ("time of shufflenet_v2", "time", 1.5, "shufflenet_v2*"),
)
WORDS = (r"error: \(-\d+:[^)]*\) (.*)",)  # the most telling lines of OpenCV
TOLERANCE = 1e-3  # of the largest value; a wrong net has no time
FORMS = {"onnx": "source", "caffe": "net"}
SECONDS = 1.0  # of each of the two in a measurement
CAUSES = 4  # most that are named
LONGEST = 300  # seconds in OpenCV


@dataclass
class Row:
    """A net: sizes of the source and of the net, the ratios of their times, microseconds by operator
    type (of nets that are too slow), and notes for --details."""

    name: str
    source: Size
    net: Size
    time: float | None = None
    opencv: float | None = None
    profiles: tuple[Parts, Parts] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def convolutional(self) -> bool:
        """Whether convolutions do most of the work of the source."""
        return 2 * self.source.convolutions > total(self.source.products)

    def value(self, column: str) -> float | None:
        """Return the value of a column of the table."""
        sizes = {"operators": self.source.nodes, "layers": self.net.nodes, "tops": self.net.values}
        if column in sizes:
            return sizes[column]
        if column in ("time", "OpenCV"):
            return self.time if column == "time" else self.opencv
        old, new = self.parts(column)
        return total(new) / total(old) if total(old) else None

    def parts(self, column: str) -> tuple[Parts, Parts]:
        """Return the parts of a column in the source and in the net."""
        if column == "time":
            assert self.profiles is not None
            return self.profiles
        old: Parts = getattr(self.source, column)
        new: Parts = getattr(self.net, column)
        return old, new

    def causes(self, column: str) -> str:
        """Return the operators that cost more in the net, as shares of the whole source, with the
        layer types that they became."""
        old, new = self.parts(column)
        whole = total(old)
        more = {
            one: (sum(new[one].values()) - sum(old.get(one, {}).values())) / whole for one in new
        }
        texts = []
        for one in sorted(more, key=lambda one: -more[one])[:CAUSES]:
            if more[one] < 0.005:
                continue
            types = [
                f"{kind} {n / whole:.2f}" for kind, n in new[one].most_common(3) if kind != one
            ]
            texts.append(f"{one} +{more[one]:.2f}" + (f" ({', '.join(types)})" if types else ""))
        return ", ".join(texts)


def opencv_python() -> Path | None:
    """Return the Python of OpenCV 4; print a sentence if there is none."""
    try:
        return find(NETS / "net.prototxt", ["opencv4"], {})[0].python
    except InputError as error:
        print(f"OpenCV is left out: {error}")
        return None


class Case:
    """A model, its import, and random inputs of both.

    Raises:
        ProtogenError: protogen refuses the model, or does not know the shape of a value.
    """

    def __init__(self, path: Path, folder: Path, seed: int) -> None:
        self.path, self.folder = path, folder
        self.pair = folder / "net.prototxt", folder / "net.caffemodel"
        self.source = source = read_source(path)
        names = {name for one in source.operators for name in (*one.inputs, *one.outputs) if name}
        if unknown := sorted(names - source.shapes.keys()):
            raise ProtogenError("unknown shape", where=str(path), subject=f'value "{unknown[0]}"')
        self.imported = convert_onnx(path, *self.pair).imported
        self.net = self.imported.net
        kinds = {name: kind.lower() for name, kind in source.kinds.items()}
        self.feeds = random_inputs(source.inputs, seed, kinds=kinds)
        blobs = self.imported.blobs
        self.outputs = [blobs.get(name, name) for name in source.outputs]
        arrays = {blobs.get(name, name): array for name, array in self.feeds.items()}
        self.net_feeds = {
            name: np.asarray(arrays[name], np.float32).reshape(self.net.shapes[name] or ())
            for name in self.net.inputs
        }
        self.expected: Arrays = {}

    def sizes(self) -> tuple[Size, Size]:
        """Return the sizes of the source and of the net."""
        group = groups(self.source, self.imported.source.operators)
        return source_size(self.source, group), net_size(self.imported)

    def models(self) -> tuple[tuple[bytes, Arrays], tuple[bytes, Arrays]]:
        """Return the export of the net and the source, each with its inputs. A free batch axis has
        length 1 in both."""
        model = onnx.load(str(self.path))
        for value in model.graph.input:
            lengths = self.source.inputs.get(value.name, ())
            for axis, length in zip(value.type.tensor_type.shape.dim, lengths, strict=False):
                axis.dim_value = length
        exported = to_model(lower(self.net, outputs=self.net.graph.last(self.outputs)))
        needed = {one.name for one in exported.graph.input}
        feeds = {name: array for name, array in self.net_feeds.items() if name in needed}
        return (exported.SerializeToString(), feeds), (model.SerializeToString(), self.feeds)

    def problem(self, outputs: Arrays | Sequence[NDArray[Any]]) -> str:
        """Return how outputs differ from those of the source in onnxruntime; empty if they do not. Their
        names are those of the source's values or of the net's layers."""
        if isinstance(outputs, dict):
            blobs = self.imported.blobs
            outputs = {blobs.get(name, name): array for name, array in outputs.items()}
        rows = compare(self.expected, outputs, self.net.graph, TOLERANCE)
        return "; ".join(f'"{one.blob}" {one.problem}' for one in rows if one.problem)

    def time(self, row: Row, seconds: float) -> None:
        """Measure the time in onnxruntime."""
        runs = [partial(opened(model).run, None, feeds) for model, feeds in self.models()]
        outputs, expected = runs[0](), runs[1]()
        self.expected = dict(zip(self.outputs, expected, strict=True))
        if problem := self.problem(outputs):
            row.notes.append(f"onnxruntime: the net is wrong: {problem}")
            return
        row.time, spread = median_ratio(runs[0], runs[1], seconds)
        row.notes.append(f"onnxruntime: half of the ratios are within {spread:.2f} of the median")
        if any(row.time > limit for _, _, limit, _ in goals_of(row, "time")):
            new, old = (self.profile(model, feeds) for model, feeds in self.models())
            row.profiles = old, new

    def profile(self, model: bytes, feeds: Arrays) -> Parts:
        """Return the microseconds of each type of operator in onnxruntime."""
        session = opened(model, str(self.folder / "profile"))
        for _ in range(ROUNDS):
            session.run(None, feeds)
        times: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in json.loads(Path(session.end_profiling()).read_text()):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times[event["args"]["op_name"], event["name"]].append(event["dur"])
        parts: Parts = defaultdict(Counter)
        for (kind, _), took in times.items():
            parts[kind][kind] += round(statistics.median(took) * len(took) / ROUNDS)
        return parts

    def time_opencv(self, row: Row, python: Path, seconds: float) -> None:
        """Measure the time in OpenCV."""
        arrays, outputs = self.folder / "in.npz", self.folder / "out.npz"
        named: dict[str, Any] = {f"onnx:{name}": array for name, array in self.feeds.items()}
        named |= {f"caffe:{name}": array for name, array in self.net_feeds.items()}
        np.savez(arrays, **named)
        command = [str(python), str(PAIRS), str(self.path), *map(str, self.pair)]
        command += [str(arrays), str(outputs), str(seconds)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            row.notes.append(f"OpenCV does not end in {LONGEST} s")
            return
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            row.notes.append(f"OpenCV has crashed ({done.returncode}) {last}")
            return
        answer = json.loads(lines[-1])
        if form := answer.get("refused"):
            words = telling(answer["words"], done.stderr, WORDS)
            row.notes.append(f"OpenCV refuses the {FORMS[form]}: {words}")
            return
        with np.load(outputs) as archive:
            for form, title in FORMS.items():
                computed = {
                    name.partition(":")[2]: archive[name]
                    for name in archive.files
                    if name.startswith(form)
                }
                if problem := self.problem(computed):
                    row.notes.append(f"OpenCV: the {title} is wrong: {problem}")
                    return
        row.opencv, spread = answer["ratio"]
        row.notes.append(f"OpenCV: half of the ratios are within {spread:.2f} of the median")


def opened(model: bytes, profile: str = "") -> onnxruntime.InferenceSession:
    """Load a model for one thread; ``profile`` is the start of the name of a profile to write."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def goals_of(row: Row, column: str = "") -> Iterator[tuple[str, str, float, str]]:
    """Yield the goals of a net."""
    for goal in GOALS:
        _, limited, _, pattern = goal
        fits = (
            row.convolutional if pattern == "convolutional" else fnmatch.fnmatch(row.name, pattern)
        )
        if fits and column in ("", limited):
            yield goal


def cells(values: Sequence[float | None]) -> str:
    """Return the values of a row of the table."""
    texts = [
        "-" if one is None else f"{one:.2f}" if isinstance(one, float) else f"{one}"
        for one in values
    ]
    return "".join(f"{text:>11}" for text in texts)


def print_goals(rows: Sequence[Row]) -> None:
    """Print the medians, the goals, and the nets that miss them."""
    for title, function in (("MEDIAN", statistics.median), ("LARGEST", max)):
        known = [[v for row in rows if (v := row.value(one)) is not None] for one in COLUMNS]
        print(f"{title:22}{cells([float(function(one)) if one else None for one in known])}")
    for goal in GOALS:
        title, column, limit, _ = goal
        values = {
            row.name: (row, value)
            for row in rows
            if goal in goals_of(row) and (value := row.value(column)) is not None
        }
        missed = {name: pair for name, pair in values.items() if pair[1] > limit}
        print(f"\n{title}: at most {limit}: {len(values) - len(missed)} of {len(values)} nets")
        for name, (row, value) in missed.items():
            causes = row.causes(column) if column != "layers" else ""
            print(f"  {name:22} {value:.3f}  {causes}")


def measure(path: Path, chosen: argparse.Namespace, python: Path | None) -> Row | None:
    """Return the row of a model; print why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            case = Case(path, Path(folder), chosen.seed)
        except ProtogenError as error:
            print(f"{path.stem:22} not imported: {error}", flush=True)
            return None
        row = Row(path.stem, *case.sizes())
        if not chosen.no_times:
            case.time(row, chosen.seconds)
        if python and case.expected:
            case.time_opencv(row, python, chosen.seconds)
    return row


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE_OR_FOLDER", help="ONNX files")
    parser.add_argument("--nets", default="*", metavar="PATTERN", help="names of the nets")
    parser.add_argument("--no-times", action="store_true", help="only sizes")
    parser.add_argument("--no-opencv", action="store_true", help="no times in OpenCV")
    parser.add_argument("--details", action="store_true", help="print the spread, and why no time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a measurement")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    python = None if chosen.no_times or chosen.no_opencv else opencv_python()
    print(f"{'':22}" + "".join(f"{one:>11}" for one in COLUMNS))
    rows = []
    for path in (NETS, *chosen.paths):
        for one in sorted(path.glob("*.onnx")) if path.is_dir() else [path]:
            row = measure(one, chosen, python) if fnmatch.fnmatch(one.stem, chosen.nets) else None
            if row is not None:
                rows.append(row)
                print(
                    f"{row.name:22}{cells([row.value(column) for column in COLUMNS])}", flush=True
                )
                for note in row.notes if chosen.details else ():
                    print(f"    {note}", flush=True)
    if not rows:
        raise SystemExit("no net was imported")
    print_goals(rows)


if __name__ == "__main__":
    main()
