"""Comparison of a net in protogen and in real Caffe: all blobs agree, or both refuse the net."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from drawing import Drawn
from judge import Caffe, caffe, missing
from numpy.typing import NDArray

import protogen as pg
from protogen.formats import prototxt
from protogen.formats.caffemodel import write_weights
from protogen.net.net import Net
from protogen.net.upgrade import upgrade
from protogen.onnx import lower
from protogen.onnx.importer import import_model
from protogen.running.runtime import run_program

# Relative to the blob's largest magnitude: float32 sums have another order.
TOLERANCE = 2e-5

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """The result of a comparison, with details in ``said``. ``verdict`` is one of

    ran        both run the net, and every blob agrees
    refused    both refuse the net
    in place   protogen refuses an in-place layer; Caffe overwrites values that it still reads
               (test_types.test_in_place shows it for each type)
    view       protogen refuses a blob that is read after an in-place layer has changed it through a
               view
    chance     protogen refuses random values
    limited    Caffe runs the net, protogen raises UnsupportedError
    too strict Caffe runs the net, protogen raises InputError
    too loose  protogen runs the net, Caffe refuses it
    differs    both run the net, and a blob differs
    """

    verdict: str
    said: str = ""

    @property
    def agrees(self) -> bool:
        return self.verdict in ("ran", "refused", "in place", "view", "chance")


def parsed(text: str, phase: str = "TEST", dialect: str = "") -> Net:
    """Parse and upgrade a net; with ``dialect`` bvlc extensions of forks are refused."""
    return Net(upgrade(prototxt.parse(text, "net.prototxt")), phase=phase, dialect=dialect)


def weighted(net: Net, seed: int) -> None:
    """Set random weights in every layer; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        arrays = [
            rng.standard_normal(s, np.float32) for s in net.parameter_shapes[layer.name] or ()
        ]
        if layer.type == "BatchNorm":
            arrays[1] = np.abs(arrays[1]) + np.float32(0.5)
            arrays[2][...] = rng.choice(np.float32([1, 0.5, 999.98, 0]))
        if layer.type == "BN":
            arrays[3] = np.abs(arrays[3]) + np.float32(0.5)
        if arrays:
            net.weights[layer.name] = arrays
    for (name, index), (owner, owner_index) in net.graph.owners.items():
        if name in net.weights and owner in net.weights:
            net.weights[name][index] = net.weights[owner][owner_index].reshape(
                net.weights[name][index].shape
            )


def caffemodel(net: Net) -> bytes:
    """Return the net's caffemodel; empty if it has no weights."""
    if not net.weights:
        return b""
    file = io.BytesIO()
    write_weights(file, net.name, net.entries())
    return file.getvalue()


def types_of(text: str) -> set[str]:
    """Return the layer types of a prototxt."""
    return set(re.findall(r'type: "([A-Z]\w+)"', text))


def judge_of(drawn: Drawn) -> Caffe | None:
    """Return the first installed Caffe of the net that has all its types; None if there is none."""
    types = types_of(drawn.text)
    installed = (caffe(name) for name in drawn.judges if not missing(name))
    return next((one for one in installed if types <= one.types), None)


def compare(drawn: Drawn, judge: Caffe) -> Outcome:
    """Run a net in protogen and in Caffe, and compare them."""
    net, actual, refusal = None, {}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        try:
            net = parsed(drawn.text, drawn.phase, drawn.dialect)
            weighted(net, drawn.seed)
            blobs = sorted({top for layer in net.layers for top in layer.tops})
            actual = blobs_of(net, blobs, drawn.feeds)
        except pg.ProtogenError as error:
            refusal = error
    weights = caffemodel(net) if net is not None else b""
    reference = judge.run(drawn.text, drawn.feeds, weights, drawn.phase)
    if refusal is not None:
        return _refused(refusal, reference.refused)
    if reference.refused:
        return Outcome("too loose", reference.refused)
    # Caffe alone has the values of a blob that an in-place layer changes through a view.
    overwritten = net.overwritten[0]
    last = {top: value for layer in net.layers
            for top, value in zip(layer.tops, layer.writes, strict=True)}  # fmt: skip
    for name, expected in reference.blobs.items():
        if last[name] in overwritten:
            continue
        problem = difference(actual[name], expected) if name in actual else "is missing"
        if problem:
            return Outcome("differs", f'"{name}" {problem}')
    if sum(layer.type != "Input" for layer in net.layers) < 2:
        return Outcome("ran")  # one layer: nothing to fold
    return _folded(net, drawn.feeds, reference.blobs)


def _folded(net: Net, feeds: Arrays, reference: Arrays) -> Outcome:
    """Compare the outputs of the folded model, which is the default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        if any(value not in net.inputs for value in net.outputs):
            for name, array in pg.run(net, feeds).items():
                if name.startswith(
                    "(automatic)"
                ):  # an unnamed top of a loss, which pycaffe does not show
                    continue
                problem = difference(array, reference[name])
                if problem:
                    return Outcome("differs", f'"{name}", folded, {problem}')
    return Outcome("ran")


def _refused(error: pg.ProtogenError, caffe_message: str) -> Outcome:
    """Classify a net that protogen refuses; ``caffe_message`` is empty if Caffe runs it."""
    if "values are random" in str(error):
        return Outcome("chance")
    if caffe_message:
        return Outcome("refused", caffe_message)
    if "shares its memory" in str(error):
        return Outcome("view")
    if "in-place" in str(error) or "in place" in str(error):
        return Outcome("in place")
    limited = isinstance(error, pg.UnsupportedError)
    return Outcome("limited" if limited else "too strict", str(error))


def compare_back(drawn: Drawn, judge: Caffe) -> Outcome:
    """Convert a net to ONNX and back to Caffe, and compare the outputs of both nets in real Caffe.

    The verdict is ``no way back`` if the importer raises UnsupportedError, and ``refused`` if the net
    does not run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        try:
            net = parsed(drawn.text, drawn.phase, drawn.dialect)
            weighted(net, drawn.seed)
            model = pg.to_onnx(net)
        except pg.ProtogenError as error:
            return Outcome("refused", str(error))
        reference = judge.run(drawn.text, drawn.feeds, caffemodel(net), drawn.phase)
        if reference.refused:
            return Outcome("refused", reference.refused)
        try:
            imported = import_model(model, dialect=drawn.dialect)
        except pg.UnsupportedError as error:
            return Outcome("no way back", str(error))
    text = prototxt.write(imported.net.message)
    feeds = {imported.blobs.get(name, name): array for name, array in drawn.feeds.items()}
    feeds = {name: array for name, array in feeds.items() if name in imported.net.inputs}
    judge = judge if types_of(text) <= judge.types else caffe("tpucaffe")  # only tpucaffe has Clip
    actual = judge.run(text, feeds, caffemodel(imported.net))
    if actual.refused:
        return Outcome("too loose", f"{actual.refused}\n{text}")
    top_of = {v: t for x in net.layers for t, v in zip(x.tops, x.writes, strict=True)}
    for value in (v for v in net.outputs if v not in net.inputs):
        name = imported.blobs.get(value, value)
        expected = reference.blobs[top_of[value]]
        problem = difference(actual.blobs[name], expected) if name in actual.blobs else "is missing"
        if problem:
            return Outcome("differs", f'"{value}" {problem}\n{text}')
    return Outcome("ran")


def blobs_of(net: Net, blobs: list[str], feeds: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return the values of blobs after the last layer that writes each."""
    last_value = {top: value for layer in net.layers
            for top, value in zip(layer.tops, layer.writes, strict=True)}  # fmt: skip
    values = [last_value[blob] for blob in blobs]
    computed = [value for value in values if value not in net.inputs]
    computed_values = {}
    if computed:
        program = lower(net, outputs=computed, fold=False)
        computed_values = run_program(program, {v.name: feeds[v.name] for v in program.inputs})
    return {
        blob: computed_values[last_value[blob]]
        if last_value[blob] in computed_values
        else feeds[blob]
        for blob in blobs
    }


def difference(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> str:
    """Describe the difference; empty if there is none. Positions of NaN and infinity must be equal."""
    if actual.shape != expected.shape:
        return f"has shape {actual.shape}, in Caffe {expected.shape}"
    if actual.dtype != np.float32:
        return f"has dtype {actual.dtype}"
    finite = np.isfinite(expected)
    if not np.array_equal(actual[~finite], expected[~finite], equal_nan=True):
        return "has NaN or infinity at other positions"
    error = np.abs(actual[finite].astype(np.float64) - expected[finite]).max(initial=0)
    scale = np.abs(expected[finite]).max(initial=0)
    if not error <= TOLERANCE * scale:
        return f"differs by {error / scale if scale else np.inf:.2g} of its largest magnitude"
    return ""
