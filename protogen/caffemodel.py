"""The binary form of a net's weights (.caffemodel): a streaming writer.

A caffemodel is a NetParameter in protobuf's wire format. Its bulk is packed float32, which is
written straight from the arrays' memory; only headers of a few bytes are made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from protogen.errors import InputError, layout
from protogen.schema import message_type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.graph import Layer
    from protogen.net import Net

_LENGTH_DELIMITED = 2
LIMIT = 2**31 - 1  # protobuf, and so Caffe, reads no larger message


def varint(value: int) -> bytes:
    """A whole number of 0 or more in protobuf's base-128 form."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _head(message: str, field: str, length: int) -> bytes:
    """Tag and length that go before a length-delimited field's bytes."""
    number = message_type(message).fields[field].number
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(length)


def _text(message: str, field: str, value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return _head(message, field, len(raw)) + raw


def write_weights(file: BinaryIO, net: Net) -> None:
    """Streams a net's weights as a caffemodel: for each layer its name, type, bottoms and tops,
    and its blobs as float32 with their shapes.

    Raises:
        InputError: the file would pass 2 GiB, which Caffe cannot read.
    """
    parts = [
        (_layer_head(layer), arrays)
        for layer in net.layers
        if (arrays := net.weights.get(layer.name)) is not None
    ]
    blob_heads = [[_blob_heads(array) for array in arrays] for _, arrays in parts]
    lengths = [
        len(head) + sum(len(h) + a.size * 4 for h, a in zip(heads, arrays, strict=True))
        for (head, arrays), heads in zip(parts, blob_heads, strict=True)
    ]
    if sum(lengths) > LIMIT:
        raise InputError(
            layout(
                f"the weights take {sum(lengths) / 2**30:.1f} GiB, but Caffe reads 2 GiB at most"
            )
        )
    if net.name:
        file.write(_text("NetParameter", "name", net.name))
    for (head, arrays), heads, length in zip(parts, blob_heads, lengths, strict=True):
        file.write(_head("NetParameter", "layer", length))
        file.write(head)
        for blob_head, array in zip(heads, arrays, strict=True):
            file.write(blob_head)
            file.write(_float32(array))


def _layer_head(layer: Layer) -> bytes:
    made = _text("LayerParameter", "name", layer.name)
    made += _text("LayerParameter", "type", layer.type)
    for field, values in (("bottom", layer.bottoms), ("top", layer.tops)):
        made += b"".join(_text("LayerParameter", field, value) for value in values)
    return made


def _blob_heads(array: NDArray[np.float32]) -> bytes:
    """Everything of a blob before its values: the enclosing tag, the shape, the data's tag."""
    dims = b"".join(varint(length) for length in array.shape)
    shape = _head("BlobShape", "dim", len(dims)) + dims
    inner = _head("BlobProto", "shape", len(shape)) + shape
    inner += _head("BlobProto", "data", array.size * 4)
    return _head("LayerParameter", "blobs", len(inner) + array.size * 4) + inner


def _float32(array: NDArray[np.float32]) -> memoryview:
    """The array's memory as little-endian float32; a copy is made only where it is not that."""
    import numpy as np

    return np.ascontiguousarray(array, dtype="<f4").reshape(-1).view(np.uint8).data
