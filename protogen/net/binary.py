"""Messages to protobuf's own classes and back, for the parts of binary files that are not weights."""

from __future__ import annotations

from typing import Any

from protogen.formats.caffemodel import CaffeModel, Entry, StoredLayer
from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.prototxt import Document
from protogen.formats.schema import MessageType, message_type
from protogen.formats.schema.pool import DecodeError, message_class
from protogen.net.upgrade import upgrade


def to_protobuf(message: Message) -> Any:
    """The protobuf message of the same content. Fields that no schema knows are left out: they
    have no number."""
    assert message.kind is not None
    made = message_class(message.kind.name)()
    _fill(made, message)
    return made


def _fill(made: Any, message: Message) -> None:
    for item in message.fields:
        known = item.type
        if known is None:
            continue
        value = item.value
        if known.message is not None:
            inner = getattr(made, item.name)
            inner = inner.add() if known.repeated else inner
            inner.SetInParent()
            _fill(inner, value)
            continue
        if known.enum is not None:
            if value not in known.enum.values:
                continue
            value = known.enum.values[value]
        if known.repeated:
            getattr(made, item.name).append(value)
        else:
            setattr(made, item.name, value)


def from_protobuf(found: Any, kind: MessageType) -> Message:
    """The Message of a protobuf message; float32 values become the shortest decimal that is
    them."""
    made = Message(kind)
    for descriptor, value in found.ListFields():
        known = kind.fields[descriptor.name]
        for one in value if known.repeated else [value]:
            made.append(Field(known.name, _plain(one, known), known))
    return made


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
    """A caffemodel's layers in today's form: V0 and V1 layers with their parameters upgraded, as
    Caffe does; layers of today are passed on byte for byte.

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
    made = []
    for layer in model.layers:
        if layer.form == "V2":
            made.append(Entry(_without_blobs(model, layer), layer.arrays()))
        elif layer.name in new:
            try:
                raw = to_protobuf(new[layer.name]).SerializeToString(deterministic=True)
            except UnicodeError:
                raise model.bytes_.error(layer.span[0], "a layer's text is no UTF-8") from None
            made.append(Entry(raw, layer.arrays()))
        elif layer.blobs:  # a padding layer, of which nothing is left
            raise model.bytes_.error(layer.span[0], f'the padding layer "{layer.name}" has weights')
    return made


def _parsed(model: CaffeModel, layer: StoredLayer, raw: bytes) -> Any:
    """A V1 layer's message."""
    try:
        return message_class("V1LayerParameter").FromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise model.bytes_.error(layer.span[0], f"a layer cannot be read ({error})") from None


def _without_blobs(model: CaffeModel, layer: StoredLayer) -> bytes:
    """The layer's own bytes but for its blobs (V0: the whole, its blobs stand deeper)."""
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
    """A V0 layer without the blobs of its inner message."""
    start, end = layer.span
    parsed = _parsed(model, layer, bytes(model.bytes_.data[start:end]))
    del parsed.layer.blobs[:]
    raw: bytes = parsed.SerializeToString()
    return raw
