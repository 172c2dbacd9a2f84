"""One net in protogen and in real Caffe: every blob, or both refuse it."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from judge import NAMES, Answer, Caffe, caffe
from numpy.typing import NDArray

import protogen as pg
from protogen import prototxt
from protogen.caffemodel import write_weights
from protogen.net import Net
from protogen.onnx import lower
from protogen.runtime import run_program
from protogen.upgrade import upgrade

# Of the blob's largest magnitude: float32 sums in another order.
TOLERANCE = 2e-5

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is one of

    ran        both ran it, and every blob agrees
    refused    both refuse it
    in place   protogen refuses to compute it in place, and Caffe refuses it too or computes
               other values than where the top has a name of its own
    chance     protogen refuses it because its values depend on chance
    limited    Caffe runs it, protogen says that it has no ONNX form
    too strict Caffe runs it, protogen calls it wrong
    too loose  protogen runs it, Caffe refuses it
    differs    both ran it, and a blob differs
    """

    verdict: str
    said: str = ""

    @property
    def agrees(self) -> bool:
        return self.verdict in ("ran", "refused", "in place", "chance")


def parsed(text: str, phase: str = "TEST") -> Net:
    return Net(upgrade(prototxt.parse(text, "net.prototxt")), phase=phase)


def weighted(net: Net, seed: int) -> None:
    """Random weights for every layer; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        arrays = [rng.standard_normal(s, np.float32) for s in net.parameter_shapes[layer.name] or ()]
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


def asked(net_types: set[str], names: tuple[str, ...] = NAMES) -> Caffe | None:
    """The first Caffe that has all of these types."""
    return next((c for c in map(caffe, names) if net_types <= c.types), None)


def compare(text: str, feeds: Arrays, phase: str, seed: int, judge: Caffe) -> Outcome:
    """Runs a net in both, folded and unfolded."""
    net, found, refusal = None, {}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        try:
            net = parsed(text, phase)
            weighted(net, seed)
            blobs = sorted({top for layer in net.layers for top in layer.tops})
            found = blobs_of(net, blobs, feeds)
        except pg.ProtogenError as error:
            refusal = error
    theirs = judge.run(text, feeds, caffemodel(net) if net is not None else b"", phase)
    if refusal is not None:
        if "chance" in str(refusal):
            return Outcome("chance")
        if "in place" in str(refusal) and spoils_in_place(text, feeds, phase, judge, theirs):
            return Outcome("in place")
        if theirs.refused:
            return Outcome("refused", theirs.refused)
        limited = isinstance(refusal, pg.UnsupportedError)
        return Outcome("limited" if limited else "too strict", str(refusal))
    if theirs.refused:
        return Outcome("too loose", theirs.refused)
    for name, wanted in theirs.blobs.items():
        if name not in found:
            return Outcome("differs", f'"{name}" is not there')
        said = difference(found[name], wanted)
        if said:
            return Outcome("differs", f'"{name}" {said}')
    return Outcome("ran")


def spoils_in_place(text: str, feeds: Arrays, phase: str, judge: Caffe, there: Answer) -> bool:
    """Whether Caffe refuses the net, or its last layer has other values where its first top has a
    name of its own."""
    if there.refused:
        return True
    *before, last = text.strip().split("\n")
    match = re.search(r'top: "(\w+)"', last)
    assert match is not None
    apart = judge.run("\n".join([*before, last.replace(match[0], 'top: "own"', 1)]), feeds, b"", phase)
    return bool(apart.refused or difference(there.blobs[match[1]], apart.blobs["own"]))


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
