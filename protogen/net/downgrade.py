"""Converts a net to the V1 format (``layers { type: CONVOLUTION }``) of old vendor tools."""

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
    """Return the net with ``layers`` of V1 and legacy ``input`` fields.

    Raises:
        UnsupportedError: V1 does not have a layer type or field that the net uses; it names all.
    """
    v1 = Document(message_type("NetParameter"), net.source)
    v1.tail = net.tail
    problems: list[Diagnostic] = []
    for item in net.fields:
        if item.name != "layer":
            v1.append(item)
        elif item.value.type == "Input":
            _add_inputs(v1, item, problems, net)
        else:
            v1.append(_layer(item, problems, net))
    if problems:
        raise UnsupportedError.of(*problems)
    return v1


def _add_inputs(v1: Message, item: Field, problems: list[Diagnostic], net: Document) -> None:
    layer: Message = item.value
    shapes = [list(shape.dim) for shape in layer.input_param.shape]
    shapes = shapes * len(layer.top) if len(shapes) == 1 else shapes
    if not layer.top or any(len(shape) != 4 for shape in shapes):
        problems.append(_problem(net, item, "V1 inputs (input_dim) must have 4 axes"))
        return
    at = next((i for i, f in enumerate(v1.fields) if f.name == "layers"), len(v1.fields))
    names = [v1.add("input", top) for top in layer.top]
    names[0].before = item.before
    dims = [v1.add("input_dim", dim) for shape in shapes for dim in shape]
    new = [*names, *dims]
    others = [f for f in v1.fields if f not in new]
    v1.fields[:] = [*others[:at], *new, *others[at:]]


def _layer(item: Field, problems: list[Diagnostic], net: Document) -> Field:
    layer: Message = item.value
    kind = message_type("V1LayerParameter")
    v1 = Message(kind)
    v1.opening, v1.tail = layer.opening, layer.tail
    if layer.type not in _TO_V1:
        problems.append(_problem(net, item, "V1 does not have this layer type"))
    for inner in layer.fields:
        if inner.name == "param":
            continue
        if inner.name == "type":
            v1.append(retyped(inner, v1, "type", Name(_TO_V1.get(layer.type, "NONE"))))
        elif inner.type is not None and (
            inner.name not in kind.fields or kind.fields[inner.name].dialects
        ):
            problems.append(_problem(net, item, f"V1 does not have the field {inner.name}"))
        else:
            v1.append(retyped(inner, v1, inner.name, _single(inner, item, problems, net)))
    _add_specs(v1, layer)
    return like(item, "layers", v1, message_type("NetParameter"))


def _single(inner: Field, item: Field, problems: list[Diagnostic], net: Document) -> object:
    """Check that V1 supports a convolution_param, and return it without dilation and axis. A V1
    convolution has one kernel_size, stride and pad, no dilation, and axis 1."""
    value = inner.value
    if inner.name != "convolution_param":
        return value
    for name in ("kernel_size", "stride", "pad"):
        if len(value.all(name)) > 1:
            problems.append(_problem(net, item, f"V1 supports only one {name}"))
    if any(dilation != 1 for dilation in value.dilation):
        problems.append(_problem(net, item, "V1 does not support dilation"))
    if value.axis != 1:
        problems.append(_problem(net, item, "V1 supports only axis 1"))
    return copy(value, (f for f in value.fields if f.name not in ("dilation", "axis")))


def _add_specs(v1: Message, layer: Message) -> None:
    specs = layer.param
    for name, old in _PARAM.items():
        is_set = [spec.has(name) for spec in specs]
        if not any(is_set):
            continue
        # A list cannot have gaps: a value that is not set is written as its default.
        last = len(is_set) - is_set[::-1].index(True)
        for spec in specs[:last]:
            v1.add(old, getattr(spec, name))


def _problem(net: Document, item: Field, problem: str) -> Diagnostic:
    return Diagnostic(
        problem,
        where=net.source.place(item.start),
        subject=f'layer "{item.value.name}" ({item.value.type})',
    )


# Caffemodels


def v1_entries(model: CaffeModel) -> list[Entry]:
    """Return the layers of a caffemodel with V1 headers, for ``write_weights`` with ``legacy``.

    Raises:
        UnsupportedError: V1 does not have a layer type of the model; it names all.
        InputError: a blob is damaged, or has more than 4 axes.
    """
    types = caffe().enums["V1LayerParameter.LayerType"].values
    unknown = [layer for layer in model.layers if layer.type not in _TO_V1 and layer.blobs]
    if unknown:
        raise UnsupportedError.of(
            *(
                Diagnostic(
                    "V1 does not have this layer type",
                    where=model.bytes_.filename,
                    subject=f'layer "{layer.name}" ({layer.type})',
                )
                for layer in unknown
            )
        )
    entries = []
    for layer in model.layers:
        if layer.type not in _TO_V1:
            continue
        for blob in layer.blobs:
            if len(blob.shape) > 4:
                raise InputError(
                    f"a blob has {len(blob.shape)} axes, but V1 supports at most 4",
                    where=model.bytes_.filename,
                    subject=f'layer "{layer.name}"',
                )
        header = wire.text("V1LayerParameter", "name", layer.name)
        number = wire.number("V1LayerParameter", "type")
        header += wire.varint(number << 3 | wire.VARINT) + wire.varint(types[_TO_V1[layer.type]])
        for field, values in (("bottom", layer.bottoms), ("top", layer.tops)):
            header += b"".join(wire.text("V1LayerParameter", field, value) for value in values)
        entries.append(Entry(header, layer.arrays()))
    return entries
