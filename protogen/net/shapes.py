"""Shape inference for blobs and parameters, layer by layer.

If a net sets everything about its images except the number of channels, this number comes from
the weights. Without weights protogen assumes three channels and warns.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from protogen.errors import Diagnostic, InputError, ProtogenWarning, quantity
from protogen.formats.message import Message
from protogen.formats.schema.dialect import published
from protogen.geometry import Shape, shape_text
from protogen.layers import LayerType, kind_of
from protogen.layers.base import guarded
from protogen.layers.demands import refusals
from protogen.layers.graph import Layer

MAX_COUNT = 2**31 - 1  # Caffe counts the values of a blob in an int
MAX_AXES = 32  # of a blob, in Caffe
CHANNELS = 3  # of pictures if neither the net nor the weights determine the number
PROBES = (12, 24)  # trial numbers of channels, divisible by most group numbers

Blobs = dict[str, tuple[Shape, ...] | None]


@dataclass(frozen=True, slots=True)
class Inferred:
    """Shapes by value, and shapes of parameter blobs by layer.

    Attributes:
        errors: layers with invalid shapes.
        refused: layers that Caffe refuses although their shapes are known.
        unknown: warnings for layers of unknown type.
        assumed: properties that the net does not set and that were assumed.
    """

    shapes: dict[str, Shape | None] = field(default_factory=dict)
    parameters: Blobs = field(default_factory=dict)
    errors: list[InputError] = field(default_factory=list)
    refused: list[InputError] = field(default_factory=list)
    unknown: list[ProtogenWarning] = field(default_factory=list)
    assumed: tuple[Diagnostic, ...] = ()


def infer(
    layers: Sequence[Layer],
    overrides: Mapping[str, Shape],
    weights: Mapping[str, Sequence[Shape]],
) -> Inferred:
    """Infer the shapes of all values.

    Args:
        overrides: shapes by blob that replace those of the net.
        weights: shapes of parameter blobs by layer, from a weight file.
    """
    from_weights: dict[str, int] = {}
    assumed: dict[str, int] = {}
    open_ = [layer for layer in layers if _is_open(layer, overrides)]
    for layer in open_:
        channels = _channels_of(layer, layers, overrides, weights) if weights else None
        (from_weights if channels else assumed)[layer.writes[0]] = channels or CHANNELS
    if assumed:
        inferred = _walk(layers, overrides, from_weights | assumed)
        if not inferred.errors and _shares(layers, inferred.parameters):
            notes = (_note(x, inferred) for x in open_ if x.writes[0] in assumed)
            return replace(inferred, assumed=tuple(notes))
    return _walk(layers, overrides, from_weights)


def _is_open(layer: Layer, overrides: Mapping[str, Shape]) -> bool:
    """Return whether the net sets the shape of this data layer except its channels."""
    kind = kind_of(layer)
    if kind is None or not layer.tops or layer.tops[0] in overrides:
        return False
    return bool(kind.assumed(layer, CHANNELS))


def _note(layer: Layer, inferred: Inferred) -> Diagnostic:
    shape = inferred.shapes[layer.writes[0]] or ()
    lengths = ",".join(str(n) if axis != 1 else "C" for axis, n in enumerate(shape))
    return Diagnostic(
        f"{CHANNELS} channels are assumed: the net does not set the number of channels",
        where=layer.place,
        subject=layer.subject,
        advice=f"Give --input-shape {layer.tops[0]}={lengths} if the number is different.",
        severity="warning",
        layer=layer.name,
    )


def _shares(layers: Sequence[Layer], parameters: Blobs) -> bool:
    """Return whether all blobs that share a name have equal shapes."""
    refused: list[InputError] = []
    owners(layers, parameters, refused)
    return not refused


def _channels_of(
    layer: Layer,
    layers: Sequence[Layer],
    overrides: Mapping[str, Shape],
    weights: Mapping[str, Sequence[Shape]],
) -> int | None:
    """Return the number of channels of a data layer for which the first weights that depend on it
    have the shapes in the file; None if no number matches.

    The size of a parameter blob is a linear function of the number of channels. Two trial numbers
    determine this function.
    """
    low, high = PROBES
    first, second = (_walk(layers, overrides, {layer.writes[0]: n}).parameters for n in PROBES)
    for name, stored in weights.items():
        triples = zip(first.get(name) or (), second.get(name) or (), stored, strict=False)
        for small, large, actual in triples:
            step = math.prod(large) - math.prod(small)
            if not step:
                continue
            count, rest = divmod((math.prod(actual) - math.prod(small)) * (high - low), step)
            channels = low + count
            if rest or channels < 1:
                return None
            shapes = _walk(layers, overrides, {layer.writes[0]: channels}).parameters.get(name)
            return channels if shapes and _fits(stored, shapes) else None
    return None


def _fits(stored: Sequence[Shape], expected: Sequence[Shape]) -> bool:
    """Return whether the shapes are equal, apart from the leading axes of length 1 in old files."""
    return [_bare(shape) for shape in stored] == [_bare(shape) for shape in expected]


def _bare(shape: Shape) -> Shape:
    first = next((axis for axis, length in enumerate(shape) if length != 1), len(shape))
    return tuple(shape[first:])


def _walk(
    layers: Sequence[Layer], overrides: Mapping[str, Shape], channels: Mapping[str, int]
) -> Inferred:
    """Infer all shapes. ``channels``: number of channels of data layers, by their first value."""
    inferred = Inferred()
    types: set[str] = set()
    # Deep nets repeat the same layers, so the shapes of each are computed and checked once.
    accepted: dict[Hashable, tuple[list[Shape | None], tuple[Shape, ...]]] = {}
    for layer in layers:
        kind = kind_of(layer)
        if kind is None and layer.type not in types:
            types.add(layer.type)
            inferred.unknown.append(
                ProtogenWarning(
                    f"unknown layer type{published(layer.type)}; the shapes after it are unknown",
                    where=layer.place,
                    subject=layer.subject,
                )
            )
        count = channels.get(layer.writes[0]) if layer.writes else None
        bottoms = [shape for read in layer.reads if (shape := inferred.shapes[read]) is not None]
        key = None
        if kind is not None and count is None and overrides.keys().isdisjoint(layer.tops):
            key = _key(layer, kind, bottoms)
        known = accepted.get(key) if key is not None else None
        try:
            tops, blobs = known or _shapes(layer, kind, bottoms, overrides, count)
            if blobs and inferred.parameters.get(layer.name, blobs) != blobs:
                raise layer.error(
                    "an earlier layer has the same name, but blobs of other shapes",
                    "Rename one: Caffe matches weights by layer name.",
                )
        except InputError as error:
            inferred.errors.append(error)
            tops, blobs = [None] * len(layer.tops), None
        else:
            is_new = known is None and len(bottoms) == len(layer.reads)
            if kind is not None and blobs is not None and is_new:
                refused = list(refusals(layer, kind, bottoms, tops, blobs))
                inferred.refused.extend(refused)
                if key is not None and not refused:
                    accepted[key] = tops, blobs
        inferred.shapes.update(zip(layer.writes, tops, strict=True))
        inferred.parameters[layer.name] = blobs
    return inferred


def _key(layer: Layer, kind: LayerType, bottoms: Sequence[Shape]) -> Hashable | None:
    """Return everything that the shapes of a layer and their checks depend on; None for a type where that
    may be more: data layers, layers of forks and those of the user."""
    if not kind.stock or kind.user_defined or kind.is_source or layer.type == "Python":
        return None
    content = []
    for item in layer.params.fields:
        if item.name == "blobs":
            return None
        if item.name not in ("name", "bottom", "top"):
            content.append((item.name, _content(item.value)))
    state = (layer.type, layer.phase, layer.dialect, layer.candidates)
    return (*state, len(layer.bottoms), len(layer.tops), tuple(bottoms), tuple(content))


def _content(value: Any) -> Hashable:
    if isinstance(value, Message):
        return tuple([(item.name, _content(item.value)) for item in value.fields])
    return value if isinstance(value, (str, bytes, int, float)) else repr(value)


def _shapes(
    layer: Layer,
    kind: LayerType | None,
    bottoms: Sequence[Shape],
    overrides: Mapping[str, Shape],
    channels: int | None,
) -> tuple[list[Shape | None], tuple[Shape, ...] | None]:
    """Return the shapes of a layer's tops and of its parameter blobs (None: unknown).

    Args:
        bottoms: the shapes of the layer's bottoms that are known.
    """
    replacements = [overrides.get(top) for top in layer.tops]
    if kind is None or len(bottoms) < len(layer.reads):
        return replacements, None
    tops: list[Shape | None]
    with guarded(layer, bottoms):
        tops = list(kind.assumed(layer, channels) if channels else kind.shapes(layer, bottoms))
        blobs = tuple(kind.blobs(layer, bottoms))
    if kind.is_loss:
        del tops[len(layer.tops) :]
    if len(tops) != len(layer.tops):
        raise layer.error(f"expected {quantity(len(tops), 'top')}, got {len(layer.tops)}")
    _check_loss_weights(layer, kind)
    if overrides:
        pairs = zip(replacements, tops, strict=True)
        tops = [new if new is not None else old for new, old in pairs]
    tops = kind.complete(layer, tops, replacements)
    for index, top in enumerate(tops):
        if top is not None and not _is_small(top):
            _check_count(layer, f'top "{layer.tops[index]}"', top)
    for index, shape in enumerate(blobs):
        if not _is_small(shape):
            _check_count(layer, f"blob {index}", shape)
    return tops, blobs


def _is_small(shape: Shape) -> bool:
    """Return whether a blob can have this shape, which has no length of 0."""
    few = len(shape) <= MAX_AXES and math.prod(shape) <= MAX_COUNT
    return few and min(shape, default=1) > 0


def _check_loss_weights(layer: Layer, kind: LayerType) -> None:
    """Check the number of loss weights (Caffe: Layer::SetLossWeights). A loss layer without
    loss_weight has one weight of 1."""
    if not kind.is_loss and not layer.params.has("loss_weight"):
        return
    count = len(layer.params.loss_weight) or int(kind.is_loss)
    tops = max(len(layer.tops), int(kind.is_loss))
    if count and count != tops:
        raise layer.error(
            f"expected {tops} loss_weight (the number of tops), got {count}",
            "Give one loss_weight for each top (0: the top is not a loss).",
        )


def _check_count(layer: Layer, what: str, shape: Shape) -> None:
    if len(shape) > MAX_AXES:
        raise layer.error(f"its {what} would have {len(shape)} axes, the limit is {MAX_AXES}")
    count = 1
    for length in shape:
        count *= length
        if length < 0 or count > MAX_COUNT:
            raise layer.error(
                f"its {what} would have shape {shape_text(shape)}: more than the {MAX_COUNT} values "
                "that a blob can hold",
                "Use smaller sizes.",
            )


def owners(
    layers: Sequence[Layer], parameters: Blobs, refused: list[InputError]
) -> dict[tuple[str, int], tuple[str, int]]:
    """Return the owners of blobs that share a ``param { name }``, by layer name and blob index.
    The first layer that uses the name is the owner.

    Args:
        refused: gets an error for each blob whose shape or learning rate differs from the owner's.
    """
    first: dict[str, tuple[Layer, int]] = {}
    rates: dict[tuple[str, str], tuple[Layer, float]] = {}
    owner_of = {}
    for layer in layers:
        if not layer.params.has("param"):
            continue
        for index, spec in enumerate(layer.params.param):
            if not spec.name:
                continue
            owner, at = first.setdefault(spec.name, (layer, index))
            owner_of[layer.name, index] = (owner.name, at)
            refused.extend(_other_rates(layer, spec, rates))
            own, owned = parameters[layer.name], parameters[owner.name]
            if own is None or owned is None or index >= len(own) or at >= len(owned):
                continue
            a, b = own[index], owned[at]
            permissive = spec.share_mode == "PERMISSIVE"
            if math.prod(a) != math.prod(b) if permissive else a != b:
                error = layer.error(
                    f"its blob {index} has shape {shape_text(a)}, but the shared param "
                    f'"{spec.name}" has shape {shape_text(b)} in {owner.subject}'
                )
                refused.append(error)
    return owner_of


def _other_rates(
    layer: Layer, spec: Message, rates: dict[tuple[str, str], tuple[Layer, float]]
) -> Iterator[InputError]:
    for name in ("lr_mult", "decay_mult"):
        if not spec.has(name):
            continue
        rate = float(getattr(spec, name))
        other, first = rates.setdefault((spec.name, name), (layer, rate))
        if first != rate:
            yield layer.error(
                f'the {name} of the shared param "{spec.name}" is {rate:g}, but {first:g} in '
                f"{other.subject}",
                "Set it only once, or to the same value.",
            )
