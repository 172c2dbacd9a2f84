"""Files of a form: its caffemodel, its inputs, and the right outputs."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field

import numpy as np
from forms.building import Form
from numpy.typing import NDArray

import protogen as pg
from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.net.binary import to_protobuf
from protogen.net.net import Net
from protogen.net.upgrade import upgrade
from protogen.onnx import lower
from protogen.running.matching import copied
from protogen.running.runtime import run_program

Array = NDArray[np.float32]
LAST_OF_BVLC = 148  # number of the last field of BVLC's LayerParameter


@dataclass
class Prepared:
    """A form with its files. ``refused`` is protogen's message if it cannot run the net; then
    ``outputs`` has the names of the outputs as far as protogen knows them, without values."""

    form: Form
    caffemodel: bytes
    feeds: dict[str, Array]
    outputs: dict[str, Array | None] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)  # see ``writer``
    copies: dict[str, str] = field(default_factory=dict)  # of outputs that only copy a blob
    refused: str = ""

    @property
    def digest(self) -> str:
        """Hash of the net and its caffemodel."""
        return hashlib.sha256(self.form.net.encode() + b"\0" + self.caffemodel).hexdigest()


def parsed(form: Form) -> Message:
    """Return the net of a form in the current format."""
    return _message(form.net, form.id)


def _message(text: str, name: str) -> Message:
    return upgrade(prototxt.parse(text, name))


def feeds_of(form: Form) -> dict[str, Array]:
    """Return the inputs of a form."""
    rng = np.random.default_rng(form.seed)
    return {name: _feed(rng, shape, kind) for name, shape, kind in form.feeds}


def _feed(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    normal = rng.standard_normal(shape, np.float32)
    scales = {"normal": 1, "wide": 4, "large": 30, "huge": 100, "small": 0.1}
    if kind in scales:
        return normal * np.float32(scales[kind])
    if kind == "positive":
        return np.abs(normal) + np.float32(0.3)
    if kind.startswith("index"):
        return rng.integers(0, int(kind[5:]), shape).astype(np.float32)
    if kind == "scores":
        return rng.random(shape, np.float32)
    if kind in ("starts", "restarts"):
        cont = np.ones(shape, np.float32)
        cont[0] = 0
        if kind == "restarts":
            cont[len(cont) // 2, 0] = 0
        return cont
    if kind == "chosen":
        return (np.arange(np.prod(shape)).reshape(shape) % 2 == 0).astype(np.float32)
    if kind == "rois":
        rows = np.float32([[0, 1, 2, 17, 15], [0, 6, 0, 30, 22]])[: shape[0]]
        return rows.reshape(shape)
    if kind == "boxes":
        corner = rng.random((shape[2] // 4, 2), np.float32) * np.float32(0.6)
        size = rng.random((shape[2] // 4, 2), np.float32) * np.float32(0.3) + np.float32(0.1)
        boxes = np.concatenate([corner, corner + size], 1).ravel()
        variances = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), shape[2] // 4)
        return np.stack([boxes, variances])[None]
    raise ValueError(kind)


def _blob(kind: str, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    normal = rng.standard_normal(shape, np.float32)
    positive = np.abs(normal) + np.float32(0.5)
    if kind == "BatchNorm":
        return (normal, positive, np.ones(shape, np.float32), normal, normal)[index]
    if kind == "BN":
        return (normal, normal, normal, positive)[index]
    if kind == "PReLU":
        return rng.uniform(0.1, 0.6, shape).astype(np.float32)
    if kind == "Normalize":
        return positive * np.float32(2)
    if len(shape) > 1 and index == 0 and kind not in ("Scale", "Bias", "Embed", "Parameter"):
        return normal * np.float32(1.2 / np.sqrt(np.prod(shape[1:])))
    return normal


def weights_of(form: Form, net: Net) -> dict[str, list[Array]]:
    """Return random weights of every layer; layers that share a blob have the same values."""
    rng = np.random.default_rng(form.seed + 1)
    weights: dict[str, list[Array]] = {}
    if form.weights == "fillers":
        return weights
    if form.weights.startswith("blobs"):
        _, name, shapes = form.weights.split()
        sizes = [tuple(map(int, shape.split("x"))) for shape in shapes.split(",")]
        weights[name] = [_blob("Lstm", i, shape, rng) for i, shape in enumerate(sizes)]
    for layer in net.layers:
        shapes = net.parameter_shapes.get(layer.name) or ()
        if not shapes:
            continue
        blobs = [_blob(layer.type, i, shape, rng) for i, shape in enumerate(shapes)]
        factor = {"zero factor": 0.0, "large factor": 999.98}.get(form.weights)
        if layer.type == "BatchNorm" and factor is not None:
            blobs[2][...] = factor
            if factor:
                blobs[0], blobs[1] = blobs[0] * blobs[2], blobs[1] * blobs[2]
        weights[layer.name] = blobs
    for (name, index), (owner, owner_index) in net.graph.owners.items():
        if name in weights and owner in weights:
            weights[name][index] = weights[owner][owner_index]
    return weights


def caffemodel_of(form: Form, message: Message, weights: dict[str, list[Array]]) -> bytes:
    """Return the caffemodel. Caffe writes every layer with its parameters, those without weights too."""
    proto = to_protobuf(message)
    written = {layer.name for layer in proto.layer}
    assert set(weights) <= written, (form.id, set(weights) - written)
    for layer in proto.layer:
        for array in weights.get(layer.name, ()):
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
    missing = "y" if form.weights == "fillers" else ""
    for layer in list(proto.layer):
        for descriptor, _ in layer.ListFields():
            if descriptor.number > LAST_OF_BVLC:  # each fork and toolchain has other numbers
                layer.ClearField(descriptor.name)
        if _left_out(layer) or layer.name == missing:
            proto.layer.remove(layer)
    if form.weights == "stripped":
        bare = type(proto)(name=proto.name)
        for layer in proto.layer:
            if layer.blobs:
                bare.layer.add(
                    name=layer.name, type=layer.type, bottom=layer.bottom, top=layer.top,
                    blobs=layer.blobs,
                )  # fmt: skip
        proto = bare
    return bytes(proto.SerializeToString())


def _left_out(layer: object) -> bool:
    """Whether a layer is not in the net for TEST, whose caffemodel it is."""
    test = 1
    included = [rule.phase for rule in layer.include]  # type: ignore[attr-defined]
    excluded = [rule.phase for rule in layer.exclude]  # type: ignore[attr-defined]
    return bool(included and test not in included) or test in excluded


def writer(layer: str, index: int) -> str:
    """Return the name of a top by its layer: the layer's own for the first top, else ``layer.1``."""
    return f"{layer}.{index}" if index else layer


def prepare(form: Form) -> Prepared:
    """Return a form with its files, and its outputs as protogen computes them.

    Raises:
        InputError: the text is invalid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = parsed(form)
        refused = ""
        try:
            # The caffemodel has the layers of ``net``; numbers come from what it means.
            net = Net(_message(form.meaning or form.net, form.id), phase="TEST")
        except pg.ProtogenError as error:
            refused = str(error)
            net = Net(message, phase="TEST", tolerant=True)
        weights = weights_of(form, net)
        prepared = Prepared(
            form, caffemodel_of(form, message, weights), feeds_of(form), refused=refused
        )
        last = {top: (value, writer(layer.name, index)) for layer in net.layers
                for index, (top, value) in enumerate(zip(layer.tops, layer.writes, strict=True))}  # fmt: skip
        names = {value: top for top, (value, _) in last.items()}
        outputs = [names[value] for value in net.outputs if value not in net.inputs]
        prepared.outputs = dict.fromkeys(outputs)
        prepared.layers = {name: last[name][1] for name in outputs}
        prepared.copies = {name: copied(name, net.graph) for name in outputs}
        if refused:
            return prepared
        try:
            net.take_weights(weights)
            values = [value for value in net.outputs if value not in net.inputs]
            program = lower(net, outputs=values, fold=False)
            computed = run_program(
                program, {v.name: prepared.feeds[v.name] for v in program.inputs}
            )
            prepared.outputs = {names[value]: computed[value] for value in values}
        except pg.ProtogenError as error:
            prepared.refused = str(error)
    return prepared
