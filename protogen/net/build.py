"""NetParameter to Graph: phase rules, in-place versions, shapes. A Graph is born here and whole."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from protogen.errors import InputError, ProtogenWarning, did_you_mean
from protogen.formats.message import Field, Message, Source
from protogen.geometry import Shape, shape_text
from protogen.layers import LayerType, kind_of
from protogen.layers.base import guarded
from protogen.layers.graph import Graph, Layer, free_name
from protogen.layers.reading import unread
from protogen.net.phases import takes_part
from protogen.toolchains.dialects import forks_of

MAX_LAYERS = 100_000  # published nets have 2,000
MAX_COUNT = 2**31 - 1  # Caffe counts a blob's values in an int


class BuildOptions(TypedDict, total=False):
    """Options of ``build``, for those that hand them on."""

    phase: str
    level: int
    stages: Collection[str]
    input_shapes: Mapping[str, Shape] | None
    tolerant: bool
    identities: Collection[str]
    ignored_fields: Collection[str]
    dialect: str


def build(
    net: Message,
    source: Source | None = None,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Collection[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    tolerant: bool = False,
    identities: Collection[str] = (),
    ignored_fields: Collection[str] = (),
    dialect: str = "",
) -> Graph:
    """The Graph of an up-to-date NetParameter (see ``upgrade``).

    Args:
        net: the NetParameter.
        source: its text, for places in messages.
        phase: TRAIN or TEST; with ``level`` and ``stages`` it decides which layers take part,
            by Caffe's include and exclude rules.
        input_shapes: shapes by blob name that replace what the net says: for inputs, data
            layers, Python layers and layers of unknown type.
        tolerant: a layer whose shapes do not fit leaves shapes behind it unknown, with a warning,
            so that the rest of a net can be looked at.
        identities: names or types of layers that hand on their first bottom, whatever they are.
        ignored_fields: fields (``block.field``) that layers set and do not read, and that change
            nothing, as the user says; others are refused where numbers are computed.
        dialect: the fork that the net was written for, where forks differ in what they compute.

    Raises:
        InputError: a bottom that nobody makes, a top made twice, or shapes that do not fit.
    """
    if phase not in ("TRAIN", "TEST"):
        raise InputError(f"{phase!r} is not TRAIN or TEST", subject="phase")
    if dialect:
        forks_of(dialect)
    chosen = [
        _layer(item, source, identities, phase, dialect)
        for item in net.all("layer")
        if takes_part(item, phase, level, stages, source)
    ]
    _check_identities(identities, chosen)
    _check_ignored(ignored_fields, chosen)
    if len(chosen) > MAX_LAYERS:
        raise InputError(
            f"the net has {len(chosen)} layers, and {MAX_LAYERS} are the most",
            where=source.filename if source else "",
        )
    named = _name_values(chosen)
    for error in _in_place_errors(named):
        if not tolerant:
            raise error
        warnings.warn(ProtogenWarning.of(error.diagnostic), stacklevel=2)
    shapes: dict[str, Shape | None] = {}
    parameters: dict[str, tuple[Shape, ...] | None] = {}
    unknown: set[str] = set()
    for layer in named:
        try:
            tops, blobs = _shapes(layer, shapes, unknown, input_shapes or {})
            if blobs and parameters.get(layer.name, blobs) != blobs:
                raise layer.error(
                    "a layer before it has this name, and blobs of other shapes",
                    "Rename one: a caffemodel finds weights by name.",
                )
        except InputError as error:
            if not tolerant:
                raise
            warnings.warn(Misfit.of(*error.diagnostics), stacklevel=2)
            tops, blobs = [None] * len(layer.tops), None
        shapes.update(zip(layer.writes, tops, strict=True))
        parameters[layer.name] = blobs
    inputs = _inputs(named)
    owners = _owners(named, parameters)
    ignored = frozenset(ignored_fields)
    return Graph(net.name, named, inputs, _outputs(named), shapes, parameters, owners, ignored)


class Misfit(ProtogenWarning):
    """A layer whose shapes do not fit, in a net that is built all the same."""

    def __str__(self) -> str:
        return f"{super().__str__()} Shapes behind it are unknown."


def _layer(
    item: Field, source: Source | None, identities: Collection[str], phase: str, dialect: str
) -> Layer:
    params: Message = item.value
    name, type_ = params.name, params.type
    identity = name in identities or type_ in identities
    return Layer(
        name=name,
        type="Split" if identity else type_,  # Split is Caffe's own identity
        bottoms=tuple(params.bottom)[: 1 if identity else None],
        tops=tuple(params.top),
        params=params,
        place=source.place(item.start) if source else "",
        phase=str(params.phase) if params.has("phase") else phase,
        dialect=dialect,
    )


def _check_identities(identities: Collection[str], layers: Sequence[Layer]) -> None:
    known = {name for layer in layers for name in (layer.name, layer.params.type)}
    for name in identities:
        if name not in known:
            raise InputError(
                "no layer has this name or type",
                subject=f"identity {name!r}",
                advice=did_you_mean(name, known),
            )


def _check_ignored(paths: Collection[str], layers: Sequence[Layer]) -> None:
    """Refuses a field that there is nothing to ignore of."""
    if not paths:
        return
    found = {one.path for layer in layers for one in unread(layer.params, kind_of(layer))}
    for path in paths:
        if path not in found:
            raise InputError(
                "no layer sets a field of this name that is not read",
                subject=f"ignored field {path!r}",
                advice=did_you_mean(path, found) or "Leave it out.",
            )


# Values: every write of a blob is one, and the last has the blob's name; but of blobs that come
# from outside the first has it, because that is what the user feeds.


def _name_values(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    last: dict[str, tuple[int, int]] = {}
    for i, layer in enumerate(layers):
        for j, top in enumerate(layer.tops):
            if top not in last or not _feeds(layers[last[top][0]]):
                last[top] = (i, j)
    current: dict[str, str] = {}
    taken = set(last)
    named = []
    for i, layer in enumerate(layers):
        for bottom in layer.bottoms:
            if bottom not in current:
                raise _no_bottom(layer, bottom, layers[i:])
        reads = tuple(current[bottom] for bottom in layer.bottoms)
        writes = []
        for j, top in enumerate(layer.tops):
            in_place = j < len(layer.bottoms) and layer.bottoms[j] == top
            if top in current and not in_place:
                raise layer.error(
                    f'its top "{top}" is already made by another layer', "Rename one of the tops."
                )
            value = top if last[top] == (i, j) else free_name(f"{top}@{layer.name}", taken)
            current[top] = value
            writes.append(value)
        named.append(replace(layer, reads=reads, writes=tuple(writes)))
    return tuple(named)


def _in_place_errors(layers: Sequence[Layer]) -> Iterator[InputError]:
    """Layers in place that Caffe refuses or computes otherwise: of a type that cannot, or on a blob
    that something else reads as well."""
    readers: dict[str, Layer] = {}  # of each value, the first; a loss counts as one
    for layer in layers:
        kind = kind_of(layer)
        identity = layer.type != layer.params.type  # the user's word for a layer that is left out
        for bottom, read in zip(layer.bottoms, layer.reads, strict=True):
            other = readers.setdefault(read, layer)
            if bottom not in layer.tops:
                continue
            if other is not layer or layer.reads.count(read) > 1:
                yield _read_twice(layer, bottom, other)
            elif kind is not None and not identity and not kind.in_place(layer):
                yield layer.error(
                    f'its top "{bottom}" is its bottom, and Caffe does not compute this layer in '
                    "place",
                    "Give the top a name of its own.",
                )
        for index, value in enumerate(layer.writes):
            if _is_loss(layer, index):
                readers[value] = layer


def _is_loss(layer: Layer, index: int) -> bool:
    """Whether a top counts in the net's loss."""
    weights = layer.params.loss_weight
    if not weights:
        kind = kind_of(layer)
        return index == 0 and kind is not None and kind.auto_tops
    return index < len(weights) and weights[index] != 0


def _read_twice(layer: Layer, bottom: str, other: Layer) -> InputError:
    reader = "it reads it twice" if other is layer else f"{other.subject} reads it before"
    if bottom in other.tops and other is not layer:
        reader = f"it is a loss of {other.subject}"
    return layer.error(
        f'works in place on "{bottom}", but {reader}: Caffe then takes its top for a second blob '
        "of this name and refuses the net",
        "Give the top a name of its own.",
    )


def _feeds(layer: Layer) -> bool:
    kind = kind_of(layer)
    return kind is not None and kind.feeds


def _no_bottom(layer: Layer, bottom: str, rest: Sequence[Layer]) -> InputError:
    later = next((other for other in rest[1:] if bottom in other.tops), None)
    if later is not None:
        return layer.error(
            f'reads "{bottom}", which {later.subject} makes only later',
            "Caffe runs layers in file order: move it up.",
        )
    return layer.error(f'reads "{bottom}", but no layer makes it', "Check the name.")


def _inputs(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Values that come from outside: tops of Input layers, and those tops of data layers that a
    layer reads."""
    read = {name for layer in layers for name in layer.reads}
    found = []
    for layer in layers:
        if _feeds(layer):
            found += [top for top in layer.writes if layer.type == "Input" or top in read]
    return tuple(found)


def _outputs(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Values that nobody reads, in the order of their making. What a data layer makes for nobody
    (labels, in a net for use) is not among them: no layer computes it."""
    found: dict[str, None] = {}
    for layer in layers:
        for read in layer.reads:
            found.pop(read, None)
        if layer.type == "Input" or not _feeds(layer):
            found.update(dict.fromkeys(layer.writes))
    return tuple(found)


def _owners(
    layers: Sequence[Layer], parameters: Mapping[str, tuple[Shape, ...] | None]
) -> dict[tuple[str, int], tuple[str, int]]:
    """Blobs that share a ``param { name }``: the first layer that uses the name owns it."""
    first: dict[str, tuple[Layer, int]] = {}
    owners = {}
    for layer in layers:
        for index, spec in enumerate(layer.params.param):
            if not spec.name:
                continue
            owner, at = first.setdefault(spec.name, (layer, index))
            owners[layer.name, index] = (owner.name, at)
            mine, theirs = parameters[layer.name], parameters[owner.name]
            if mine is None or theirs is None or index >= len(mine) or at >= len(theirs):
                continue
            a, b = mine[index], theirs[at]
            loose = spec.share_mode == "PERMISSIVE"
            if math.prod(a) != math.prod(b) if loose else a != b:
                raise layer.error(
                    f'its blob {index} is {shape_text(a)}, but "{spec.name}" is shared with '
                    f"{owner.subject}, where it is {shape_text(b)}"
                )
    return owners


# Shapes


def _shapes(
    layer: Layer,
    shapes: dict[str, Shape | None],
    unknown: set[str],
    given: Mapping[str, Shape],
) -> tuple[list[Shape | None], tuple[Shape, ...] | None]:
    kind = kind_of(layer)
    bottoms = [shape for read in layer.reads if (shape := shapes[read]) is not None]
    if kind is None:
        if layer.type not in unknown:
            unknown.add(layer.type)
            told = ProtogenWarning(
                "protogen does not know this type; shapes after it are unknown",
                where=layer.place,
                subject=layer.subject,
            )
            warnings.warn(told, stacklevel=2)
        return [given.get(top) for top in layer.tops], None
    if len(bottoms) < len(layer.reads):
        return [given.get(top) for top in layer.tops], None
    tops: list[Shape | None]
    with guarded(layer, bottoms):
        tops = list(kind.shapes(layer, bottoms))
        blobs = tuple(kind.blobs(layer, bottoms))
    if kind.auto_tops:
        del tops[len(layer.tops) :]
    if len(tops) != len(layer.tops):
        raise layer.error(f"has {len(layer.tops)} tops, but makes {len(tops)}")
    _check_loss_weights(layer, kind)
    tops = [given.get(top, shape) for top, shape in zip(layer.tops, tops, strict=True)]
    tops = kind.complete(tops)
    for top, shape in zip(layer.tops, tops, strict=True):
        _check_count(layer, f'top "{top}"', shape or ())
    for index, shape in enumerate(blobs):
        _check_count(layer, f"blob {index}", shape)
    return tops, blobs


def _check_loss_weights(layer: Layer, kind: LayerType) -> None:
    """Caffe: Layer::SetLossWeights, after a loss has taken a weight of 1 where none is given."""
    count = len(layer.params.loss_weight) or int(kind.auto_tops)
    tops = max(len(layer.tops), int(kind.auto_tops))
    if count and count != tops:
        raise layer.error(
            f"has {tops} tops, but {count} loss_weight",
            f"Give {tops} loss_weight, one for each top (0: it is no loss).",
        )


def _check_count(layer: Layer, what: str, shape: Shape) -> None:
    count = 1
    for length in shape:
        count *= length
        if length < 0 or count > MAX_COUNT:
            raise layer.error(
                f"its {what} would be {shape_text(shape)}: more than the {MAX_COUNT} values that a blob "
                "can hold",
                "Use smaller sizes.",
            )
