"""Conversion between Messages and protobuf classes, for binary files without their weights."""

from __future__ import annotations

from typing import Any

from protogen.errors import check_utf8
from protogen.formats.caffemodel import CaffeModel, Entry, StoredLayer
from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.prototxt import Document
from protogen.formats.schema import MessageType, message_type
from protogen.formats.schema.pool import DecodeError, message_class, renumbered_class
from protogen.net.binary_dialects import layer_bytes
from protogen.net.upgrade import upgrade
from protogen.toolchains.toolchain import Schema

_PURPOSE = "protobuf requires of texts in a caffemodel"  # its readers in Python refuse others


def to_protobuf(message: Message) -> Any:
    """Return the protobuf message of the same content. It lacks fields outside of the schema,
    because they have no number."""
    assert message.kind is not None
    proto = message_class(message.kind.name)()
    _fill(proto, message)
    return proto


def layer_header(layer: Message, name: str, schema: Schema | None = None) -> bytes:
    """Return a LayerParameter without its blobs in wire format, as Caffe writes it.

    Args:
        name: the name of the layer.
        schema: the parser that will read it. It decides which fields of forks are written, and their
            numbers; BVLC Caffe's parser by default.
    """
    check_utf8(name, _PURPOSE)
    if schema is not None and schema.dialect:
        return layer_bytes(layer, name, schema.dialect)
    lacks = schema.lacks if schema is not None else frozenset[str]()
    numbers = tuple(sorted(schema.fields.items())) if schema is not None else ()
    proto = renumbered_class(lacks, numbers)()
    _fill(proto, layer)
    proto.name = name
    raw: bytes = proto.SerializeToString(deterministic=True)
    return raw


def _fill(proto: Any, message: Message) -> None:
    """Copy the fields that the class has; blobs are left out."""
    has = proto.DESCRIPTOR.fields_by_name
    for item in message.fields:
        known = item.type
        if known is None or item.name not in has or item.name == "blobs":
            continue
        value = item.value
        if known.message is not None:
            inner = getattr(proto, item.name)
            inner = inner.add() if known.repeated else inner
            inner.SetInParent()
            _fill(inner, value)
            continue
        if known.enum is not None:
            if value not in known.enum.values:
                continue
            value = known.enum.values[value]
        if isinstance(value, str):
            check_utf8(value, _PURPOSE)
        if known.repeated:
            getattr(proto, item.name).append(value)
        else:
            setattr(proto, item.name, value)


def from_protobuf(proto: Any, kind: MessageType) -> Message:
    """Return the Message of a protobuf message. A float32 value becomes the shortest decimal that
    rounds to it."""
    message = Message(kind)
    for descriptor, value in proto.ListFields():
        known = kind.fields[descriptor.name]
        for item in value if known.repeated else [value]:
            message.append(Field(known.name, _plain(item, known), known))
    return message


def _plain(value: Any, known: Any) -> Any:
    if known.message is not None:
        return from_protobuf(value, known.message)
    if known.enum is not None:
        return Name(next(name for name, n in known.enum.values.items() if n == value))
    if known.type_name == "float":
        import numpy as np

        return float(str(np.float32(value)))
    return value


# Upgrading caffemodels


def upgraded_entries(model: CaffeModel, changes: list[str]) -> list[Entry]:
    """Return the layers of a caffemodel in the current format. The parameters of V0 and V1 layers
    are upgraded as in Caffe; the bytes of current layers do not change.

    Raises:
        InputError: a layer is damaged or incomplete.
    """
    old = [layer for layer in model.layers if layer.form != "V2"]
    if not old:
        return [Entry(_without_blobs(model, layer), layer.arrays()) for layer in model.layers]
    source = Source("", model.bytes_.filename)
    net = Document(message_type("NetParameter"), source)
    kind = message_type("V1LayerParameter")
    for layer in old:
        parsed = _parsed(model, layer, _without_blobs(model, layer))
        net.append(
            Field(
                "layers", from_protobuf(parsed, kind), message_type("NetParameter").fields["layers"]
            )
        )
    new = {item.value.name: item.value for item in upgrade(net, changes).all("layer")}
    entries = []
    for layer in model.layers:
        if layer.form == "V2":
            entries.append(Entry(_without_blobs(model, layer), layer.arrays()))
        elif layer.name in new:
            try:
                raw = to_protobuf(new[layer.name]).SerializeToString(deterministic=True)
            except UnicodeError:
                raise model.bytes_.error(
                    layer.span[0], "a string of a layer is not valid UTF-8"
                ) from None
            entries.append(Entry(raw, layer.arrays()))
        elif layer.blobs:  # a padding layer, which the upgrade removes
            raise model.bytes_.error(layer.span[0], f'the padding layer "{layer.name}" has weights')
    return entries


def _parsed(model: CaffeModel, layer: StoredLayer, raw: bytes) -> Any:
    """Return the protobuf message of a V1 layer."""
    try:
        return message_class("V1LayerParameter").FromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise model.bytes_.error(layer.span[0], f"a layer cannot be read ({error})") from None


def _without_blobs(model: CaffeModel, layer: StoredLayer) -> bytes:
    """Return the bytes of a layer without its blobs."""
    data = model.bytes_.data
    start, end = layer.span
    if layer.form == "V0":
        return _v0_without_blobs(model, layer)
    pieces = []
    for a, b in layer.blob_spans:
        pieces.append(bytes(data[start:a]))
        start = b
    return b"".join([*pieces, bytes(data[start:end])])


def _v0_without_blobs(model: CaffeModel, layer: StoredLayer) -> bytes:
    """Return the bytes of a V0 layer without the blobs of its inner message."""
    start, end = layer.span
    parsed = _parsed(model, layer, bytes(model.bytes_.data[start:end]))
    del parsed.layer.blobs[:]
    raw: bytes = parsed.SerializeToString()
    return raw
