"""Builds a Graph from a NetParameter: include rules, names of in-place values, shapes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from protogen.errors import InputError, ProtogenWarning, did_you_mean, warn
from protogen.formats.message import Field, Message, Source
from protogen.geometry import Shape
from protogen.layers import LayerType, kind_of
from protogen.layers.graph import Graph, Layer, free_name
from protogen.layers.reading import unread
from protogen.net.backward import loss_of
from protogen.net.deciding import decided
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
from protogen.toolchains.dialects import check_dialect

MAX_LAYERS = 100_000  # published nets have 2,000


class Reading(State, total=False):
    """User options for the interpretation of a net."""

    identities: Collection[str]
    ignored_fields: Collection[str]
    dialect: str


def plain_reading(reading: Reading) -> dict[str, Any]:
    """Return all options with their defaults, as data for JSON."""
    return {
        **plain_state(reading),
        "identities": sorted(reading.get("identities", ())),
        "ignored_fields": sorted(reading.get("ignored_fields", ())),
        "dialect": reading.get("dialect", ""),
    }


class BuildOptions(Reading, total=False):
    """Keyword arguments of ``build``, for functions that pass them through."""

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
    """Return the Graph of an up-to-date NetParameter (see ``upgrade``).

    Args:
        net: the NetParameter.
        source: its text, for places in messages.
        phase: TRAIN or TEST; with ``level`` and ``stages`` it selects layers by Caffe's include
            and exclude rules.
        stages: names that appear in rules of the net.
        input_shapes: shapes by blob name that replace those of the net: for inputs, data
            layers, Python layers and layers of unknown type.
        weight_shapes: shapes of parameter blobs by layer, from a weight file. They determine the
            number of channels of the images if the net does not set it, and the fork of a layer if
            only its blobs tell (``LayerType.dialect_of``).
        tolerant: warn instead of raising an error if a layer is invalid. The shapes after a layer
            with invalid shapes are unknown; the rest of the net can still be inspected.
        identities: names or types of layers that are treated as identities: the top is the first
            bottom.
        ignored_fields: fields (``block.field``) that layers set but do not read, and that the user
            declares to have no effect. Other such fields are an error when values are computed.
        dialect: the fork that the net was written for. It matters if forks compute different
            values.

    Raises:
        InputError: no layer produces a bottom, a top is produced twice, shapes do not match, a
            stage is unknown, or no layer is included.
    """
    check_state(net, source, phase, stages)
    if dialect:
        check_dialect(dialect)
    chosen = [
        identified(_layer(item, source, identities, phase, dialect), weight_shapes or {})
        for item in net.all("layer")
        if takes_part(item, phase, level, stages, source)
    ]
    chosen = decided(net, chosen)
    _check_count(net, chosen, source, in_words(phase, level, stages))
    chosen = _with_loss_tops(chosen)
    _check_identities(identities, chosen)
    _check_ignored(ignored_fields, chosen)
    try:
        named = _name_values(chosen)
    except MissingBlobError as error:
        raise left_out(error, net, phase, level, stages) from None
    _raise_or_warn(_in_place_errors(named), ProtogenWarning, tolerant)
    inferred = infer(named, input_shapes or {}, weight_shapes or {})
    for unknown in inferred.unknown:
        warn(unknown)
    _raise_or_warn(inferred.errors, Misfit, tolerant)
    shared = owners(named, inferred.parameters, inferred.refused)
    _raise_or_warn(inferred.refused, Refused, tolerant)
    _raise_or_warn(_params_too_many(named, inferred.parameters), ProtogenWarning, tolerant)
    return Graph(
        net.name,
        named,
        _inputs(named),
        _outputs(named),
        inferred.shapes,
        inferred.parameters,
        shared,
        frozenset(ignored_fields),
        inferred.assumed,
    )


def _raise_or_warn(
    errors: Iterable[InputError], kind: type[ProtogenWarning], tolerant: bool
) -> None:
    """Raise the first error, or emit a warning for each if ``tolerant``."""
    for error in errors:
        if not tolerant:
            raise error
        warn(kind.of(*error.diagnostics))


def _with_loss_tops(layers: list[Layer]) -> list[Layer]:
    """Add a top "(automatic)" to each loss layer without a top, as Caffe does."""
    used = {name for layer in layers for name in (*layer.tops, *layer.bottoms)}
    for i, layer in enumerate(layers):
        kind = kind_of(layer)
        if kind is not None and kind.is_loss and not layer.tops:
            layers[i] = replace(layer, tops=(free_name("(automatic)", used),))
    return layers


def _check_count(net: Message, chosen: Sequence[Layer], source: Source | None, state: str) -> None:
    """Raise InputError if no layer is included, or if there are more than ``MAX_LAYERS``."""
    where = source.filename if source else ""
    if not chosen and net.all("layer"):
        raise InputError(
            f"no layer is included in {state}",
            where=where,
            subject=f'net "{net.name}"',
            advice="Choose another phase, level or stage.",
        )
    if len(chosen) > MAX_LAYERS:
        raise InputError(
            f"the net has {len(chosen)} layers, the limit is {MAX_LAYERS}", where=where
        )


def _params_too_many(layers: Sequence[Layer], parameters: Blobs) -> Iterator[InputError]:
    """Yield an error for each layer with more ``param`` messages than parameter blobs."""
    for layer in layers:
        blobs = parameters[layer.name]
        if layer.params.has("param") and params_too_many(layer, blobs):
            count = len(layer.params.param)
            yield layer.error(
                f"expected at most {len(blobs or ())} param (the number of blobs), got {count}",
                "Give at most one param for each blob.",
            )


def params_too_many(layer: Layer, blobs: Sequence[Shape] | None) -> bool:
    """Return whether there are more ``param`` messages than parameter blobs. It is False if the
    number of blobs is unknown, as for a layer class of the user."""
    kind = kind_of(layer)
    if blobs is None or kind is None or layer.type != layer.params.type:
        return False
    known = bool(blobs) or (
        kind.stock and kind.refusal == LayerType.refusal and not kind.user_defined
    )
    return known and len(layer.params.param) > len(blobs)


class Refused(ProtogenWarning):
    """A layer that Caffe refuses, in a net that is built with ``tolerant``."""


class Misfit(ProtogenWarning):
    """A layer with invalid shapes, in a net that is built with ``tolerant``."""

    def __str__(self) -> str:
        return f"{super().__str__()} The shapes after it are unknown."


def _layer(
    item: Field, source: Source | None, identities: Collection[str], phase: str, dialect: str
) -> Layer:
    params: Message = item.value
    name, type_ = params.name, params.type
    identity = name in identities or type_ in identities
    return Layer(
        name=name,
        type="Split" if identity else type_,  # Split is Caffe's identity layer
        bottoms=tuple(params.bottom)[: 1 if identity else None],
        tops=tuple(params.top),
        params=params,
        place=source.place(item.start) if source else "",
        phase=str(params.phase) if params.has("phase") else phase,
        dialect=dialect,
    )


def identified(layer: Layer, weight_shapes: Mapping[str, Sequence[Shape]]) -> Layer:
    """Return the layer with the dialect that its blobs in a weight file identify, if any."""
    shapes = weight_shapes.get(layer.name)
    if layer.dialect or shapes is None or (kind := kind_of(layer)) is None:
        return layer
    dialect = kind.dialect_of(layer, shapes)
    return replace(layer, dialect=dialect) if dialect else layer


def _check_identities(identities: Collection[str], layers: Sequence[Layer]) -> None:
    if not identities:
        return
    known = {name for layer in layers for name in (layer.name, layer.params.type)}
    for name in identities:
        if name not in known:
            raise InputError(
                "no layer has this name or type",
                subject=f"identity {name!r}",
                advice=did_you_mean(name, known),
            )


def _check_ignored(paths: Collection[str], layers: Sequence[Layer]) -> None:
    """Raise InputError for an ignored field that no layer sets, or that every layer reads."""
    if not paths:
        return
    unused = {field.path for layer in layers for field in unread(layer.params, kind_of(layer))}
    for path in paths:
        if path not in unused:
            raise InputError(
                "no layer sets this field without reading it",
                subject=f"ignored field {path!r}",
                advice=did_you_mean(path, unused) or "Do not ignore it.",
            )


# Values: each write of a blob creates a new value. The last value has the name of the blob. For a
# blob that the user feeds, the first value has it, because this is the value that the user sets.


def _name_values(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    last: dict[str, tuple[int, int]] = {}
    feeds = [_feeds(layer) for layer in layers]
    for i, layer in enumerate(layers):
        for j, top in enumerate(layer.tops):
            if top not in last or not feeds[last[top][0]]:
                last[top] = (i, j)
    current: dict[str, str] = {}
    used = set(last)
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
                    f'another layer already produces its top "{top}"', "Rename one of the tops."
                )
            value = top if last[top] == (i, j) else free_name(f"{top}@{layer.name}", used)
            current[top] = value
            writes.append(value)
        named.append(_with_values(layer, reads, tuple(writes)))
    return tuple(named)


def _with_values(layer: Layer, reads: tuple[str, ...], writes: tuple[str, ...]) -> Layer:
    """Return the layer with its values; ``replace`` takes twice the time, and it runs for each layer."""
    return Layer(
        layer.name,
        layer.type,
        layer.bottoms,
        layer.tops,
        layer.params,
        layer.place,
        reads,
        writes,
        layer.phase,
        layer.dialect,
        layer.candidates,
    )


def _in_place_errors(layers: Sequence[Layer]) -> Iterator[InputError]:
    """Yield an error for each in-place layer that Caffe refuses or computes incorrectly: its type
    does not work in place, or another layer reads the same blob, too."""
    readers: dict[str, Layer] = {}  # the first reader of each value; a loss counts as a reader
    for layer in layers:
        kind = kind_of(layer)
        identity = layer.type != layer.params.type  # the user declared the layer an identity
        for bottom, read in zip(layer.bottoms, layer.reads, strict=True):
            other = readers.setdefault(read, layer)
            if bottom not in layer.tops:
                continue
            if other is not layer or layer.reads.count(read) > 1:
                yield _read_twice(layer, bottom, other)
            elif kind is not None and not identity and not kind.in_place(layer):
                yield layer.error(
                    f'its top "{bottom}" is also its bottom, but Caffe cannot compute this layer '
                    "in place",
                    "Rename the top.",
                )
        for index, value in enumerate(layer.writes):
            if loss_of(layer, index):
                readers[value] = layer


def _read_twice(layer: Layer, bottom: str, other: Layer) -> InputError:
    reader = "it reads this blob twice"
    if other is not layer:
        reader = f"{other.subject} also reads this blob"
    if bottom in other.tops and other is not layer:
        reader = f"this blob is a loss of {other.subject}"
    return layer.error(
        f'works in place on "{bottom}", but {reader}: Caffe treats the top as a second blob '
        "of the same name and refuses the net",
        "Rename the top.",
    )


def _feeds(layer: Layer) -> bool:
    kind = kind_of(layer)
    return kind is not None and kind.is_source


def _no_bottom(layer: Layer, bottom: str, rest: Sequence[Layer]) -> InputError:
    later = next((other for other in rest[1:] if bottom in other.tops), None)
    if later is not None:
        return layer.error(
            f'reads "{bottom}", but {later.subject} produces it only later',
            "Caffe runs layers in file order: move the producer up.",
        )
    return MissingBlobError.at(
        layer, bottom, f'reads "{bottom}", but no layer produces it', "Check the name."
    )


def _inputs(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the values that the user feeds: tops of Input layers, and those tops of data layers
    that a layer reads."""
    read = {name for layer in layers for name in layer.reads}
    inputs = []
    for layer in layers:
        if _feeds(layer):
            inputs += [top for top in layer.writes if layer.type == "Input" or top in read]
    return tuple(inputs)


def _outputs(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the values that no layer reads, in execution order. Unused tops of data layers (such
    as labels in a net for inference) do not count: no layer computes them."""
    outputs: dict[str, None] = {}
    for layer in layers:
        for read in layer.reads:
            outputs.pop(read, None)
        if layer.type == "Input" or not _feeds(layer):
            outputs.update(dict.fromkeys(layer.writes))
    return tuple(outputs)
