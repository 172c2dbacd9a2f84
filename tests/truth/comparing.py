"""One net in protogen and in real Caffe: every blob, or both refuse it."""

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

# Of the blob's largest magnitude: float32 sums in another order.
TOLERANCE = 2e-5

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is one of

    ran        both ran it, and every blob agrees
    refused    both refuse it
    in place   protogen refuses to compute it in place; Caffe overwrites what it still reads
               (test_types.test_in_place shows it for each type)
    view       protogen refuses a blob that is read after a layer in place has changed it through a
               view of it
    chance     protogen refuses it because its values are random
    limited    Caffe runs it, protogen says that it has no ONNX form
    too strict Caffe runs it, protogen calls it wrong
    too loose  protogen runs it, Caffe refuses it
    differs    both ran it, and a blob differs
    """

    verdict: str
    said: str = ""

    @property
    def agrees(self) -> bool:
        return self.verdict in ("ran", "refused", "in place", "view", "chance")


def parsed(text: str, phase: str = "TEST", dialect: str = "") -> Net:
    """A net as Caffe reads it; ``dialect`` bvlc leaves out what forks allow."""
    return Net(upgrade(prototxt.parse(text, "net.prototxt")), phase=phase, dialect=dialect)


def weighted(net: Net, seed: int) -> None:
    """Random weights for every layer; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        arrays = [
            rng.standard_normal(s, np.float32) for s in net.parameter_shapes[layer.name] or ()
        ]
        if layer.type == "BatchNorm":
            arrays[1] = np.abs(arrays[1]) + np.float32(0.5)
            arrays[2][...] = rng.choice(np.float32([1, 0.5, 999.98, 0]))
        if arrays:
            net.weights[layer.name] = arrays
    for (name, index), (owner, at) in net.graph.owners.items():
        if name in net.weights and owner in net.weights:
            net.weights[name][index] = net.weights[owner][at].reshape(
                net.weights[name][index].shape
            )


def caffemodel(net: Net) -> bytes:
    if not net.weights:
        return b""
    file = io.BytesIO()
    write_weights(file, net.name, net.entries())
    return file.getvalue()


def types_of(text: str) -> set[str]:
    return set(re.findall(r'type: "([A-Z]\w+)"', text))


def judge_of(drawn: Drawn) -> Caffe | None:
    """The first of its Caffes that has all types of a net; None where none of these has, or is
    installed."""
    types = types_of(drawn.text)
    installed = (caffe(name) for name in drawn.judges if not missing(name))
    return next((one for one in installed if types <= one.types), None)


def compare(drawn: Drawn, judge: Caffe) -> Outcome:
    """Runs a net in both."""
    net, found, refusal = None, {}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        try:
            net = parsed(drawn.text, drawn.phase, "bvlc")
            weighted(net, drawn.seed)
            blobs = sorted({top for layer in net.layers for top in layer.tops})
            found = blobs_of(net, blobs, drawn.feeds)
        except pg.ProtogenError as error:
            refusal = error
    weights = caffemodel(net) if net is not None else b""
    theirs = judge.run(drawn.text, drawn.feeds, weights, drawn.phase)
    if refusal is not None:
        return _refused(refusal, theirs.refused)
    if theirs.refused:
        return Outcome("too loose", theirs.refused)
    # What a layer in place does to a blob through a view of it is in Caffe's memory only.
    changed = net.overwritten[0]
    last = {top: value for layer in net.layers
            for top, value in zip(layer.tops, layer.writes, strict=True)}  # fmt: skip
    for name, wanted in theirs.blobs.items():
        if last[name] in changed:
            continue
        said = difference(found[name], wanted) if name in found else "is not there"
        if said:
            return Outcome("differs", f'"{name}" {said}')
    if sum(layer.type != "Input" for layer in net.layers) < 2:
        return Outcome("ran")  # nothing to fold
    return _folded(net, drawn.feeds, theirs.blobs)


def _folded(net: Net, feeds: Arrays, theirs: Arrays) -> Outcome:
    """The outputs of the model as it is written by default: folded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        if any(value not in net.inputs for value in net.outputs):
            for name, array in pg.run(net, feeds).items():
                if name.startswith("(automatic)"):  # of a loss; pycaffe does not show it
                    continue
                said = difference(array, theirs[name])
                if said:
                    return Outcome("differs", f'"{name}", folded, {said}')
    return Outcome("ran")


def _refused(ours: pg.ProtogenError, theirs: str) -> Outcome:
    if "values are random" in str(ours):
        return Outcome("chance")
    if theirs:
        return Outcome("refused", theirs)
    if "shares its memory" in str(ours):
        return Outcome("view")
    if "in place" in str(ours):
        return Outcome("in place")
    limited = isinstance(ours, pg.UnsupportedError)
    return Outcome("limited" if limited else "too strict", str(ours))


def compare_back(drawn: Drawn, judge: Caffe) -> Outcome:
    """Caffe to ONNX and back to Caffe: the outputs of both nets in real Caffe.

    ``no way back``: the importer refuses the model by name. Nets that do not run give ``refused``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        try:
            net = parsed(drawn.text, drawn.phase, "bvlc")
            weighted(net, drawn.seed)
            model = pg.to_onnx(net)
        except pg.ProtogenError as error:
            return Outcome("refused", str(error))
        theirs = judge.run(drawn.text, drawn.feeds, caffemodel(net), drawn.phase)
        if theirs.refused:
            return Outcome("refused", theirs.refused)
        try:
            back = import_model(model)
        except pg.UnsupportedError as error:
            return Outcome("no way back", str(error))
    text = prototxt.write(back.net.message)
    feeds = {back.blobs.get(name, name): array for name, array in drawn.feeds.items()}
    feeds = {name: array for name, array in feeds.items() if name in back.net.inputs}
    judge = judge if types_of(text) <= judge.types else caffe("tpucaffe")  # it alone has Clip
    mine = judge.run(text, feeds, caffemodel(back.net))
    if mine.refused:
        return Outcome("too loose", f"{mine.refused}\n{text}")
    top_of = {v: t for x in net.layers for t, v in zip(x.tops, x.writes, strict=True)}
    for value in (v for v in net.outputs if v not in net.inputs):
        name = back.blobs.get(value, value)
        wanted = theirs.blobs[top_of[value]]
        said = difference(mine.blobs[name], wanted) if name in mine.blobs else "is not there"
        if said:
            return Outcome("differs", f'"{value}" {said}\n{text}')
    return Outcome("ran")


def blobs_of(net: Net, blobs: list[str], feeds: Arrays) -> dict[str, NDArray[np.float32]]:
    """Values of Caffe's blobs after the last layer that writes them."""
    last = {top: value for layer in net.layers
            for top, value in zip(layer.tops, layer.writes, strict=True)}  # fmt: skip
    values = [last[blob] for blob in blobs]
    computed = [value for value in values if value not in net.inputs]
    found = {}
    if computed:
        program = lower(net, outputs=computed, fold=False)
        found = run_program(program, {v.name: feeds[v.name] for v in program.inputs})
    return {blob: found[last[blob]] if last[blob] in found else feeds[blob] for blob in blobs}


def difference(mine: NDArray[np.float32], wanted: NDArray[np.float32]) -> str:
    """What differs; empty where nothing does. NaN and infinities must stand in the same places."""
    if mine.shape != wanted.shape:
        return f"is {mine.shape}, in Caffe {wanted.shape}"
    if mine.dtype != np.float32:
        return f"is {mine.dtype}"
    finite = np.isfinite(wanted)
    if not np.array_equal(mine[~finite], wanted[~finite], equal_nan=True):
        return "has NaN or infinities at other places"
    error = np.abs(mine[finite].astype(np.float64) - wanted[finite]).max(initial=0)
    scale = np.abs(wanted[finite]).max(initial=0)
    if not error <= TOLERANCE * scale:
        return f"differs by {error / scale if scale else np.inf:.2g} of its largest magnitude"
    return ""
