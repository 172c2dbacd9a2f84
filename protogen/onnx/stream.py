"""Writer for ONNX files of any size: the weights are never in memory as a whole.

Only the headers are built. The bytes of the weights are copied from the memory-mapped caffemodel to
the new file.
"""

from __future__ import annotations

from typing import BinaryIO

from onnx import StringStringEntryProto, TensorProto

from protogen.formats.mapped import PAGE, Progress, write_array
from protogen.onnx.model import header, model_without_tensors
from protogen.onnx.program import Program, Tensor

# Field numbers in onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
EXTERNAL_FROM = 1024  # bytes: smaller constants stay in the model file, even with external data


def write(
    program: Program,
    file: BinaryIO,
    external: BinaryIO | None = None,
    location: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the model to an open file.

    Args:
        program: the model.
        file: receives the ModelProto.
        external: receives the values of large tensors as external data; None writes them to ``file``.
        location: file name of ``external``, relative to the model's folder.
        progress: called with the number of bytes of weights after each write.
    """
    model = model_without_tensors(program, program.inputs)
    graph = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    offsets = _external_offsets(program) if external is not None else {}
    headers = {
        name: _tensor_header(name, tensor, offsets.get(name), location)
        for name, tensor in program.tensors.items()
    }
    sizes = [
        len(headers[name]) + (0 if name in offsets else tensor.size)
        for name, tensor in program.tensors.items()
    ]
    total = len(graph) + sum(len(_tag(INITIALIZER, size)) + size for size in sizes)
    file.write(model.SerializeToString(deterministic=True))
    file.write(_tag(GRAPH, total))
    file.write(graph)
    for (name, tensor), size in zip(program.tensors.items(), sizes, strict=True):
        file.write(_tag(INITIALIZER, size))
        file.write(headers[name])
        if name not in offsets:
            write_array(tensor.array(), file, progress)
    if external is not None:
        position = 0
        for name, start in offsets.items():
            external.write(bytes(start - position))
            write_array(program.tensors[name].array(), external, progress)
            position = start + program.tensors[name].size


def _external_offsets(program: Program) -> dict[str, int]:
    """Return the offset of each large tensor in the external file.

    Offsets are multiples of the page size, so that readers can memory-map the tensors.
    """
    offsets, end = {}, 0
    for name, tensor in program.tensors.items():
        if tensor.size > EXTERNAL_FROM:
            offsets[name] = end = -(-end // PAGE) * PAGE
            end += tensor.size
    return offsets


def _tensor_header(name: str, tensor: Tensor, start: int | None, location: str) -> bytes:
    """Encode a TensorProto up to, but without, the bytes of its values."""
    tensor_proto = header(name, tensor)
    if start is None:
        raw: bytes = tensor_proto.SerializeToString(deterministic=True) + _tag(
            RAW_DATA, tensor.size
        )
        return raw
    tensor_proto.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", start), ("length", tensor.size)):
        tensor_proto.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    raw = tensor_proto.SerializeToString(deterministic=True)
    return raw


def _tag(number: int, length: int) -> bytes:
    """Encode the tag and length of a length-delimited protobuf field."""
    from protogen.formats.wire import BYTES, varint

    return varint(number << 3 | BYTES) + varint(length)
