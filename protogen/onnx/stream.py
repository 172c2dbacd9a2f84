"""Programs to files without their weights in memory: headers are built, and the bytes of weights go
from the mapped caffemodel to the new file as they stand."""

from __future__ import annotations

from typing import BinaryIO

from onnx import StringStringEntryProto, TensorProto

from protogen.formats.mapped import PAGE, Progress, write_array
from protogen.onnx.model import header, hollow
from protogen.onnx.program import Program, Tensor

# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data: field numbers of onnx.proto
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
OUTSIDE = 1024  # bytes: smaller constants stay in the model, also with external data


def write(
    program: Program,
    file: BinaryIO,
    external: BinaryIO | None = None,
    location: str = "",
    progress: Progress | None = None,
) -> None:
    """Writes the model.

    Args:
        program: the model.
        file: gets the ModelProto.
        external: gets the values of large tensors, where they are to stand in a file of their own.
        location: the name of that file, beside the model's.
        progress: is told how many bytes of weights were written each time.
    """
    model = hollow(program, program.inputs)
    graph = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    outside = _placed(program) if external is not None else {}
    heads = {
        name: _head(name, tensor, outside.get(name), location)
        for name, tensor in program.tensors.items()
    }
    sizes = [
        len(heads[name]) + (0 if name in outside else tensor.size)
        for name, tensor in program.tensors.items()
    ]
    total = len(graph) + sum(len(_tag(INITIALIZER, size)) + size for size in sizes)
    file.write(model.SerializeToString(deterministic=True))
    file.write(_tag(GRAPH, total))
    file.write(graph)
    for (name, tensor), size in zip(program.tensors.items(), sizes, strict=True):
        file.write(_tag(INITIALIZER, size))
        file.write(heads[name])
        if name not in outside:
            write_array(tensor.array(), file, progress)
    if external is not None:
        at = 0
        for name, start in outside.items():
            external.write(bytes(start - at))
            write_array(program.tensors[name].array(), external, progress)
            at = start + program.tensors[name].size


def _placed(program: Program) -> dict[str, int]:
    """Where each large tensor begins in the file beside the model: on pages, so that readers can map
    them."""
    starts, at = {}, 0
    for name, tensor in program.tensors.items():
        if tensor.size > OUTSIDE:
            starts[name] = at = -(-at // PAGE) * PAGE
            at += tensor.size
    return starts


def _head(name: str, tensor: Tensor, start: int | None, location: str) -> bytes:
    """A TensorProto up to its values."""
    made = header(name, tensor)
    if start is None:
        raw: bytes = made.SerializeToString(deterministic=True) + _tag(RAW_DATA, tensor.size)
        return raw
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", start), ("length", tensor.size)):
        made.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    raw = made.SerializeToString(deterministic=True)
    return raw


def _tag(number: int, length: int) -> bytes:
    from protogen.formats.wire import BYTES, varint

    return varint(number << 3 | BYTES) + varint(length)
