"""Binary nets of dialects: layers with a dialect's own field numbers, and whole nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protogen.errors import InputError
from protogen.formats import wire
from protogen.formats.mapped import map_file
from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.prototxt import Document
from protogen.formats.schema import MessageType, caffe, message_type
from protogen.formats.schema.dialect import BVLC, Definition, check_name, facts, in_words
from protogen.formats.schema.source import SCALARS


def layer_bytes(layer: Message, name: str, dialect: str) -> bytes:
    """Return a LayerParameter without its blobs in wire format, as the Caffe of a dialect writes it.
    Fields that the dialect lacks are left out.

    Args:
        name: the name of the layer.

    Raises:
        InputError: the dialect's field cannot hold a value.
    """
    from protogen.formats.schema.dialect_pool import dialect_class

    proto: Any = dialect_class(dialect, "LayerParameter")()
    _fill(proto, layer, "LayerParameter", dialect)
    proto.name = name
    raw: bytes = proto.SerializeToString(deterministic=True)
    return raw


def _fill(proto: Any, message: Message, kind: str, dialect: str) -> None:
    """Copy the fields that a dialect has; blobs are left out."""
    known = facts()
    for item in message.fields:
        one = known.field(dialect, kind, item.name)
        if one is None or item.name == "blobs":
            continue
        repeated = one.label == "repeated"
        if isinstance(item.value, Message):
            if one.type in SCALARS or one.type in known.enums:
                raise _misfit(item, dialect)
            inner = getattr(proto, item.name)
            inner = inner.add() if repeated else inner
            inner.SetInParent()
            _fill(inner, item.value, one.type, dialect)
            continue
        try:
            value = _number(item, one, dialect)
            if repeated:
                getattr(proto, item.name).append(value)
            else:
                setattr(proto, item.name, value)
        except (TypeError, ValueError, AttributeError):
            raise _misfit(item, dialect) from None


def _number(item: Field, one: Definition, dialect: str) -> Any:
    """Return a value as protobuf takes it: the number of a value of an enum."""
    known = facts()
    if one.type in known.enums and isinstance(item.value, str):
        bit = known.bits[dialect]
        has = known.values.get((one.type, str(item.value)), ())
        return next((number for dialects, number in has if dialects & bit), None)
    whole = one.type not in ("float", "double", "bool", "string", "bytes")
    return int(item.value) if whole and isinstance(item.value, float) else item.value


def _misfit(item: Field, dialect: str) -> InputError:
    return InputError(
        f"the dialect {dialect} has another type for {item.name}, which cannot hold {item.value}"
    )


def check_layers(net: Message, path: str | Path, binary: bool) -> None:
    """Check that an upgraded net has layers, and in a caffemodel also those that give it its data, which
    many writers of weights leave out.

    Raises:
        InputError: it has none.
    """
    if not net.layer:
        raise InputError("the net has no layers", where=str(path))
    if binary and all(layer.bottom for layer in net.layer):
        raise InputError(
            "the caffemodel does not declare the inputs of its net",
            where=str(path),
            advice=f"Name the prototxt before it: NET.prototxt {path}.",
        )


def read_binary_net(path: str | Path, dialect: str = "") -> Document:
    """Return the net in a binary file (a caffemodel or another NetParameter), without its blobs.

    Args:
        dialect: the dialect that wrote the file. By default it is BVLC Caffe, if its schema explains
            the bytes.

    Raises:
        InputError: the file is missing or damaged, or the schema of the dialect does not explain its
            bytes. The message names the dialects that do.
    """
    from protogen.formats.schema.dialect_pool import dialect_class
    from protogen.formats.schema.pool import DecodeError
    from protogen.toolchains.binary_detection import detect_binary

    check_name(dialect or BVLC)
    data = wire.Bytes(map_file(path), str(path))
    detection = detect_binary(data)
    chosen = dialect or BVLC
    if chosen not in detection.possible:
        lacks = next(iter(detection.lacks.get(chosen, ())), None)
        others = (
            f"Set --dialect to one of: {in_words(detection.possible)}."
            if detection.possible
            else ""
        )
        if not others:
            others = (
                f"No known dialect explains all of its bytes; the closest is {detection.closest}."
            )
        raise InputError(
            f"the file is not of the dialect {chosen}: it has no {lacks}",
            where=str(path),
            advice=others,
        )
    try:
        proto = dialect_class(chosen, "NetParameter").FromString(_without_blobs(data, chosen))
    except (DecodeError, UnicodeDecodeError) as error:
        raise data.error(0, f"the net cannot be read ({error})") from None
    net = Document(message_type("NetParameter"), Source("", str(path)))
    net.fields = _message(proto, "NetParameter", chosen).fields
    return net


def _without_blobs(data: wire.Bytes, dialect: str) -> bytes:
    """Return the bytes of a net whose layers have no blobs."""
    known = facts()
    blobs: dict[int, int] = {}  # the number of the field with the blobs, by that of the layers
    for field in ("layer", "layers"):
        outer = known.field(dialect, "NetParameter", field)
        inner = known.field(dialect, outer.type, "blobs") if outer else None
        if outer and inner:
            blobs[outer.number] = inner.number
    pieces: list[bytes] = []
    for span in data.fields(0, len(data)):
        if span.number not in blobs:
            pieces.append(bytes(data.data[span.tag : span.end]))
            continue
        others = [
            bytes(data.data[one.tag : one.end])
            for one in data.fields(span.start, span.end)
            if one.number != blobs[span.number]
        ]
        length = sum(map(len, others))
        pieces += [wire.varint(span.number << 3 | wire.BYTES), wire.varint(length), *others]
    return b"".join(pieces)


def _message(proto: Any, kind: str, dialect: str) -> Message:
    """Return a message of a dialect's class with the fields of protogen's schema. Blobs are left out."""
    known = facts()
    own: MessageType | None = caffe().messages.get(kind)
    message = Message(own)
    for descriptor, value in proto.ListFields():
        one = known.field(dialect, kind, descriptor.name)
        if one is None or descriptor.name == "blobs":
            continue
        definition = own.fields.get(descriptor.name) if own is not None else None
        for item in value if one.label == "repeated" else [value]:
            message.append(Field(descriptor.name, _plain(item, one, dialect), definition))
    return message


def _plain(value: Any, one: Definition, dialect: str) -> Any:
    known = facts()
    if one.type in known.enums:
        bit = known.bits[dialect]
        for name in known.enums[one.type]:
            if any(n == value and has & bit for has, n in known.values[(one.type, name)]):
                return Name(name)
        return value
    if one.type == "float":
        import numpy as np

        return float(str(np.float32(value)))
    return value if one.type in SCALARS else _message(value, one.type, dialect)
