"""ONNX files without their weights in memory: large constants stay where they stand in the file.

The file's headers are walked over in protobuf's wire format, as those of a caffemodel are. What is
left after the large tensors' bytes are taken out is small, and is decoded by onnx itself.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from protogen.formats import wire
from protogen.formats.mapped import FileMap, map_file
from protogen.onnx.soundness import SHORT, beside, dtype_of, element_type, parsed
from protogen.onnx.stream import GRAPH, INITIALIZER, RAW_DATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 1 << 16  # bytes: smaller constants are read as they are
FLOAT_DATA = 4  # TensorProto's other field of values


def read_hollow(path: str | Path) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """A model whose large initializers have no values, and these as arrays that are views of the
    mapped file, or of the file beside it that holds them.

    Raises:
        InputError: the file cannot be read or is no ONNX model, or a weight's file is missing or
            too short.
    """
    data = wire.Bytes(map_file(path), str(path), "ONNX model")
    arrays: dict[str, NDArray[Any]] = {}
    raw = _without_large(data, arrays)
    model = parsed(raw, str(path))
    maps: dict[str, FileMap | bytes] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            arrays[tensor.name] = beside(tensor, Path(path).parent, maps)
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
    return model, arrays


def check_places(path: str | Path) -> None:
    """Refuses a model whose weights are in files outside of its folder.

    Raises:
        InputError: as ``read_hollow``.
    """
    read_hollow(path)


def _without_large(data: wire.Bytes, arrays: dict[str, NDArray[Any]]) -> bytes:
    """The file's bytes without those of large initializers, which become arrays."""
    made = bytearray()
    for span in data.fields(0, len(data)):
        if span.number != GRAPH or span.kind != wire.BYTES:
            made += data.data[span.tag : span.end]
            continue
        graph = bytearray()
        for part in data.fields(span.start, span.end):
            data.part(part.tag)
            if part.number == INITIALIZER and part.end - part.start > LARGE:
                head = _tensor(data, part, arrays)
                graph += wire.varint(INITIALIZER << 3 | wire.BYTES) + wire.varint(len(head)) + head
            else:
                graph += data.data[part.tag : part.end]
        made += wire.varint(GRAPH << 3 | wire.BYTES) + wire.varint(len(graph)) + graph
    return bytes(made)


def _tensor(data: wire.Bytes, outer: wire.Span, arrays: dict[str, NDArray[Any]]) -> bytes:
    """A TensorProto without its values where they stand in one piece; the whole of it else."""
    import numpy as np

    head = bytearray()
    values: wire.Span | None = None
    for span in data.fields(outer.start, outer.end):
        if span.number in (RAW_DATA, FLOAT_DATA) and span.kind == wire.BYTES and values is None:
            values = span
        else:
            head += data.data[span.tag : span.end]
    try:
        tensor = TensorProto.FromString(bytes(head))
    except (DecodeError, UnicodeDecodeError) as error:
        raise data.error(outer.tag, f"a constant cannot be read ({error})") from None
    kind = element_type(tensor.data_type, tensor.name, data.filename)
    if values is None or tensor.external_data or kind.startswith(SHORT):
        return bytes(data.data[outer.start : outer.end])
    dtype = dtype_of(tensor)
    count = prod(tensor.dims)
    if values.end - values.start != count * dtype.itemsize or any(n < 0 for n in tensor.dims):
        raise data.error(
            outer.tag, f'the values of "{tensor.name}" are not those of {list(tensor.dims)}'
        )
    array = np.frombuffer(data.data, dtype, count, values.start)
    arrays[tensor.name] = array.reshape(tuple(tensor.dims))
    return bytes(head)
