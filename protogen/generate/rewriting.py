"""Replace layers of forks by stock layers, and run each replacement to check it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from protogen._late import Shown
from protogen.errors import (
    Edit,
    InputError,
    MismatchError,
    ProtogenWarning,
    UnsupportedError,
    did_you_mean,
)
from protogen.formats import files, prototxt
from protogen.formats.message import Field, Message
from protogen.formats.prototxt.edits import apply_edits
from protogen.formats.schema.dialect import published
from protogen.generate.stock import Stock, replacement
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.reading import check_read, idle_forks, of_forks, unread
from protogen.net.build import Reading
from protogen.net.deciding import check_decided
from protogen.net.net import Net
from protogen.net.upgrade import upgrade
from protogen.toolchains.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Weights

TOLERANCE = 1e-5  # relative to the largest value: float32 sums in another order


@dataclass(frozen=True, slots=True)
class Replacement:
    """A layer of a fork and the types of its replacement.

    ``error`` is the largest difference between the outputs of the two on random data, ``largest``
    is the largest value.
    """

    layer: str
    type: str
    place: str
    becomes: tuple[str, ...]
    error: float
    largest: float


@dataclass(frozen=True, slots=True)
class RetainedLayer:
    """A layer that stock Caffe does not have, and the reason why it was not replaced."""

    layer: str
    type: str
    place: str
    reason: str


@dataclass(frozen=True, repr=False)
class Rewritten(Shown):
    """A net whose fork layers are replaced by stock layers where this is possible."""

    text: str
    net: Net
    replaced: tuple[Replacement, ...]
    retained: tuple[RetainedLayer, ...]
    weights_needed: tuple[str, ...] = ()  # new layers whose weights no filler of Caffe produces
    bom: bool = False

    def save(self, prototxt_path: str | Path, caffemodel: str | Path | None = None) -> None:
        """Write the text and, if ``caffemodel`` is set, the weights.

        Raises:
            InputError: a path cannot be written, or there are no weights.
        """
        with ExitStack() as stack:
            if caffemodel is not None:
                self._write_weights(stack, caffemodel)
            mark = b"\xef\xbb\xbf" if self.bom else b""
            text = mark + self.text.encode("utf-8", "surrogateescape")
            stack.enter_context(files.replacing(prototxt_path)).write(text)

    def save_weights(self, caffemodel: str | Path) -> None:
        """Write only the weights.

        Raises:
            InputError: the path cannot be written, or there are no weights.
        """
        with ExitStack() as stack:
            self._write_weights(stack, caffemodel)

    def _write_weights(self, stack: ExitStack, path: str | Path) -> None:
        from protogen.formats.caffemodel import write_weights

        if not self.net.weights:
            raise InputError(
                "the net has no weights to write",
                where=str(path),
                advice="Give the caffemodel of the net.",
            )
        file = stack.enter_context(files.replacing(path))
        write_weights(file, self.net.name, self.net.entries())


def rewrite(
    path: str | Path,
    caffemodel: str | Path | None = None,
    *,
    types: Sequence[str] = (),
    limits: Limits = UNLIMITED,
    input_shapes: Mapping[str, Shape] | None = None,
    **reading: Unpack[Reading],
) -> Rewritten:
    """Replace the fork layers of a net by stock BVLC layers that compute the same.

    Text and comments of the other layers do not change, and blobs keep their names. Each
    replacement runs on the same random data as the original layer, and the outputs are compared.

    Args:
        caffemodel: weights of the net. Layers with weights need them.
        types: replace only layers of these types.
        limits: limits of a target, for the layers that resize.
        input_shapes: shapes by blob name; they override the shapes in the net.
        reading: see ``convert``. Layers that do not belong to the net in this phase, level and
            stages, and unknown layers that are named as identities, do not change.

    Raises:
        InputError: a file is missing or invalid, or weights do not fit the net.
        MismatchError: the output of a replacement differs (a bug of protogen).
    """
    document = _read_upgraded(path)
    weights_of_file = None
    if caffemodel is not None:
        from protogen.formats.weightfiles import read_any

        weights_of_file = read_any(caffemodel)

    def net_of(document: prototxt.Document, weights: Weights | None = None) -> Net:
        return Net(
            document,
            weights,
            input_shapes=input_shapes,
            tolerant=True,
            **reading,
        )

    state = _State(document, net_of(document))
    if weights_of_file is not None:
        state.net.take_weights(weights_of_file)
    _check_types(types, state.net)
    places = {layer.name: str(layer.place) for layer in state.net.layers}
    while True:
        edits = _rewrite_pass(state, types, limits, places)
        text = apply_edits(state.document.source.text, edits)
        document = upgrade(_parse_again(text, f"{path} with stock layers"))
        state.document, state.net = document, net_of(document, state.weights)
        if not state.again:
            break
    return Rewritten(
        text,
        state.net,
        tuple(state.replaced),
        tuple(state.retained),
        tuple(state.needed),
        document.source.bom,
    )


class _State:
    """State of a rewrite: the current net, and what was replaced, retained and needed so far."""

    def __init__(self, document: prototxt.Document, net: Net) -> None:
        self.document = document
        self.net = net
        self.weights = net.weights
        self.replaced: list[Replacement] = []
        self.retained: list[RetainedLayer] = []
        self.needed: list[str] = []
        self.proofs: dict[tuple[object, ...], tuple[float, float]] = {}
        self.again = False


def _rewrite_pass(
    state: _State, types: Sequence[str], limits: Limits, places: Mapping[str, str]
) -> list[Edit]:
    """Return the edits that replace as many layers as possible in one pass.

    A replacement that renames a blob gets a pass of its own: the text is parsed again after it, and
    ``state.again`` requests the next pass.
    """
    layers = state.document.all("layer")
    used_names = {name for item in layers for name in (item.value.name, *item.value.top)}
    retained_names = {entry.layer for entry in state.retained}
    edits: list[Edit] = []
    state.again = False
    for layer in state.net.layers:
        kind = kind_of(layer)
        unknown = layer.type != layer.params.type  # the user declared it an identity
        is_stock = kind is not None and kind.stock and not unknown
        is_stock = is_stock and not (kind and of_forks(layer.params, kind))
        if (types and layer.type not in types) or layer.name in retained_names:
            continue
        place = places.get(layer.name, str(layer.place))
        if is_stock and not any(unread(layer.params, kind, state.net.graph.ignored_fields)):
            if kind is not None and (idle := idle_forks(layer.params, kind)):
                substitute = Stock(state.net, layer, used_names, limits)
                substitute.retype(layer.type, **idle)
                edits += substitute.edits(state.document)
                same = Replacement(layer.name, layer.type, place, (layer.type,), 0.0, 0.0)
                state.replaced.append(same)
            continue
        try:
            if unknown:
                raise layer.unsupported(f"unknown layer type{published(layer.params.type)}")
            check_read(layer, kind, state.net.graph.ignored_fields)
            check_decided(layer)
            substitute = replacement(state.net, layer, used_names, limits)
            comparison = _compare(state, layer, substitute, limits, place)
            changes = substitute.edits(state.document)
        except UnsupportedError as error:
            reason = " ".join(entry.message for entry in error.diagnostics)
            state.retained.append(RetainedLayer(layer.name, layer.params.type, place, reason))
            continue
        state.again = len(changes) > 1
        if state.again and edits:  # another edit may replace the text that holds a renamed blob
            break
        edits += changes
        state.replaced.append(comparison)
        used_names |= substitute.names
        state.needed += substitute.unfilled()
        state.weights.pop(layer.name, None)
        state.weights |= substitute.new_weights
        if state.again:
            break
    return edits


def _read_upgraded(path: str | Path) -> prototxt.Document:
    """Read a net and upgrade it to the current format.

    Every layer of the result has its place in the text of the result.
    """
    document = prototxt.read(path)
    upgraded = upgrade(document)
    if document.has("layers") or document.has("input") or upgraded is not document:
        return _parse_again(prototxt.write(upgraded), str(path))
    return document


def _parse_again(text: str, name: str) -> prototxt.Document:
    """Parse a text that was generated from a parsed one, without repeating its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        return prototxt.parse(text, name)


def _check_types(types: Sequence[str], net: Net) -> None:
    for name in types:
        if not any(layer.type == name for layer in net.layers):
            advice = did_you_mean(name, {layer.type for layer in net.layers})
            raise InputError("no layer has this type", subject=name, advice=advice)


def _compare(
    state: _State, layer: Layer, substitute: Stock, limits: Limits, place: str
) -> Replacement:
    """Run the layer and its replacement on the same random data, and compare the outputs. Layers with
    equal parameters, shapes and weights give equal numbers, so one of them is run.

    Raises:
        MismatchError: the outputs differ.
    """
    shapes = {bottom: substitute.shape(bottom) for bottom in layer.bottoms}
    key = _proof_key(state.net, layer, shapes)
    if key not in state.proofs:
        state.proofs[key] = _errors(state.net, layer, shapes, limits)
    error, largest = state.proofs[key]
    types = tuple(one.type for one in substitute.layers)
    if error > TOLERANCE * max(1.0, largest):
        raise MismatchError(
            f"the output of its replacement ({', '.join(types)}) differs by {error:.3g}, but at "
            f"most {TOLERANCE * max(1.0, largest):.3g} is allowed",
            where=place,
            subject=layer.subject,
        )
    return Replacement(layer.name, layer.type, place, types, error, largest)


def _proof_key(net: Net, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[object, ...]:
    """Everything that the numbers of a comparison depend on."""
    import hashlib

    fields = [field for field in layer.params.fields if field.name not in ("name", "bottom", "top")]
    names = list(dict.fromkeys((*layer.bottoms, *layer.tops)))
    weights = net.weights.get(layer.name) or ()
    return (
        prototxt.write(Message(layer.params.kind, fields)),
        tuple(map(names.index, (*layer.bottoms, *layer.tops))),
        tuple(shapes.values()),
        tuple(net.parameter_shapes[layer.name] or ()),
        tuple(hashlib.sha256(blob.tobytes()).digest() for blob in weights),
    )


def _errors(
    net: Net, layer: Layer, shapes: Mapping[str, Shape], limits: Limits
) -> tuple[float, float]:
    """Run a layer and its replacement; returns the largest difference and the largest value."""
    import numpy as np

    from protogen.running.runtime import run

    random = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.float32]] = {
        bottom: (3 * random.standard_normal(shape)).astype(np.float32)
        for bottom, shape in shapes.items()
    }
    blobs = net.parameter_shapes[layer.name] or ()
    weights = net.weights.get(layer.name) or [
        random.uniform(0.5, 1.5, shape).astype(np.float32) for shape in blobs
    ]
    original = _single_layer_net(layer, feeds, {layer.name: weights} if blobs else {})
    copy = replacement(original, original.layers[-1], (), limits)
    stock = Net(_document(feeds, copy.layers), copy.new_weights)
    expected, actual = (run(one, feeds)[_TOP].astype(np.float64) for one in (original, stock))
    same_shape = expected.shape == actual.shape
    error = float(np.abs(expected - actual).max(initial=0)) if same_shape else float("inf")
    return error, float(np.abs(expected).max(initial=0))


_TOP = "top of the layer"  # a name that no blob of a net has


def _single_layer_net(
    layer: Layer,
    feeds: Mapping[str, NDArray[np.float32]],
    weights: Weights,
) -> Net:
    """Return a net of only this layer, active in every phase, whose top is ``_TOP``."""
    fields = [
        Field(item.name, _TOP if item.name == "top" else item.value, item.type)
        for item in layer.params.fields
        if item.name not in ("include", "exclude", "phase")
    ]
    document = _document(feeds, [Message(layer.params.kind, fields)])
    return Net(document, dict(weights), dialect=layer.dialect)


def _document(
    feeds: Mapping[str, NDArray[np.float32]], layers: Sequence[Message]
) -> prototxt.Document:
    inputs = [
        Message.make(
            "LayerParameter",
            name=name,
            type="Input",
            top=[name],
            input_param={"shape": [{"dim": list(array.shape)}]},
        )
        for name, array in feeds.items()
    ]
    net = Message.make("NetParameter", layer=[*inputs, *layers])
    return _parse_again(prototxt.write(net), "a net of one layer")
