"""Reader of ONNX files with memory-mapped initializers: large constants stay in the file.

The headers are read in protobuf's wire format, as those of a caffemodel are. Without the bytes of
the large tensors the rest is small, and the onnx package decodes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from protogen.errors import InputError
from protogen.formats import contents, wire
from protogen.formats.arrayfiles import TIMES, UNPACKED
from protogen.formats.mapped import FileMap, map_file
from protogen.onnx.constants import (
    SHORT,
    check_constants,
    dtype_of,
    element_type,
    external_constant,
    tensors,
)
from protogen.onnx.pairing import check_id
from protogen.onnx.soundness import OWN_DOMAINS, parsed
from protogen.onnx.stream import GRAPH, INITIALIZER, RAW_DATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 1 << 16  # bytes: smaller constants are decoded by the onnx package
FLOAT_DATA = 4  # field number of TensorProto.float_data, the alternative to raw_data


def read_memory_mapped(path: str | Path) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Read a model without the values of its large initializers, and these as arrays by name.

    The arrays are views of the memory-mapped file, or of the external data file.

    Raises:
        InputError: the file cannot be read or is not a valid ONNX model, a constant is invalid, wherever it
            is, or an external data file is missing, too short, was not written together with the model, or
            is far smaller than its constants.
    """
    contents.check_file(path, "model")
    data = wire.Bytes(map_file(path), str(path), "ONNX model")
    arrays: dict[str, NDArray[Any]] = {}
    raw = _without_large(data, arrays)
    model = parsed(raw, str(path))
    maps: dict[str, FileMap | bytes] = {}
    total = 0
    for tensor, owner in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        array = external_constant(tensor, Path(path).parent, maps)
        total += array.nbytes  # constants may share a part of the file
        if total > (most := max(UNPACKED, TIMES * sum(map(len, maps.values())))):
            raise InputError(
                f"the constants in external files take more than {most} bytes, the limit for files of "
                "this size",
                where=str(path),
            )
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        if owner or element_type(tensor.data_type, tensor.name, str(path)).startswith(SHORT):
            tensor.raw_data = array.tobytes()
        else:
            arrays[tensor.name] = array
    check_constants(model, str(path), arrays)
    for location, file in maps.items():
        check_id(model, path, file, Path(path).parent / location)
    return model, arrays


def fill_in(model: ModelProto, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Copy these values into the initializers of a model, which lack them."""
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            tensor.raw_data = arrays[tensor.name].tobytes()


def as_inputs(
    model: ModelProto, arrays: Mapping[str, NDArray[Any]]
) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Return a model whose large constants of floats are inputs, and the arrays of these inputs.

    onnxruntime copies constants at least once; inputs it reads where they are. Integers are shapes, axes
    and indices, which onnxruntime reads while it loads the model. Operators of other domains may require
    constants. An output that is a constant remains one.

    Args:
        model: a model without the values of some of its initializers.
        arrays: these values by name.
    """
    own = all(opset.domain in OWN_DOMAINS for opset in model.opset_import)
    fixed = {value.name for value in model.graph.output}
    feeds = {
        name: array
        for name, array in arrays.items()
        if own and array.dtype.kind == "f" and name not in fixed
    }
    changed = ModelProto()
    changed.CopyFrom(model)
    fill_in(changed, {name: array for name, array in arrays.items() if name not in feeds})
    known = {value.name for value in changed.graph.input}
    constants = list(changed.graph.initializer)
    del changed.graph.initializer[:]
    for tensor in constants:
        if tensor.name not in feeds:
            changed.graph.initializer.append(tensor)
        elif tensor.name not in known:
            value = changed.graph.input.add(name=tensor.name)
            value.type.tensor_type.elem_type = tensor.data_type
            for length in tensor.dims:
                value.type.tensor_type.shape.dim.add(dim_value=length)
    return changed, feeds


def _without_large(data: wire.Bytes, arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return the file's bytes without the values of large initializers; add these to ``arrays``."""
    rest = bytearray()
    for span in data.fields(0, len(data)):
        if span.number != GRAPH or span.kind != wire.BYTES:
            rest += data.data[span.tag : span.end]
            continue
        graph = bytearray()
        for part in data.fields(span.start, span.end):
            data.part(part.tag)
            if part.number == INITIALIZER and part.end - part.start > LARGE:
                header = _without_values(data, part, arrays)
                graph += (
                    wire.varint(INITIALIZER << 3 | wire.BYTES) + wire.varint(len(header)) + header
                )
            else:
                graph += data.data[part.tag : part.end]
        rest += wire.varint(GRAPH << 3 | wire.BYTES) + wire.varint(len(graph)) + graph
    return bytes(rest)


def _without_values(data: wire.Bytes, outer: wire.Span, arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return an encoded TensorProto without its values and add them to ``arrays``.

    Values that are not contiguous in the file stay in the TensorProto.
    """
    import numpy as np

    header = bytearray()
    values: wire.Span | None = None
    for span in data.fields(outer.start, outer.end):
        if span.number in (RAW_DATA, FLOAT_DATA) and span.kind == wire.BYTES and values is None:
            values = span
        else:
            header += data.data[span.tag : span.end]
    try:
        tensor = TensorProto.FromString(bytes(header))
    except (DecodeError, UnicodeDecodeError) as error:
        raise data.error(outer.tag, f"cannot read a constant ({error})") from None
    type_name = element_type(tensor.data_type, tensor.name, data.filename)
    if values is None or tensor.external_data or type_name.startswith(SHORT):
        return bytes(data.data[outer.start : outer.end])
    dtype = dtype_of(tensor)
    count = prod(tensor.dims)
    if values.end - values.start != count * dtype.itemsize or any(n < 0 for n in tensor.dims):
        raise data.error(
            outer.tag,
            f'constant "{tensor.name}" has {values.end - values.start} bytes of values, which does '
            f"not match its shape {list(tensor.dims)}",
        )
    array = np.frombuffer(data.data, dtype, count, values.start)
    arrays[tensor.name] = array.reshape(tuple(tensor.dims))
    return bytes(header)
