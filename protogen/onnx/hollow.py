"""ONNX files without their weights in memory: large constants stay where they stand in the file.

The file's headers are walked over in protobuf's wire format, as those of a caffemodel are. What is
left after the large tensors' bytes are taken out is small, and is decoded by onnx itself.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from protogen import wire
from protogen.errors import InputError, layout
from protogen.mapped import FileMap, map_file
from protogen.onnx.stream import GRAPH, INITIALIZER, RAW_DATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 1 << 16  # bytes: smaller constants are read as they are
FLOAT_DATA = 4  # TensorProto's other field of values
_SHORT = ("BFLOAT16", "FLOAT8", "INT4", "FLOAT4", "INT2")  # numpy has no such types


def read_hollow(path: str | Path) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """A model whose large initializers have no values, and these as arrays that are views of the
    mapped file, or of the file beside it that holds them.

    Raises:
        InputError: the file cannot be read or is no ONNX model, or a weight's file is missing or
            too short.
    """
    data = wire.Bytes(map_file(path), str(path))
    model = ModelProto()
    try:
        arrays: dict[str, NDArray[Any]] = {}
        model.ParseFromString(_without_large(data, arrays))
    except DecodeError as error:
        raise InputError(layout(f"is no ONNX model ({error})", where=str(path))) from None
    except InputError as error:
        raise InputError(str(error).replace("no caffemodel", "no ONNX model")) from None
    if not model.graph.node:
        raise InputError(layout("is no ONNX model, or one without operators", where=str(path)))
    maps: dict[str, FileMap | bytes] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            arrays[tensor.name] = _external(tensor, Path(path).parent, maps)
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
    return model, arrays


def _without_large(data: wire.Bytes, arrays: dict[str, NDArray[Any]]) -> bytes:
    """The file's bytes without those of large initializers, which become arrays."""
    made = bytearray()
    for span in data.fields(0, len(data)):
        if span.number != GRAPH or span.kind != wire.BYTES:
            made += data.data[span.tag : span.end]
            continue
        graph = bytearray()
        for part in data.fields(span.start, span.end):
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
    tensor = TensorProto.FromString(bytes(head))
    kind = TensorProto.DataType.Name(tensor.data_type)
    if values is None or tensor.external_data or kind.startswith(_SHORT):
        return bytes(data.data[outer.start : outer.end])
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
    count = prod(tensor.dims)
    if values.end - values.start != count * dtype.itemsize:
        raise data.error(
            outer.tag, f'the values of "{tensor.name}" are not those of {list(tensor.dims)}'
        )
    array = np.frombuffer(data.data, dtype, count, values.start)
    arrays[tensor.name] = array.reshape(tuple(tensor.dims))
    return bytes(head)


def _external(tensor: TensorProto, folder: Path, maps: dict[str, FileMap | bytes]) -> NDArray[Any]:
    """A constant whose values stand in a file beside the model."""
    import numpy as np

    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    subject = f'constant "{tensor.name}"'
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        raise InputError(
            layout(f"its values are in {location!r}, which is no file beside the model",
                   subject=subject)
        )  # fmt: skip
    file = folder / location
    if location not in maps:
        maps[location] = map_file(file)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
    count, start = prod(tensor.dims), int(told.get("offset", 0))
    if start < 0 or start + count * dtype.itemsize > len(maps[location]):
        raise InputError(
            layout("ends before the values of the constant", where=str(file), subject=subject,
                   advice="It is cut short, or belongs to another model.")
        )  # fmt: skip
    made: NDArray[Any] = np.frombuffer(maps[location], dtype, count, start)
    return made.reshape(tuple(tensor.dims))
