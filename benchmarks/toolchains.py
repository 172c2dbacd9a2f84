"""Small ONNX nets in toolchains: converted without a target, and for the toolchain (``--target``).

Every net of ``benchmarks/nets`` is converted to Caffe in both forms and run in each toolchain on random
inputs. Its outputs are compared with those of the ONNX model in onnxruntime. The script prints for each
form:

- a word for each net and toolchain: right, wrong (an output is missing, has another shape, or differs by
  more than the tolerance of the toolchain), refused, crashed, hung, or "not written" if protogen refuses
  the net itself;
- how many nets have each result;
- layers, multiply-adds and memory of all blobs of the net for the target, as ratios to the net without one.

Toolchains are found as ``protogen try`` finds them (docs/try.md); one that is not installed is left out.

    python benchmarks/toolchains.py [--with mnn,opencv4] [--nets "yolo*"] [--only-plain] [--details]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import protogen as pg
from protogen.converting.onnx_to_caffe import convert_onnx
from protogen.errors import InputError, ProtogenError
from protogen.layers import kind_of
from protogen.net.cost import costs
from protogen.net.net import Net, load
from protogen.onnx.session import run_model
from protogen.running.drawing import random_inputs
from protogen.running.matching import compare, long_axes
from protogen.running.toolchain import Answer, StartError, Worker
from protogen.running.trying import Place, find
from protogen.running.words import telling

Arrays = dict[str, NDArray[Any]]

NETS = Path(__file__).parent / "nets"
TOOLS = "caffe-1.0,mnn,mindspore-lite,opencv4,tpu-mlir,rknn2"
FORMS = ("plain", "target")
TITLES = {"plain": "without a target", "target": "with --target"}
WORDS = ("right", "wrong", "refused", "crashed", "hung", "not written")
LABELS = 0.99  # share of integer outputs that must be equal: the largest value may be nearly a tie
SECONDS = 60


@dataclass(frozen=True)
class Size:
    """What a net costs: layers without inputs, multiply-adds, and bytes of all blobs."""

    layers: int
    multiply_adds: int
    memory: int


@dataclass(frozen=True)
class Source:
    """An ONNX net, random inputs, and the outputs of onnxruntime."""

    name: str
    path: Path
    feeds: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Written:
    """A net that protogen has written; ``blobs`` are its names of the model's inputs and outputs."""

    prototxt: Path
    caffemodel: Path | None
    net: Net
    blobs: Mapping[str, str]
    size: Size


@dataclass(frozen=True)
class Result:
    """What a toolchain did with a net in one form. ``error`` is relative to the output's largest
    magnitude; ``size`` is None if the net is not written."""

    net: str
    toolchain: str
    form: str
    word: str
    detail: str = ""
    error: float | None = None
    seconds: float = 0.0
    size: Size | None = None


def sources(pattern: str, seed: int) -> Iterator[Source]:
    """Yield the nets whose names match a pattern."""
    for path in sorted(NETS.glob("*.onnx")):
        if fnmatch.fnmatch(path.stem, pattern):
            inputs = onnx.load(path).graph.input
            shapes = {
                one.name: tuple(axis.dim_value for axis in one.type.tensor_type.shape.dim)
                for one in inputs
            }
            feeds = random_inputs(shapes, seed)
            yield Source(path.stem, path, feeds, run_model(str(path), feeds))


def size_of(net: Net) -> Size:
    """Return what a net costs. Tops that share memory with a bottom need none."""
    layers = multiply_adds = values = 0
    for row in costs(net.graph):
        kind = kind_of(row.layer)
        layers += bool(row.layer.bottoms)
        multiply_adds += row.multiply_adds or 0
        if kind is None or not row.layer.bottoms or not kind.is_view(row.layer):
            values += row.activations or 0
    return Size(layers, multiply_adds, 4 * values)


def write(source: Source, folder: Path, target: str | None) -> Written:
    """Convert a net, for a target if it has a name.

    Raises:
        ProtogenError: protogen refuses the net.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prototxt, caffemodel = folder / f"{source.name}.prototxt", folder / f"{source.name}.caffemodel"
    options: dict[str, Any] = {} if target is None else {"target": target}
    converted = convert_onnx(source.path, prototxt, caffemodel, **options)
    net = load(prototxt)
    return Written(
        prototxt, converted.caffemodel, net, converted.imported.names()["values"], size_of(net)
    )


def run_net(source: Source, written: Written, place: Place, worker: Worker, form: str) -> Result:
    """Run a net in a toolchain, and compare its outputs with those of the model."""
    shapes = written.net.graph.shapes
    names = written.blobs
    feeds = {names.get(name, name): array for name, array in source.feeds.items()}
    feeds = {name: feeds[name].reshape(shapes[name] or ()) for name in written.net.inputs}
    answer = worker.run(written.prototxt, written.caffemodel, feeds)
    result = Result(
        source.name, place.data.name, form, answer.state, "", None, answer.seconds, written.size
    )
    if answer.state != "ran":
        patterns = [str(pattern) for pattern in worker.about.get("words") or ()]
        words = telling(answer.message, answer.log, patterns)
        return replace(result, detail=words)
    expected = {names.get(name, name): array for name, array in source.outputs.items()}
    # A toolchain without names gives the outputs in the order of the net.
    expected = {name: expected[name] for name in written.net.outputs if name in expected} | expected
    rows = compare(expected, answer.outputs, written.net.graph, place.data.tolerance)
    wrong = [row for row in rows if row.problem and not same_labels(expected[row.blob], answer)]
    error = max((row.error for row in rows if row.error is not None), default=None)
    detail = f'"{wrong[0].blob}" {wrong[0].problem}' if wrong else ""
    word = "wrong" if wrong else "right"
    return replace(result, word=word, detail=detail, error=error)


def same_labels(expected: NDArray[Any], answer: Answer) -> bool:
    """Return whether an output of integers is among the arrays of an answer, with few exceptions."""
    if not np.issubdtype(expected.dtype, np.integer):
        return False
    outputs = answer.outputs
    arrays = outputs.values() if isinstance(outputs, dict) else outputs
    return any(
        np.mean(array.reshape(expected.shape) == expected) >= LABELS
        for array in arrays
        if long_axes(array) == long_axes(expected)
    )


def run_tool(
    place: Place,
    worker: Worker,
    nets: list[Source],
    plain: Mapping[str, Written | str],
    forms: list[str],
    work: Path,
) -> Iterator[Result]:
    """Run nets in one toolchain. ``plain`` has the nets without a target, or why protogen refuses
    them."""
    name = place.data.name
    for source in nets:
        for form in forms:
            written = plain[source.name] if form == "plain" else attempt(source, work / name, name)
            if isinstance(written, str):
                yield Result(source.name, name, form, "not written", written)
            else:
                yield run_net(source, written, place, worker, form)


def attempt(source: Source, folder: Path, target: str | None) -> Written | str:
    """Convert a net; return why if protogen refuses it."""
    try:
        return write(source, folder, target)
    except ProtogenError as error:
        return " ".join(str(error).replace(str(source.path), source.name).split())


def places(names: str) -> list[Place]:
    """Return the toolchains that are installed, and print a sentence for each of the others."""
    installed = []
    for name in names.split(","):
        try:
            installed += find(NETS / "net.prototxt", [name], {})
        except InputError as error:
            print(f"left out: {error}")
    return installed


def table(title: str, rows: Mapping[str, Mapping[str, str]], columns: list[str]) -> None:
    """Print a table with a text in each cell."""
    texts = [text for row in rows.values() for text in row.values()]
    width = max(map(len, [*columns, *texts])) + 2
    first = max(map(len, rows)) + 2
    print(f"\n{title}\n\n{'':{first}}" + "".join(f"{one:{width}}" for one in columns))
    for name, row in rows.items():
        print(f"{name:{first}}" + "".join(f"{row.get(one, ''):{width}}" for one in columns))


def print_words(results: list[Result], form: str, tools: list[str]) -> None:
    """Print the result of each net, and how often each occurs."""
    rows: dict[str, dict[str, str]] = {}
    counts = {tool: Counter[str]() for tool in tools}
    for one in results:
        if one.form == form:
            rows.setdefault(one.net, {})[one.toolchain] = one.word
            counts[one.toolchain][one.word] += 1
    table(f"Results {TITLES[form]}", rows, tools)
    totals = {word: {tool: str(counts[tool][word]) for tool in tools} for word in WORDS}
    table(f"Totals of {len(rows)} nets {TITLES[form]}", totals, tools)


def print_sizes(results: list[Result], plain: Mapping[str, Size], tools: list[str]) -> None:
    """Print layers, multiply-adds and memory of the nets for a target, relative to those without."""
    rows: dict[str, dict[str, str]] = {}
    ratios: dict[str, list[tuple[float, ...]]] = {tool: [] for tool in tools}
    for one in results:
        if one.form == "target" and one.size is not None and one.net in plain:
            pairs = zip(asdict(one.size).values(), asdict(plain[one.net]).values(), strict=True)
            row = tuple(new / max(1, old) for new, old in pairs)
            rows.setdefault(one.net, {})[one.toolchain] = ratios_text(row)
            ratios[one.toolchain].append(row)
    rows = dict(sorted(rows.items()))
    for title, function in (("MEDIAN", statistics.median), ("LARGEST", max)):
        for tool, of_tool in ratios.items():
            if of_tool:
                row = tuple(float(function(column)) for column in zip(*of_tool, strict=True))
                rows.setdefault(title, {})[tool] = ratios_text(row)
    if rows:
        table("Ratios of layers, multiply-adds and memory, with --target to without", rows, tools)


def ratios_text(ratios: tuple[float, ...]) -> str:
    """Return ratios as text."""
    return " ".join(f"{one:.2f}" for one in ratios)


def run_all(
    chosen: argparse.Namespace,
    nets: list[Source],
    plain: Mapping[str, Written | str],
    forms: list[str],
    work: Path,
) -> tuple[list[Result], dict[str, str]]:
    """Run nets in the toolchains; return the results, and the release of each toolchain."""
    results: list[Result] = []
    versions: dict[str, str] = {}
    for place in places(chosen.tools):
        name = place.data.name
        with Worker(place.adapter, place.python, seconds=SECONDS) as worker:
            try:
                versions[name] = str(worker.start()["version"])
            except StartError as error:
                print(f"left out: {name} cannot be started: {error}")
                continue
            for result in run_tool(place, worker, nets, plain, forms, work):
                results.append(result)
                if chosen.details and result.word != "right":
                    text = f"{result.net}, {name}, {result.form}: {result.word}: {result.detail}"
                    print(text, flush=True)
    return results, versions


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--with", dest="tools", default=TOOLS, help="toolchains, by commas")
    parser.add_argument("--nets", default="*", metavar="PATTERN", help="names of the nets")
    parser.add_argument("--only-plain", action="store_true", help="only without a target")
    parser.add_argument("--only-target", action="store_true", help="only with --target")
    parser.add_argument("--details", action="store_true", help="print why a net is not right")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("--work", type=Path, help="folder for the Caffe nets")
    parser.add_argument("--json", type=Path, help="file for the results")
    chosen = parser.parse_args()
    forms = [
        form
        for form, other in zip(FORMS, (chosen.only_target, chosen.only_plain), strict=True)
        if not other
    ]
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    with tempfile.TemporaryDirectory() as folder:
        work = chosen.work or Path(folder)
        nets = list(sources(chosen.nets, chosen.seed))
        plain = {one.name: attempt(one, work / "plain", None) for one in nets}
        results, versions = run_all(chosen, nets, plain, forms, work)
    if not results:
        raise SystemExit("no net has run")
    tools = list(versions)
    sizes = {name: one.size for name, one in plain.items() if not isinstance(one, str)}
    for form in forms:
        print_words(results, form, tools)
    print_sizes(results, sizes, tools)
    if chosen.json:
        data = {
            "versions": versions,
            "plain": {name: asdict(size) for name, size in sizes.items()},
            "results": [asdict(one) for one in results],
        }
        chosen.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
