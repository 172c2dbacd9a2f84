"""Parts of a net as nets of their own: from some blobs, up to some blobs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from protogen.errors import InputError, ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.message import Field, Message
from protogen.formats.prototxt import Document
from protogen.formats.prototxt.pieces import text_of
from protogen.formats.schema import message_type
from protogen.geometry import Shape
from protogen.layers.graph import Layer, free_name
from protogen.net.net import Net
from protogen.net.selection import (
    Selection,
    beginnings,
    copy_read_outputs,
    endings,
    feeds,
    select,
)
from protogen.net.upgrade import copy, like, retyped

_RULES = ("include", "exclude")


@dataclass(frozen=True, eq=False)
class NetPart:
    """A part of a net.

    Attributes:
        net: the part, with its weights. The source text of its message is the text of the part.
        begins: the values of the whole net that are inputs of the part but not of the whole net, each
            with its blob in the part.
        ends: the values of the whole net that are outputs of the part, each with its blob in the part.
        layers: the names of the layers of the whole net that the part has.
        silenced: blobs that only a Silence layer reads, which the part adds.
    """

    net: Net
    begins: Mapping[str, str]
    ends: Mapping[str, str]
    layers: tuple[str, ...]
    silenced: tuple[str, ...] = ()


def begin(net: Net, inputs: Sequence[str], outputs: Sequence[str] = ()) -> Net:
    """Return the part of a net that begins at some blobs, for a conversion. Blobs and places in messages
    are those of the net; what the outputs do not depend on is left out.

    Args:
        inputs: blobs that become inputs, with their shapes; the net itself if there are none.
        outputs: blobs that the conversion will output; by default the outputs of the net.

    Raises:
        InputError, UnsupportedError: see ``cut_net``.
    """
    begins = beginnings(net.graph, inputs)
    if not begins:
        return net
    part = select(net, begins, endings(net.graph, outputs), chosen=bool(outputs))
    message = copy(net.message, _fields(net.message, part, net.message.all("layer"), final=False))
    if net.source is not None:
        document = Document(net.message.kind, net.source)
        document.fields, message = message.fields, document
    return net.with_part(message, part.layers)


def cut_net(net: Net, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> NetPart:
    """Return the part of a net from some blobs to others.

    The text of the layers that stay is that of the net, with the comments. Layers that the outputs do not
    depend on are left out, also those of other phases, levels and stages, and so are the rules. Data
    layers and the blobs in ``inputs`` become Input layers. Tops that nobody reads get a Silence layer. An
    output that a layer of the part reads is a copy by a Split layer, because the outputs of a Caffe net
    are the blobs that no layer reads; the part calls the blob that it copies ``BLOB_value``.

    Args:
        inputs: blobs that become inputs, with their shapes. Of a blob that layers change in place, it is
            the last value; ``BLOB@LAYER`` is the value that an earlier layer writes. For an input of
            the net this has no effect.
        outputs: blobs that become the outputs; by default the outputs of the net.

    Raises:
        InputError: a blob is unknown, a blob of ``inputs`` has no known shape or no output depends on it, an
            output is an input or depends on no input.
        UnsupportedError: a layer of the part reads a blob that a layer outside of it changes in place.
    """
    begins, ends = beginnings(net.graph, inputs), endings(net.graph, outputs)
    return _part(net, select(net, begins, ends, chosen=bool(outputs)))


def rest_of_net(net: Net, *, outputs: Sequence[str], inputs: Sequence[str] = ()) -> NetPart:
    """Return what ``cut_net`` leaves out after its outputs: a part whose inputs are these blobs, and whose
    outputs are the other outputs of the net.

    It reads a blob of ``inputs`` or an input of the net where it needs it besides, and then computes again
    what both parts need.

    Args:
        outputs, inputs: as for ``cut_net``.

    Raises:
        InputError: a blob is unknown, or nothing is left: every output of the net is in ``outputs``.
        UnsupportedError: see ``cut_net``.
    """
    graph = net.graph
    begins = endings(graph, outputs)
    ends = [name for name in endings(graph, ()) if name not in begins]
    if not ends:
        raise InputError(
            "no output of the net is left after these blobs", subject=", ".join(outputs)
        )
    begins = [name for name in begins if name not in graph.inputs]
    begins += [name for name in beginnings(graph, inputs) if name not in begins]
    return _part(net, select(net, begins, ends, chosen=False, optional=True))


def computed_twice(net: Net, part: NetPart, rest: NetPart) -> tuple[str, ...]:
    """Return the values that layers of both parts compute and that other layers of the rest read. As
    outputs of the part they are computed once."""
    both = set(part.layers).intersection(rest.layers)
    shared = [layer for layer in net.layers if layer.name in both and not feeds(layer)]
    written = {write for layer in shared for write in layer.writes}
    own = [layer for layer in net.layers if layer.name in rest.layers and layer.name not in both]
    reads = dict.fromkeys(read for layer in own for read in layer.reads)
    return tuple(read for read in reads if read in written and read not in rest.begins)


def _part(net: Net, part: Selection) -> NetPart:
    copy_read_outputs(part)
    document = _document(net)
    text = text_of(document, _fields(document, part, net.message.all("layer"), final=True))
    message = _parsed(text, document.source.filename)
    message.source.bom = document.source.bom
    return NetPart(
        net.with_part(message, part.layers),
        part.begins,
        part.ends,
        tuple(layer.name for layer in part.layers),
        tuple(part.unread()),
    )


def _document(net: Net) -> Document:
    """Return the text of the net, parsed; a new text if its own one has an old format."""
    message = net.message
    if net.source is not None and net.source.text:
        parsed = _parsed(net.source.text, net.source.filename)
        if parsed == message:
            parsed.source.bom = net.source.bom
            return parsed
    filename = net.source.filename if net.source is not None else net.name or "the net"
    return _parsed(prototxt.write(message), filename)


def _parsed(text: str, filename: str) -> Document:
    """Parse a text whose warnings were emitted when the net was loaded."""
    with warnings.catch_warnings(action="ignore", category=ProtogenWarning):
        return prototxt.parse(text, filename)


def _fields(
    message: Message, part: Selection, layers: Sequence[Field], *, final: bool
) -> list[Field]:
    """Return the fields of the part.

    Args:
        message: the net. The fields that the part does not change are fields of it.
        layers: the layers from which the graph was built, in the order of the message's layers.
        final: write a net whose inputs are Input layers, and whose outputs are those of the part.
    """
    known = {id(layer.params): layer for layer in part.layers}
    built_from = iter(layers)
    waiting = [_input(part, value, top) for value, top in part.begins.items()]
    fields: list[Field] = []
    for item in message.fields:
        if item.name != "layer":
            fields.append(item)
            continue
        layer = known.get(id(next(built_from).value))
        if layer is None:
            continue
        if feeds(layer):
            fields.append(_source(item, layer, part, final))
            continue
        fields += waiting  # after the inputs of the net, before the first layer that computes
        waiting = []
        fields.append(_changed(item, part.bottoms(layer), part.tops(layer)))
    if not final:
        return fields
    for output, blob in part.copies.items():
        name = free_name(f"{output}_output", part.used)
        fields.append(_layer(name=name, type="Split", bottom=[blob], top=[output]))
    if unread := part.unread():
        name = free_name("unread", part.used)
        fields.append(_layer(name=name, type="Silence", bottom=unread))
    return fields


def _layer(**values: Any) -> Field:
    layer = Message.make("LayerParameter", **values)
    return Field("layer", layer, message_type("NetParameter").fields["layer"])


def _input(part: Selection, value: str, top: str) -> Field:
    """Return the Input layer of a value. No layer of the net has its name: Caffe would look for weights
    under this name in the caffemodel of the net."""
    names = {layer.name for layer in part.graph.layers}
    name = free_name(top if top not in names else f"{top}_input", names)
    return _layer(name=name, type="Input", top=[top], input_param=_shapes([part.shape(value)]))


def _shapes(shapes: Sequence[Shape]) -> dict[str, Any]:
    return {"shape": [{"dim": list(shape)} for shape in shapes]}


def _source(item: Field, layer: Layer, part: Selection, final: bool) -> Field:
    """Return a layer of inputs with only the tops that the part needs; an Input layer if ``final``."""
    needed = [value in part.inputs for value in layer.writes]
    tops = [top for top, need in zip(layer.tops, needed, strict=True) if need]
    if layer.type != "Input" and not final:
        return _changed(item, (), layer.tops)
    stated = input_shapes(item.value)
    shapes = [shape for shape, need in zip(stated, needed, strict=False) if need]
    if final:
        shapes = [part.shape(name) for name in layer.writes if name in part.inputs]
    if layer.type == "Input" and all(needed) and shapes == stated:
        return _changed(item, (), tops)
    return _changed(with_input_shapes(item, tops, shapes), (), tops)


def input_shapes(layer: Message) -> list[Shape]:
    """Return the shapes that an Input layer states, one for each top; none if it states none."""
    stated = [tuple(shape.dim) for shape in layer.input_param.shape]
    return stated * len(layer.top) if len(stated) == 1 else stated


def with_input_shapes(item: Field, tops: Sequence[str], shapes: Sequence[Shape]) -> Field:
    """Return a layer of inputs as an Input layer with these tops and their shapes, with its comments."""
    old: Message = item.value
    fields = [one for one in old.fields if one.name in ("name", "phase", *_RULES)]
    if old.type == "Input":
        fields = [
            one
            for one in old.fields
            if one.name != "input_param" and (one.name != "top" or one.value in tops)
        ]
    layer = copy(old, fields)
    if not layer.has("type"):
        layer.add("type", "Input")
    for top in tops if not layer.has("top") else ():
        layer.add("top", top)
    if shapes:
        layer.add("input_param", _shapes(shapes))
    return like(item, "layer", layer, message_type("NetParameter"))


def _changed(item: Field, bottoms: Sequence[str], tops: Sequence[str]) -> Field:
    """Return a layer with these blobs and without rules; the same field if nothing changes. Bottoms that
    the graph does not have, of a layer that is taken as the identity, are left out."""
    old: Message = item.value
    names = {"bottom": iter(bottoms), "top": iter(tops)}
    fields = []
    for one in old.fields:
        if one.name in _RULES:
            continue
        if one.name in names:
            new = next(names[one.name], None)
            if new is None:
                continue
            one = one if new == one.value else retyped(one, old, one.name, new)
        fields.append(one)
    if len(fields) == len(old.fields) and all(map(is_, fields, old.fields)):
        return item
    return like(item, "layer", copy(old, fields), message_type("NetParameter"))
