"""NetParameter to Graph: phase rules, in-place versions, shapes. A Graph is born here and whole."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from protogen.errors import InputError, ProtogenWarning, did_you_mean
from protogen.formats.message import Field, Message, Source
from protogen.geometry import Shape
from protogen.layers import LayerType, kind_of
from protogen.layers.graph import Graph, Layer, free_name
from protogen.layers.reading import unread
from protogen.net.backward import loss_of
from protogen.net.rules import (
    MissingBlobError,
    State,
    check_state,
    in_words,
    left_out,
    plain_state,
    takes_part,
)
from protogen.net.shapes import Blobs, infer, owners
from protogen.toolchains.dialects import forks_of

MAX_LAYERS = 100_000  # published nets have 2,000


class Reading(State, total=False):
    """What a user says of a net that is read."""

    identities: Collection[str]
    ignored_fields: Collection[str]
    dialect: str


def plain_reading(reading: Reading) -> dict[str, Any]:
    """All of it, as data for JSON."""
    return {
        **plain_state(reading),
        "identities": sorted(reading.get("identities", ())),
        "ignored_fields": sorted(reading.get("ignored_fields", ())),
        "dialect": reading.get("dialect", ""),
    }


class BuildOptions(Reading, total=False):
    """Options of ``build``, for those that hand them on."""

    input_shapes: Mapping[str, Shape] | None
    weight_shapes: Mapping[str, Sequence[Shape]] | None
    tolerant: bool


def build(
    net: Message,
    source: Source | None = None,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Collection[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    weight_shapes: Mapping[str, Sequence[Shape]] | None = None,
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
        stages: names that a rule of the net has.
        input_shapes: shapes by blob name that replace what the net says: for inputs, data
            layers, Python layers and layers of unknown type.
        weight_shapes: shapes of parameter blobs by layer, as a file has them: they tell how many
            channels pictures have where the net does not.
        tolerant: a layer whose shapes do not fit leaves shapes behind it unknown, with a warning,
            so that the rest of a net can be looked at.
        identities: names or types of layers that hand on their first bottom, whatever they are.
        ignored_fields: fields (``block.field``) that layers set and do not read, and that change
            nothing, as the user says; others are refused where numbers are computed.
        dialect: the fork that the net was written for, where forks differ in what they compute.

    Raises:
        InputError: a bottom that nobody makes, a top made twice, shapes that do not fit, a stage
            that no rule names, or no layer takes part.
    """
    check_state(net, source, phase, stages)
    if dialect:
        forks_of(dialect)
    chosen = [
        _layer(item, source, identities, phase, dialect)
        for item in net.all("layer")
        if takes_part(item, phase, level, stages, source)
    ]
    _check_count(net, chosen, source, in_words(phase, level, stages))
    chosen = _with_loss_tops(chosen)
    _check_identities(identities, chosen)
    _check_ignored(ignored_fields, chosen)
    try:
        named = _name_values(chosen)
    except MissingBlobError as error:
        raise left_out(error, net, phase, level, stages) from None
    _raise_or_warn(_in_place_errors(named), ProtogenWarning, tolerant)
    found = infer(named, input_shapes or {}, weight_shapes or {})
    for unknown in found.unknown:
        warnings.warn(unknown, stacklevel=2)
    _raise_or_warn(found.errors, Misfit, tolerant)
    shared = owners(named, found.parameters, found.refused)
    _raise_or_warn(found.refused, Refused, tolerant)
    _raise_or_warn(_params_too_many(named, found.parameters), ProtogenWarning, tolerant)
    return Graph(
        net.name,
        named,
        _inputs(named),
        _outputs(named),
        found.shapes,
        found.parameters,
        shared,
        frozenset(ignored_fields),
        found.assumed,
    )


def _raise_or_warn(
    errors: Iterable[InputError], kind: type[ProtogenWarning], tolerant: bool
) -> None:
    """Raises the first, or warns of all."""
    for error in errors:
        if not tolerant:
            raise error
        warnings.warn(kind.of(*error.diagnostics), stacklevel=3)


def _with_loss_tops(layers: list[Layer]) -> list[Layer]:
    """Caffe gives a loss without a top one of its own, and calls it so."""
    taken = {name for layer in layers for name in (*layer.tops, *layer.bottoms)}
    for i, layer in enumerate(layers):
        kind = kind_of(layer)
        if kind is not None and kind.is_loss and not layer.tops:
            layers[i] = replace(layer, tops=(free_name("(automatic)", taken),))
    return layers


def _check_count(net: Message, chosen: Sequence[Layer], source: Source | None, state: str) -> None:
    """Refuses a net that has no layer left, or more than any net has."""
    where = source.filename if source else ""
    if not chosen and net.all("layer"):
        raise InputError(
            f"no layer takes part in {state}",
            where=where,
            subject=f'net "{net.name}"',
            advice="Choose another phase, level or stage.",
        )
    if len(chosen) > MAX_LAYERS:
        raise InputError(
            f"the net has {len(chosen)} layers, and {MAX_LAYERS} are the most", where=where
        )


def _params_too_many(layers: Sequence[Layer], parameters: Blobs) -> Iterator[InputError]:
    """Layers with more ``param`` than parameter blobs."""
    for layer in layers:
        blobs, count = parameters[layer.name], len(layer.params.param)
        if params_too_many(layer, blobs):
            yield layer.error(
                f"has {count} param for {len(blobs or ())} blobs", "One param belongs to one blob."
            )


def params_too_many(layer: Layer, blobs: Sequence[Shape] | None) -> bool:
    """Whether there are more ``param`` than parameter blobs, where these are known: those of a
    user's own class are not."""
    kind = kind_of(layer)
    if blobs is None or kind is None or layer.type != layer.params.type:
        return False
    known = bool(blobs) or (
        kind.stock and kind.refusal == LayerType.refusal and not kind.user_defined
    )
    return known and len(layer.params.param) > len(blobs)


class Refused(ProtogenWarning):
    """A layer that Caffe refuses, in a net that is built all the same."""


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
            if loss_of(layer, index):
                readers[value] = layer


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
    return MissingBlobError.at(
        layer, bottom, f'reads "{bottom}", but no layer makes it', "Check the name."
    )


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
