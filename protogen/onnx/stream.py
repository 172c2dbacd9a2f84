"""Writer for ONNX files of any size: the weights are never in memory as a whole.

Only the headers are built. The bytes of the weights are copied from the memory-mapped caffemodel to
the new file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from onnx import ModelProto, StringStringEntryProto, TensorProto

from protogen.formats import pairs
from protogen.formats.mapped import PAGE, Progress, write_array
from protogen.onnx.model import header, model_without_tensors
from protogen.onnx.pairing import set_id
from protogen.onnx.program import Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    tensors = program.tensors
    model = model_without_tensors(program, program.inputs)
    headers = {name: header(name, tensor) for name, tensor in tensors.items()}
    sizes = {name: tensor.size for name, tensor in tensors.items()}
    arrays = (tensor.array() for tensor in tensors.values())
    _write(model, headers, sizes, arrays, file, external, location, progress)


def write_model(
    model: ModelProto,
    arrays: Mapping[str, NDArray[Any]],
    file: BinaryIO,
    external: BinaryIO | None = None,
    location: str = "",
    progress: Progress | None = None,
) -> None:
    """Write a model whose large constants lack their values; see ``write``.

    Args:
        arrays: the values of these constants by name.
    """
    rest = ModelProto()
    rest.CopyFrom(model)
    del rest.graph.initializer[:]
    rest.graph.initializer.extend(one for one in model.graph.initializer if one.name not in arrays)
    headers = {one.name: one for one in model.graph.initializer if one.name in arrays}
    sizes = {name: arrays[name].nbytes for name in headers}
    values = (arrays[name] for name in headers)
    _write(rest, headers, sizes, values, file, external, location, progress)


def _write(
    model: ModelProto,
    headers: Mapping[str, TensorProto],
    sizes: Mapping[str, int],
    arrays: Iterable[NDArray[Any]],
    file: BinaryIO,
    external: BinaryIO | None,
    location: str,
    progress: Progress | None,
) -> None:
    """Write a model and its constants: their headers, their sizes in bytes, and their values in the same
    order."""
    graph = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    offsets = _external_offsets(sizes) if external is not None else {}
    pair = pairs.new_id(graph) if external is not None else ""
    set_id(model, pair)
    raws = {
        name: _tensor_header(proto, sizes[name], offsets.get(name), location)
        for name, proto in headers.items()
    }
    lengths = {
        name: len(raw) + (0 if name in offsets else sizes[name]) for name, raw in raws.items()
    }
    total = len(graph) + sum(len(_tag(INITIALIZER, n)) + n for n in lengths.values())
    file.write(model.SerializeToString(deterministic=True))
    file.write(_tag(GRAPH, total))
    file.write(graph)
    position = 0
    for name, array in zip(raws, arrays, strict=True):
        file.write(_tag(INITIALIZER, lengths[name]))
        file.write(raws[name])
        if name not in offsets:
            write_array(array, file, progress)
        elif external is not None:
            external.write(bytes(offsets[name] - position))
            write_array(array, external, progress)
            position = offsets[name] + sizes[name]
    if external is not None:
        external.write(pairs.as_tail(pair))


def _external_offsets(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the offset of each large tensor in the external file.

    Offsets are multiples of the page size, so that readers can memory-map the tensors.
    """
    offsets, end = {}, 0
    for name, size in sizes.items():
        if size > EXTERNAL_FROM:
            offsets[name] = end = -(-end // PAGE) * PAGE
            end += size
    return offsets


def _tensor_header(proto: TensorProto, size: int, start: int | None, location: str) -> bytes:
    """Encode a TensorProto up to, but without, the bytes of its values."""
    if start is None:
        raw: bytes = proto.SerializeToString(deterministic=True) + _tag(RAW_DATA, size)
        return raw
    external = TensorProto()
    external.CopyFrom(proto)
    external.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", start), ("length", size)):
        external.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    raw = external.SerializeToString(deterministic=True)
    return raw


def _tag(number: int, length: int) -> bytes:
    """Encode the tag and length of a length-delimited protobuf field."""
    from protogen.formats.wire import BYTES, varint

    return varint(number << 3 | BYTES) + varint(length)
