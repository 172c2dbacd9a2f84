"""Writes a net in the form that the parser of a toolchain reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from protogen.errors import UnsupportedError
from protogen.formats import prototxt
from protogen.formats.message import Field, Message
from protogen.formats.schema.dialect import facts
from protogen.toolchains.detection import INPUT

if TYPE_CHECKING:
    from protogen.toolchains.toolchain import Schema


def check_form(schema: Schema) -> None:
    """Raise UnsupportedError if the parser reads only nets in the V1 format."""
    if schema.dialect and facts().field(schema.dialect, "NetParameter", "layer") is None:
        raise UnsupportedError(
            "its Caffe reads only nets in the V1 format",
            subject=f"dialect {schema.dialect}",
            advice="Write the net without it, then run protogen upgrade NET --to v1.",
        )


def text_for(net: Message, schema: Schema | None = None) -> str:
    """Return the text of a net as a parser reads it. A Caffe that is older than the layer type Input
    gets the inputs as fields of the net.

    Args:
        schema: the parser; None for that of BVLC Caffe.
    """
    if is_layer(INPUT, schema):
        return prototxt.write(net)
    old = Message(net.kind)
    old.opening, old.tail = net.opening, net.tail
    for item in net.fields:
        if item.name == "layer" and item.value.type == INPUT:
            inputs = list(_inputs(item, old))
            inputs[0].before = item.before
            old.fields += inputs
        else:
            old.fields.append(item)
    # Caffe reads all names before all shapes, and the parser needs them at the level of the net.
    old.fields.sort(key=lambda item: item.name == "layer")
    return prototxt.write(old)


def has_input_layer(dialect: str) -> bool:
    """Return whether a dialect has the layer type Input."""
    known = facts()
    return bool(known.types[INPUT] & known.bits[dialect])


def is_layer(type_: str, schema: Schema | None) -> bool:
    """Return whether a parser reads a layer of this type as a layer: an Input of old Caffes is not."""
    dialect = schema.dialect if schema is not None else ""
    return type_ != INPUT or not dialect or has_input_layer(dialect)


def _inputs(item: Field, net: Message) -> Iterator[Field]:
    """Yield the fields of the net that stand for an Input layer."""
    layer: Message = item.value
    shapes = layer.input_param.shape
    shapes = shapes * len(layer.top) if len(shapes) == 1 else shapes
    assert net.kind is not None
    for top, shape in zip(layer.top, shapes, strict=True):
        yield Field("input", top, net.kind.fields["input"])
        yield Field("input_shape", shape, net.kind.fields["input_shape"])
