"""Today's net in the V1 form (``layers { type: CONVOLUTION }``) that old vendor kits read."""

from __future__ import annotations

from protogen.errors import Diagnostic, InputError, UnsupportedError
from protogen.formats import wire
from protogen.formats.caffemodel import CaffeModel, Entry
from protogen.formats.message import Field, Message, Name
from protogen.formats.prototxt import Document
from protogen.formats.schema import caffe, message_type
from protogen.layers.names import V1_TYPES
from protogen.net.upgrade import copy, like, retyped

_TO_V1 = {new: old for old, new in V1_TYPES.items() if new}
_PARAM = {
    "name": "param",
    "share_mode": "blob_share_mode",
    "lr_mult": "blobs_lr",
    "decay_mult": "weight_decay",
}


def downgrade(net: Document) -> Document:
    """The net with ``layers`` of V1 and legacy ``input`` fields.

    Raises:
        UnsupportedError: V1 lacks a layer type or field that the net uses; all are named.
    """
    made = Document(message_type("NetParameter"), net.source)
    made.tail = net.tail
    problems: list[Diagnostic] = []
    for item in net.fields:
        if item.name != "layer":
            made.append(item)
        elif item.value.type == "Input":
            _add_inputs(made, item, problems, net)
        else:
            made.append(_layer(item, problems, net))
    if problems:
        raise UnsupportedError.of(*problems)
    return made


def _add_inputs(made: Message, item: Field, problems: list[Diagnostic], net: Document) -> None:
    layer: Message = item.value
    shapes = [list(shape.dim) for shape in layer.input_param.shape]
    shapes = shapes * len(layer.top) if len(shapes) == 1 else shapes
    if not layer.top or any(len(shape) != 4 for shape in shapes):
        problems.append(_problem(net, item, "input_dim takes 4 axes for each top"))
        return
    at = next((i for i, f in enumerate(made.fields) if f.name == "layers"), len(made.fields))
    names = [made.add("input", top) for top in layer.top]
    names[0].before = item.before
    dims = [made.add("input_dim", dim) for shape in shapes for dim in shape]
    new = [*names, *dims]
    kept = [f for f in made.fields if f not in new]
    made.fields[:] = [*kept[:at], *new, *kept[at:]]


def _layer(item: Field, problems: list[Diagnostic], net: Document) -> Field:
    layer: Message = item.value
    kind = message_type("V1LayerParameter")
    made = Message(kind)
    made.opening, made.tail = layer.opening, layer.tail
    if layer.type not in _TO_V1:
        problems.append(_problem(net, item, "V1 has no such layer type"))
    for inner in layer.fields:
        if inner.name == "param":
            continue
        if inner.name == "type":
            made.append(retyped(inner, made, "type", Name(_TO_V1.get(layer.type, "NONE"))))
        elif inner.type is not None and (
            inner.name not in kind.fields or kind.fields[inner.name].dialects
        ):
            problems.append(_problem(net, item, f"V1 has no field {inner.name}"))
        else:
            made.append(retyped(inner, made, inner.name, _single(inner, item, problems, net)))
    _add_specs(made, layer)
    return like(item, "layers", made, message_type("NetParameter"))


def _single(inner: Field, item: Field, problems: list[Diagnostic], net: Document) -> object:
    """Convolutions of that time had one kernel_size, stride and pad, and no dilation or axis."""
    value = inner.value
    if inner.name != "convolution_param":
        return value
    for name in ("kernel_size", "stride", "pad"):
        if len(value.all(name)) > 1:
            problems.append(_problem(net, item, f"V1 takes one {name}"))
    if any(dilation != 1 for dilation in value.dilation):
        problems.append(_problem(net, item, "V1 has no dilation"))
    if value.axis != 1:
        problems.append(_problem(net, item, "V1 has no axis but 1"))
    return copy(value, (f for f in value.fields if f.name not in ("dilation", "axis")))


def _add_specs(made: Message, layer: Message) -> None:
    specs = layer.param
    for name, old in _PARAM.items():
        given = [spec.has(name) for spec in specs]
        if not any(given):
            continue
        # A list has no gaps: what is not given stands as its default.
        last = len(given) - given[::-1].index(True)
        for spec in specs[:last]:
            made.add(old, getattr(spec, name))


def _problem(net: Document, item: Field, problem: str) -> Diagnostic:
    return Diagnostic(
        problem,
        where=net.source.place(item.start),
        subject=f'layer "{item.value.name}" ({item.value.type})',
    )


# Binary


def v1_entries(model: CaffeModel) -> list[Entry]:
    """A caffemodel's layers with V1 headers, to be written with ``legacy``.

    Raises:
        UnsupportedError: V1 has no such layer type; all are named.
        InputError: a blob is damaged, or has more than 4 axes.
    """
    types = caffe().enums["V1LayerParameter.LayerType"].values
    unknown = [layer for layer in model.layers if layer.type not in _TO_V1 and layer.blobs]
    if unknown:
        raise UnsupportedError.of(
            *(
                Diagnostic(
                    "V1 has no such layer type",
                    where=model.bytes_.filename,
                    subject=f'layer "{layer.name}" ({layer.type})',
                )
                for layer in unknown
            )
        )
    made = []
    for layer in model.layers:
        if layer.type not in _TO_V1:
            continue
        for blob in layer.blobs:
            if len(blob.shape) > 4:
                raise InputError(
                    f"a blob has {len(blob.shape)} axes, but V1 takes 4 at most",
                    where=model.bytes_.filename,
                    subject=f'layer "{layer.name}"',
                )
        header = wire.text("V1LayerParameter", "name", layer.name)
        number = wire.number("V1LayerParameter", "type")
        header += wire.varint(number << 3 | wire.VARINT) + wire.varint(types[_TO_V1[layer.type]])
        for field, values in (("bottom", layer.bottoms), ("top", layer.tops)):
            header += b"".join(wire.text("V1LayerParameter", field, value) for value in values)
        made.append(Entry(header, layer.arrays()))
    return made
