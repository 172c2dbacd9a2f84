"""Layers of forks to stock layers that compute the same, each replacement proved by running it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import (
    Edit,
    InputError,
    MismatchError,
    ProtogenWarning,
    UnsupportedError,
)
from protogen.formats import files, prototxt
from protogen.formats.message import Field, Message
from protogen.formats.prototxt.edits import apply_edits
from protogen.generate.stock import Stock, replacement
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.reading import check_read, of_forks, unread
from protogen.net.net import Net
from protogen.net.upgrade import upgrade
from protogen.toolchains.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Weights

TOLERANCE = 1e-5  # of the largest value: float32 sums in another order


@dataclass(frozen=True, slots=True)
class Replacement:
    """A fork's layer and the types that stand for it now. ``error`` is the largest difference of
    their outputs on random data, ``largest`` the largest value."""

    layer: str
    type: str
    place: str
    becomes: tuple[str, ...]
    error: float
    largest: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A layer that stock Caffe does not have, and why it is still there."""

    layer: str
    type: str
    place: str
    reason: str


@dataclass(frozen=True)
class Rewritten:
    """A net in stock layers as far as they go."""

    text: str
    net: Net
    replaced: tuple[Replacement, ...]
    kept: tuple[Kept, ...]
    weights_needed: tuple[str, ...] = ()  # new layers that no filler of Caffe can fill
    bom: bool = False

    def save(self, prototxt_path: str | Path, caffemodel: str | Path | None = None) -> None:
        """Writes the text and, if ``caffemodel`` is given, the weights.

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
        """Writes the weights alone.

        Raises:
            InputError: the path cannot be written, or there are no weights.
        """
        with ExitStack() as stack:
            self._write_weights(stack, caffemodel)

    def _write_weights(self, stack: ExitStack, path: str | Path) -> None:
        from protogen.formats.caffemodel import write_weights

        if not self.net.weights:
            raise InputError(
                "the net has no weights to write", where=str(path), advice="Give its caffemodel."
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
    phase: str = "TEST",
    identities: Sequence[str] = (),
    ignored_fields: Sequence[str] = (),
) -> Rewritten:
    """The net with its forks' layers in stock BVLC layers that compute the same.

    Text and comments of the other layers stay as they are, and blobs keep their names. Each
    replacement is run beside the layer that it stands for.

    Args:
        caffemodel: weights to take along; layers with weights of their own need it.
        types: only layers of these types.
        limits: what a target takes, for the layers that resize.
        input_shapes: shapes by blob name that replace what the net says.
        phase: layers of the other phase stay as they are.
        identities: names or types of unknown layers whose top has their first bottom's shape, so
            that shapes behind them are known; they stay as they are.
        ignored_fields: see ``convert``; a layer that sets another field that protogen does not
            read stays as it is.

    Raises:
        InputError: a file is missing or wrong, or weights do not fit the net.
        MismatchError: a replacement computes something else (a defect of protogen's).
    """
    document = _modern(path)
    found = None
    if caffemodel is not None:
        from protogen.formats.weightfiles import read_any

        found = read_any(caffemodel)

    def net_of(document: prototxt.Document, weights: Weights | None = None) -> Net:
        return Net(
            document,
            weights,
            phase=phase,
            input_shapes=input_shapes,
            tolerant=True,
            identities=identities,
            ignored_fields=ignored_fields,
        )

    state = _State(document, net_of(document))
    if found is not None:
        state.net.take_weights(found)
    _check_types(types, state.net)
    places = {layer.name: str(layer.place) for layer in state.net.layers}
    while True:
        edits = _pass(state, types, limits, places)
        text = apply_edits(state.document.source.text, edits)
        document = upgrade(_parse_again(text, f"{path} in stock layers"))
        state.document, state.net = document, net_of(document, state.weights)
        if not state.again:
            break
    return Rewritten(
        text,
        state.net,
        tuple(state.replaced),
        tuple(state.kept),
        tuple(state.needed),
        document.source.bom,
    )


class _State:
    """How far the rewriting of a net has come."""

    def __init__(self, document: prototxt.Document, net: Net) -> None:
        self.document = document
        self.net = net
        self.weights = net.weights
        self.replaced: list[Replacement] = []
        self.kept: list[Kept] = []
        self.needed: list[str] = []
        self.again = False


def _pass(
    state: _State, types: Sequence[str], limits: Limits, places: Mapping[str, str]
) -> list[Edit]:
    """Replaces what it can. A layer whose replacement renames a blob is alone in its pass, and the
    text is read again behind it (``again``)."""
    layers = state.document.all("layer")
    taken = {name for item in layers for name in (item.value.name, *item.value.top)}
    kept = {one.layer for one in state.kept}
    edits: list[Edit] = []
    state.again = False
    for layer in state.net.layers:
        kind = kind_of(layer)
        unknown = layer.type != layer.params.type  # the user says it is an identity
        stock = kind is not None and kind.stock and not unknown
        stock = stock and not (kind and of_forks(layer.params, kind))
        if (types and layer.type not in types) or layer.name in kept:
            continue
        if stock and not any(unread(layer.params, kind, state.net.graph.ignored_fields)):
            continue
        place = places.get(layer.name, str(layer.place))
        try:
            if unknown:
                raise layer.unsupported("protogen does not know this layer type")
            check_read(layer, kind, state.net.graph.ignored_fields)
            made = replacement(state.net, layer, taken, limits)
            proof = _proof(state.net, layer, made, limits, place)
            changes = made.edits(state.document)
        except UnsupportedError as error:
            reason = " ".join(one.message for one in error.diagnostics)
            state.kept.append(Kept(layer.name, layer.params.type, place, reason))
            continue
        state.again = len(changes) > 1
        if state.again and edits:  # a name may stand in text that is replaced already
            break
        edits += changes
        state.replaced.append(proof)
        taken |= made.names
        state.needed += made.unfilled()
        state.weights.pop(layer.name, None)
        state.weights |= made.made
        if state.again:
            break
    return edits


def _modern(path: str | Path) -> prototxt.Document:
    """The net in today's form, every layer with its place in the document's own text."""
    document = prototxt.read(path)
    modern = upgrade(document)
    if document.has("layers") or document.has("input") or modern is not document:
        return _parse_again(prototxt.write(modern), str(path))
    return document


def _parse_again(text: str, name: str) -> prototxt.Document:
    """Parses a text made from one that was parsed: what it warns of is known already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        return prototxt.parse(text, name)


def _check_types(types: Sequence[str], net: Net) -> None:
    for name in types:
        if not any(layer.type == name for layer in net.layers):
            raise InputError("the net has no layer of this type", subject=name)


def _proof(net: Net, layer: Layer, made: Stock, limits: Limits, place: str) -> Replacement:
    """Runs the layer and its replacement alone, on the same random data.

    Raises:
        MismatchError: they differ.
    """
    import numpy as np

    from protogen.running.runtime import run

    random = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.float32]] = {}
    for bottom in layer.bottoms:
        shape = made.shape(bottom)
        feeds[bottom] = (3 * random.standard_normal(shape)).astype(np.float32)
    blobs = net.parameter_shapes[layer.name] or ()
    weights = net.weights.get(layer.name) or [
        random.uniform(0.5, 1.5, shape).astype(np.float32) for shape in blobs
    ]
    alone = _alone(layer, feeds, {layer.name: weights} if blobs else {})
    again = replacement(alone, alone.layers[-1], (), limits)
    stock = Net(_document(feeds, again.layers), again.made)
    wanted, found = (run(one, feeds)[_TOP].astype(np.float64) for one in (alone, stock))
    same = wanted.shape == found.shape
    error = float(np.abs(wanted - found).max(initial=0)) if same else float("inf")
    largest = float(np.abs(wanted).max(initial=0))
    types = tuple(one.type for one in made.layers)
    if error > TOLERANCE * max(1.0, largest):
        raise MismatchError(
            f"its replacement ({', '.join(types)}) differs by {error:.3g}",
            where=place,
            subject=layer.subject,
        )
    return Replacement(layer.name, layer.type, place, types, error, largest)


_TOP = "top of the layer"  # no net calls a blob so


def _alone(
    layer: Layer,
    feeds: Mapping[str, NDArray[np.float32]],
    weights: Weights,
) -> Net:
    """A net of the layer alone, in every phase, its top with a name of its own."""
    fields = [
        Field(item.name, _TOP if item.name == "top" else item.value, item.type)
        for item in layer.params.fields
        if item.name not in ("include", "exclude", "phase")
    ]
    return Net(_document(feeds, [Message(layer.params.kind, fields)]), dict(weights))


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
    whole = Message.make("NetParameter", layer=[*inputs, *layers])
    return _parse_again(prototxt.write(whole), "a layer alone")
