"""One published net: to ONNX and back, and both pairs in live Caffe (for ``published.py``)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from published_pairs import Pair, clause

import protogen as pg
from protogen.cli.options import shapes
from protogen.converting.onnx_to_caffe import Imported
from protogen.errors import MismatchError, ProtogenError, UnsupportedError
from protogen.geometry import Shape
from protogen.net.forks import of_forks
from protogen.net.net import Net
from protogen.onnx.session import open_model
from protogen.running.cutting import Cutter
from protogen.running.drawing import random_inputs, wanted_inputs
from protogen.running.matching import compare
from protogen.running.toolchain import SECONDS, StartError, Worker
from protogen.running.trying import Place
from protogen.running.words import telling

Arrays = dict[str, NDArray[Any]]

PIXELS = 120.0  # of 255, without a mean of about 120; trained nets saturate at larger values
INPUTS = (("noise", PIXELS), ("smooth", PIXELS), ("smooth", 1.0))
# The fork whose layers a toolchain has: some compute other numbers than the same layers of other forks.
MEANINGS = {"tpu-caffe": "tpumlir"}
WAVES = 6  # cosines of a smooth picture, of at most 3 periods


@dataclass
class Row:
    """The result of a pair. Errors are None where nothing was compared."""

    name: str
    layers: int | None = None
    layers_back: int | None = None
    megabytes: float | None = None
    onnx: float | None = None
    back: float | None = None
    caffe_onnx: float | None = None
    caffe_back: float | None = None
    word: str = "right"
    seconds: float = 0.0
    reason: str = ""
    notes: list[str] = field(default_factory=list)

    def set(self, word: str, reason: str) -> Row:
        """Set the verdict, and return the row."""
        self.word, self.reason = word, " ".join(reason.split())
        return self


class WrongError(Exception):
    """Numbers differ, or an output is missing."""


def measure(one: Pair, chosen: argparse.Namespace, tools: Sequence[Place], work: Path) -> Row:
    """Convert a pair to ONNX and back, run both pairs in Caffe, and return its row."""
    row = Row(one.name, megabytes=one.caffemodel.stat().st_size / 1e6)
    row.notes.append(f"net: {one.prototxt}")
    options: dict[str, Any] = {"verify": True, "seed": chosen.seed}
    stage = "load"
    try:
        input_shapes = known_shapes(one, chosen.input_shapes)
        net = pg.load(str(one.prototxt), one.caffemodel, input_shapes=input_shapes)
        row.layers = count(net)
        case = Case(row, one, net, chosen.seed)
        dialect = case.run_published(tools)
        stage = "to ONNX"
        paths = one.prototxt, one.caffemodel, work / "net.onnx"
        reading = {"input_shapes": input_shapes, "dialect": dialect}
        there = proved(row, pg.convert, paths, {**options, **reading})
        row.onnx = there.receipt["checked"]["onnxruntime"]["worst"] if there.receipt else None
        stage = "back to Caffe"
        back = bring_back(row, net, work, {**options, "target": chosen.target}, dialect)
        row.layers_back = count(back.imported.net)
        row.back = None if back.checked is None else back.checked.worst
        stage = "in Caffe"
        case.compare(work / "net.onnx", back, tools)
    except MismatchError as error:
        row.set("wrong", f"{stage}: {clause(error)}")
    except ProtogenError as error:
        row.set("refused", f"{stage}: {clause(error)}")
    except WrongError as error:
        row.set("wrong", str(error))
    return row


def known_shapes(one: Pair, texts: Sequence[str]) -> dict[str, Shape]:
    """Return the given shapes of the inputs that a net has. A shape without a name is for the nets with
    one input."""
    if not texts:
        return {}
    names = pg.load(str(one.prototxt), one.caffemodel, tolerant=True).inputs
    fitting = [text for text in texts if "=" in text or len(names) == 1]
    return {name: shape for name, shape in shapes(fitting, lambda: names).items() if name in names}


def proved(row: Row, function: Any, paths: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a conversion; without ``verify`` if all numbers agree there but prove nothing."""
    try:
        return function(*paths, **options)
    except MismatchError as error:
        if error.table is None or error.table.first is not None:
            raise
        row.notes.append(f"{function.__name__}: {clause(error)}")
        return function(*paths, **{**options, "verify": False})


def bring_back(
    row: Row, net: Net, work: Path, options: Mapping[str, Any], dialect: str
) -> Imported:
    """Convert the ONNX model to Caffe: with layers of BVLC Caffe, or, if they do not suffice, with those
    of the fork that the published net is of. A target decides that itself."""
    paths = work / "net.onnx", work / "back.prototxt", work / "back.caffemodel"
    try:
        back: Imported = proved(row, pg.convert_onnx, paths, options)
    except UnsupportedError:
        forks = None if options["target"] else of_forks(net.message)
        if forks is None or not forks.possible:
            raise
        dialect = dialect or next(iter(forks.possible))
        row.notes.append(f"the net that came back is of the dialect {dialect}")
        back = proved(row, pg.convert_onnx, paths, {**options, "dialect": dialect})
    return back


def count(net: Net) -> int:
    """Return the number of layers without inputs."""
    return sum(bool(layer.bottoms) for layer in net.layers)


class Case:
    """A published pair, and what it computes in Caffe on inputs that look like pictures."""

    def __init__(self, row: Row, one: Pair, net: Net, seed: int) -> None:
        self.row, self.one, self.net = row, one, net
        self.feeds = [draw(net, kind, size, seed + i) for i, (kind, size) in enumerate(INPUTS)]
        self.place: Place | None = None
        self.published: list[Arrays] = []
        self.reasons: list[str] = []

    def run_published(self, tools: Sequence[Place]) -> str:
        """Run the pair in the first toolchain that runs it. Return the dialect in which its layers have
        the meaning that they have there; empty if the net alone decides."""
        cutter = Cutter(str(self.one.prototxt), self.one.caffemodel, self.net, {})
        for place in tools:
            answers = ran(place, cutter.text(), cutter.weights(self.net), self.feeds)
            if isinstance(answers, list) and not set(self.net.outputs) <= answers[0].keys():
                answers = "it gives no blobs by their names, as Caffe does"
            if isinstance(answers, list):
                self.place, self.published = place, answers
                self.row.notes.append(f"run in {place.data.name}")
                forks, dialect = of_forks(self.net.message), MEANINGS.get(place.data.name, "")
                return dialect if forks is not None and dialect in forks.possible else ""
            self.reasons.append(f"{place.data.name}: {answers}")
        self.row.notes += self.reasons
        return ""

    def compare(self, model: Path, back: Imported, tools: Sequence[Place]) -> None:
        """Compare the ONNX model, and the pair that came back, with the published pair. If no toolchain
        runs that, compare the pair that came back with the ONNX model, unless it is of a fork.

        Raises:
            WrongError: a blob differs or is missing, or only the published pair runs.
        """
        run, names = open_model(str(model)), back.imported.names()["values"]
        outputs = [run(arrays) for arrays in self.feeds]
        feeds = [renamed(arrays, names) for arrays in self.feeds]
        net = back.imported.net
        if self.place is not None:
            for theirs, ours in zip(self.published, outputs, strict=True):
                expected = {name: theirs[name] for name in self.net.outputs}
                self.check("caffe_onnx", expected, ours, self.net, self.place)
            returned = ran(self.place, back.prototxt, back.caffemodel, feeds)
            if isinstance(returned, str):
                name = self.place.data.name
                raise WrongError(f"{name} does not run the net that came back: {returned}")
            must = {names.get(name, name) for name in self.net.outputs}
            for theirs, arrays in zip(self.published, returned, strict=True):
                both = renamed(theirs, names)  # other blobs than outputs may have been folded away
                both = {name: a for name, a in both.items() if name in arrays or name in must}
                self.check("caffe_back", both, arrays, net, self.place)
            return
        for place in tools if of_forks(net.message) is None else ():
            returned = ran(place, back.prototxt, back.caffemodel, feeds)
            if isinstance(returned, list):
                for ours, arrays in zip(outputs, returned, strict=True):
                    self.check("caffe_onnx", renamed(ours, names), arrays, net, place)
                what = f"Caffe/ONNX is of the net that came back, in {place.data.name}"
                self.row.set("right", f"the published net has not run in {self.reasons[0]}; {what}")
                return
        if self.reasons:
            self.row.set("right", f"not run in {self.reasons[0]}")

    def check(self, column: str, expected: Arrays, actual: Arrays, net: Net, place: Place) -> None:
        """Compare blobs, and raise the error in a column of the row to the largest of these.

        Raises:
            WrongError: a blob differs or is missing.
        """
        rows = compare(expected, actual, net.graph, place.data.tolerance)
        errors = [one.error for one in rows if one.error is not None]
        setattr(self.row, column, max([*errors, getattr(self.row, column) or 0.0]))
        for one in rows:
            if one.problem:
                side = "the ONNX model" if net is self.net else "the net that came back"
                raise WrongError(f'{side} against {place.data.name}: "{one.blob}" {one.problem}')


def renamed(arrays: Arrays, names: Mapping[str, str]) -> Arrays:
    """Return arrays by the names in the net that came back."""
    return {names.get(name, name): array for name, array in arrays.items()}


def ran(
    place: Place, text: str | Path, weights: bytes | Path | None, feeds: Sequence[Arrays]
) -> list[Arrays] | str:
    """Run a net on each of the inputs; return all blobs by name, or why it does not run."""
    blobs = []
    with Worker(place.adapter, place.python) as worker:
        for one in feeds:
            try:
                answer = worker.run(text, weights, one)
            except StartError as error:
                return f"cannot be started: {error.diagnostic.problem}"
            if answer.state != "ran":
                patterns = [str(pattern) for pattern in worker.about.get("words") or ()]
                words = telling(answer.message, answer.log, patterns)
                return f"{answer.state}: {words or f'no answer in {SECONDS:g} s'}"
            if not isinstance(answer.outputs, dict):
                return "it gives its outputs without names"
            blobs.append(answer.outputs)
    return blobs


# Inputs


def draw(net: Net, kind: str, scale: float, seed: int) -> Arrays:
    """Return an array for each input: noise, or a smooth picture, from -scale to scale."""
    graph = net.graph
    known = {name: graph.shapes[name] or () for name in graph.inputs}
    arrays = random_inputs(known, seed, wanted := wanted_inputs(graph, seed))
    generator = np.random.default_rng(seed)
    for name, shape in known.items():
        if name in wanted or len(shape) < 3:
            continue
        if kind == "noise":
            values = generator.uniform(-1, 1, shape)
        else:
            values = np.sum([wave(shape, generator) for _ in range(WAVES)], axis=0)
            values /= np.abs(values).max(initial=1e-9)
        arrays[name] = (scale * values).astype(np.float32)
    return arrays


def wave(shape: Shape, generator: np.random.Generator) -> NDArray[Any]:
    """Return a cosine over height and width; direction and phase differ in each channel."""
    y, x = (np.linspace(0, 2 * np.pi, length) for length in shape[-2:])
    leading = (*shape[:-2], 1, 1)
    down, right, phase = (generator.uniform(-3, 3, leading) for _ in range(3))
    values: NDArray[Any] = np.cos(down * y[:, None] + right * x + phase)
    return values
