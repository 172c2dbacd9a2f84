"""Shapes of a net's blobs and parameters, layer after layer.

Pictures of which a net says all but the number of channels take it from the weights, or have three:
that is assumed, and told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from protogen.errors import Diagnostic, InputError, ProtogenWarning
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers import LayerType, kind_of
from protogen.layers.base import guarded
from protogen.layers.demands import refusals
from protogen.layers.graph import Layer

MAX_COUNT = 2**31 - 1  # Caffe counts a blob's values in an int
MAX_AXES = 32  # of a blob, in Caffe
CHANNELS = 3  # of pictures of which neither the net nor weights say how many
PROBES = (12, 24)  # numbers of channels that most groups divide

Blobs = dict[str, tuple[Shape, ...] | None]


@dataclass(frozen=True, slots=True)
class Inferred:
    """Shapes by value, and those of parameter blobs by layer. ``errors`` are layers whose shapes do
    not fit, ``refused`` those that Caffe refuses although their shapes are known; ``assumed`` says
    what the net leaves open."""

    shapes: dict[str, Shape | None] = field(default_factory=dict)
    parameters: Blobs = field(default_factory=dict)
    errors: list[InputError] = field(default_factory=list)
    refused: list[InputError] = field(default_factory=list)
    unknown: list[ProtogenWarning] = field(default_factory=list)
    assumed: tuple[Diagnostic, ...] = ()


def infer(
    layers: Sequence[Layer],
    given: Mapping[str, Shape],
    weights: Mapping[str, Sequence[Shape]],
) -> Inferred:
    """The shapes of all values.

    Args:
        given: shapes by blob that replace what the net says.
        weights: shapes of parameter blobs by layer, as a file has them.
    """
    told: dict[str, int] = {}
    assumed: dict[str, int] = {}
    open_ = [layer for layer in layers if _is_open(layer, given)]
    for layer in open_:
        found = _channels_of(layer, layers, given, weights) if weights else None
        (told if found else assumed)[layer.writes[0]] = found or CHANNELS
    if assumed:
        made = _walk(layers, given, told | assumed)
        if not made.errors and _shares(layers, made.parameters):
            notes = (_note(x, made) for x in open_ if x.writes[0] in assumed)
            return replace(made, assumed=tuple(notes))
    return _walk(layers, given, told)


def _is_open(layer: Layer, given: Mapping[str, Shape]) -> bool:
    kind = kind_of(layer)
    if kind is None or not layer.tops or layer.tops[0] in given:
        return False
    return bool(kind.assumed(layer, CHANNELS))


def _note(layer: Layer, made: Inferred) -> Diagnostic:
    shape = made.shapes[layer.writes[0]] or ()
    lengths = ",".join(str(n) if axis != 1 else "C" for axis, n in enumerate(shape))
    return Diagnostic(
        f"{CHANNELS} channels are assumed: the net leaves them to the data",
        where=layer.place,
        subject=layer.subject,
        advice=f"Give --input {layer.tops[0]}={lengths} where there are others.",
        severity="warning",
        layer=layer.name,
    )


def _shares(layers: Sequence[Layer], parameters: Blobs) -> bool:
    """Whether blobs that share a name fit each other."""
    refused: list[InputError] = []
    owners(layers, parameters, refused)
    return not refused


def _channels_of(
    layer: Layer,
    layers: Sequence[Layer],
    given: Mapping[str, Shape],
    weights: Mapping[str, Sequence[Shape]],
) -> int | None:
    """The number of a data layer's channels with which the first weights that depend on it have
    the shapes of the file; None where there is none.

    A blob's size grows evenly with the channels: two numbers, tried, tell how.
    """
    low, high = PROBES
    first, second = (_walk(layers, given, {layer.writes[0]: n}).parameters for n in PROBES)
    for name, stored in weights.items():
        pairs = zip(first.get(name) or (), second.get(name) or (), stored, strict=False)
        for small, large, wanted in pairs:
            step = math.prod(large) - math.prod(small)
            if not step:
                continue
            count, rest = divmod((math.prod(wanted) - math.prod(small)) * (high - low), step)
            channels = low + count
            if rest or channels < 1:
                return None
            made = _walk(layers, given, {layer.writes[0]: channels}).parameters.get(name)
            return channels if made and _fits(stored, made) else None
    return None


def _fits(stored: Sequence[Shape], wanted: Sequence[Shape]) -> bool:
    """Equal shapes, but for the leading axes of length 1 that old files have."""
    return [_bare(shape) for shape in stored] == [_bare(shape) for shape in wanted]


def _bare(shape: Shape) -> Shape:
    first = next((axis for axis, length in enumerate(shape) if length != 1), len(shape))
    return tuple(shape[first:])


def _walk(
    layers: Sequence[Layer], given: Mapping[str, Shape], channels: Mapping[str, int]
) -> Inferred:
    """``channels``: how many the pictures of a data layer have, by its first value."""
    made = Inferred()
    types: set[str] = set()
    for layer in layers:
        kind = kind_of(layer)
        if kind is None and layer.type not in types:
            types.add(layer.type)
            problem = "protogen does not know this type; shapes after it are unknown"
            made.unknown.append(ProtogenWarning(problem, where=layer.place, subject=layer.subject))
        count = channels.get(layer.writes[0]) if layer.writes else None
        try:
            tops, blobs = _shapes(layer, kind, made.shapes, given, count)
            if blobs and made.parameters.get(layer.name, blobs) != blobs:
                raise layer.error(
                    "a layer before it has this name, and blobs of other shapes",
                    "Rename one: a caffemodel finds weights by name.",
                )
        except InputError as error:
            made.errors.append(error)
            tops, blobs = [None] * len(layer.tops), None
        else:
            made.refused.extend(_refusals(layer, kind, made.shapes, tops, blobs))
        made.shapes.update(zip(layer.writes, tops, strict=True))
        made.parameters[layer.name] = blobs
    return made


def _shapes(
    layer: Layer,
    kind: LayerType | None,
    shapes: Mapping[str, Shape | None],
    given: Mapping[str, Shape],
    channels: int | None,
) -> tuple[list[Shape | None], tuple[Shape, ...] | None]:
    asked = [given.get(top) for top in layer.tops]
    bottoms = [shape for read in layer.reads if (shape := shapes[read]) is not None]
    if kind is None or len(bottoms) < len(layer.reads):
        return asked, None
    tops: list[Shape | None]
    with guarded(layer, bottoms):
        found = kind.assumed(layer, channels) if channels else kind.shapes(layer, bottoms)
        tops = list(found)
        blobs = tuple(kind.blobs(layer, bottoms))
    if kind.is_loss:
        del tops[len(layer.tops) :]
    if len(tops) != len(layer.tops):
        raise layer.error(f"has {len(layer.tops)} tops, but makes {len(tops)}")
    _check_loss_weights(layer, kind)
    tops = [new if new is not None else old for new, old in zip(asked, tops, strict=True)]
    tops = kind.complete(layer, tops, asked)
    for top, shape in zip(layer.tops, tops, strict=True):
        _check_count(layer, f'top "{top}"', shape or ())
    for index, shape in enumerate(blobs):
        _check_count(layer, f"blob {index}", shape)
    return tops, blobs


def _refusals(
    layer: Layer,
    kind: LayerType | None,
    shapes: Mapping[str, Shape | None],
    tops: Sequence[Shape | None],
    blobs: Sequence[Shape] | None,
) -> Iterator[InputError]:
    bottoms = [shape for read in layer.reads if (shape := shapes[read]) is not None]
    if kind is not None and blobs is not None and len(bottoms) == len(layer.reads):
        yield from refusals(layer, kind, bottoms, tops, blobs)


def _check_loss_weights(layer: Layer, kind: LayerType) -> None:
    """Caffe: Layer::SetLossWeights, after a loss has taken a weight of 1 where none is given."""
    count = len(layer.params.loss_weight) or int(kind.is_loss)
    tops = max(len(layer.tops), int(kind.is_loss))
    if count and count != tops:
        raise layer.error(
            f"has {tops} tops, but {count} loss_weight",
            f"Give {tops} loss_weight, one for each top (0: it is no loss).",
        )


def _check_count(layer: Layer, what: str, shape: Shape) -> None:
    if len(shape) > MAX_AXES:
        raise layer.error(f"its {what} would have {len(shape)} axes, and {MAX_AXES} are the most")
    count = 1
    for length in shape:
        count *= length
        if length < 0 or count > MAX_COUNT:
            raise layer.error(
                f"its {what} would be {shape_text(shape)}: more than the {MAX_COUNT} values that a blob "
                "can hold",
                "Use smaller sizes.",
            )


def owners(
    layers: Sequence[Layer], parameters: Blobs, refused: list[InputError]
) -> dict[tuple[str, int], tuple[str, int]]:
    """Blobs that share a ``param { name }``: the first layer that uses the name owns it.

    Args:
        refused: takes an error for each whose shape, or learning rate, is another one.
    """
    first: dict[str, tuple[Layer, int]] = {}
    rates: dict[tuple[str, str], tuple[Layer, float]] = {}
    made = {}
    for layer in layers:
        for index, spec in enumerate(layer.params.param):
            if not spec.name:
                continue
            owner, at = first.setdefault(spec.name, (layer, index))
            made[layer.name, index] = (owner.name, at)
            refused.extend(_other_rates(layer, spec, rates))
            mine, theirs = parameters[layer.name], parameters[owner.name]
            if mine is None or theirs is None or index >= len(mine) or at >= len(theirs):
                continue
            a, b = mine[index], theirs[at]
            loose = spec.share_mode == "PERMISSIVE"
            if math.prod(a) != math.prod(b) if loose else a != b:
                error = layer.error(
                    f'its blob {index} is {shape_text(a)}, but "{spec.name}" is shared with '
                    f"{owner.subject}, where it is {shape_text(b)}"
                )
                refused.append(error)
    return made


def _other_rates(
    layer: Layer, spec: Message, rates: dict[tuple[str, str], tuple[Layer, float]]
) -> Iterator[InputError]:
    for name in ("lr_mult", "decay_mult"):
        if not spec.has(name):
            continue
        given = float(getattr(spec, name))
        other, value = rates.setdefault((spec.name, name), (layer, given))
        if value != given:
            yield layer.error(
                f'the {name} of "{spec.name}" is {given:g}, but {value:g} in {other.subject}',
                "Give it once, or the same number.",
            )
