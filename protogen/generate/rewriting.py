"""Replace layers of forks by stock layers, and run each replacement to check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from protogen._late import Shown
from protogen.errors import (
    InputError,
    MismatchError,
    UnsupportedError,
    did_you_mean,
)
from protogen.formats import prototxt
from protogen.formats.schema.dialect import published
from protogen.generate.proofs import Proofs, parse_again
from protogen.generate.replacing import Replacing
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
        self._save(prototxt_path, caffemodel)

    def save_weights(self, caffemodel: str | Path) -> None:
        """Write only the weights.

        Raises:
            InputError: the path cannot be written, or there are no weights.
        """
        self._save(None, caffemodel)

    def _save(self, prototxt_path: str | Path | None, caffemodel: str | Path | None) -> None:
        from protogen.formats.caffemodel import write_pair

        if caffemodel is not None and not self.net.weights:
            raise InputError(
                "the net has no weights to write",
                where=str(caffemodel),
                advice="Give the caffemodel of the net.",
            )
        mark = b"\xef\xbb\xbf" if self.bom else b""
        text = mark + self.text.encode("utf-8", "surrogateescape")
        with ExitStack() as stack:
            write_pair(stack, (prototxt_path, text), caffemodel, self.net.name, self.net.entries())


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

        weights_of_file = read_any(caffemodel, document.source)

    def net_of(document: prototxt.Document, weights: Weights | None = None) -> Net:
        return Net(
            document,
            weights,
            input_shapes=input_shapes,
            tolerant=True,
            **reading,
        )

    state = _State(document, net_of(document), limits)
    if weights_of_file is not None:
        state.net.take_weights(weights_of_file)
    _check_types(types, state.net)
    text = _replace(state, types)
    document = upgrade(parse_again(text, f"{path} with stock layers"))
    state.net = net_of(document, state.weights)
    return Rewritten(
        text,
        state.net,
        tuple(state.replaced),
        tuple(state.retained),
        tuple(state.needed),
        state.document.source.bom,
    )


class _State:
    """State of a rewrite: the current net, and what was replaced, retained and needed so far."""

    def __init__(self, document: prototxt.Document, net: Net, limits: Limits) -> None:
        self.document = document
        self.net = net
        self.limits = limits
        self.weights = net.weights
        self.replaced: list[Replacement] = []
        self.retained: list[RetainedLayer] = []
        self.needed: list[str] = []
        self.proofs = Proofs(limits)


def _replace(state: _State, types: Sequence[str]) -> str:
    """Replace as many layers as possible, and return the text of the net with the others."""
    layers = state.document.all("layer")
    used_names = {name for item in layers for name in (item.value.name, *item.value.top)}
    replacing = Replacing(state.document)
    for layer in state.net.layers:
        kind = kind_of(layer)
        unknown = layer.type != layer.params.type  # the user declared it an identity
        is_stock = kind is not None and kind.stock and not unknown
        is_stock = is_stock and not (kind and of_forks(layer.params, kind))
        if types and layer.type not in types:
            continue
        place = str(layer.place)
        if is_stock and not any(unread(layer.params, kind, state.net.graph.ignored_fields)):
            if kind is not None and (idle := idle_forks(layer.params, kind)):
                substitute = Stock(state.net, layer, used_names, state.limits)
                substitute.retype(layer.type, **idle)
                replacing.replace(layer.params, substitute)
                same = Replacement(layer.name, layer.type, place, (layer.type,), 0.0, 0.0)
                state.replaced.append(same)
            continue
        try:
            if unknown:
                raise layer.unsupported(f"unknown layer type{published(layer.params.type)}")
            check_read(layer, kind, state.net.graph.ignored_fields)
            check_decided(layer)
            substitute = replacement(state.net, layer, used_names, state.limits)
            comparison = _compare(state, layer, substitute)
            replacing.replace(layer.params, substitute)
        except UnsupportedError as error:
            reason = " ".join(entry.message for entry in error.diagnostics)
            state.retained.append(RetainedLayer(layer.name, layer.params.type, place, reason))
            continue
        state.replaced.append(comparison)
        used_names |= substitute.names
        state.needed += substitute.unfilled()
        state.weights.pop(layer.name, None)
        state.weights |= substitute.new_weights
    return replacing.text()


def _read_upgraded(path: str | Path) -> prototxt.Document:
    """Read a net and upgrade it to the current format.

    Every layer of the result has its place in the text of the result.
    """
    document = prototxt.read(path)
    upgraded = upgrade(document)
    if document.has("layers") or document.has("input") or upgraded is not document:
        return parse_again(prototxt.write(upgraded), str(path))
    return document


def _check_types(types: Sequence[str], net: Net) -> None:
    for name in types:
        if not any(layer.type == name for layer in net.layers):
            advice = did_you_mean(name, {layer.type for layer in net.layers})
            raise InputError("no layer has this type", subject=name, advice=advice)


def _compare(state: _State, layer: Layer, substitute: Stock) -> Replacement:
    """Run the layer and its replacement on the same random data, and compare the outputs.

    Raises:
        MismatchError: the outputs differ.
    """
    shapes = {bottom: substitute.shape(bottom) for bottom in layer.bottoms}
    error, largest = state.proofs.errors(state.net, layer, shapes)
    types = tuple(one.type for one in substitute.layers)
    if error > TOLERANCE * max(1.0, largest):
        raise MismatchError(
            f"the output of its replacement ({', '.join(types)}) differs by {error:.3g}, but at "
            f"most {TOLERANCE * max(1.0, largest):.3g} is allowed",
            where=layer.place,
            subject=layer.subject,
        )
    return Replacement(layer.name, layer.type, str(layer.place), types, error, largest)
