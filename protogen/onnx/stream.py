"""Programs to files without their weights in memory: headers are built, and the bytes of weights go
from the mapped caffemodel to the new file as they stand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import BinaryIO

from onnx import StringStringEntryProto, TensorProto

from protogen.mapped import Place, locate, pieces, release
from protogen.onnx.model import header, hollow
from protogen.onnx.program import Program, Tensor

# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data: field numbers of onnx.proto
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
OUTSIDE = 1024  # bytes: smaller constants stay in the model, also with external data
PAGE = 4096  # external tensors begin on pages, so that readers can map them
CHUNK = 8 << 20  # bytes between two reports of progress

Progress = Callable[[int], object]


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
            _values(tensor, file, progress)
    if external is not None:
        at = 0
        for name, start in outside.items():
            external.write(bytes(start - at))
            _values(program.tensors[name], external, progress)
            at = start + program.tensors[name].size


def _placed(program: Program) -> dict[str, int]:
    """Where each large tensor begins in the file beside the model."""
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
    from protogen.wire import BYTES, varint

    return varint(number << 3 | BYTES) + varint(length)


def _values(tensor: Tensor, file: BinaryIO, progress: Progress | None) -> None:
    import numpy as np

    array = None if callable(tensor.source) else tensor.source
    place = (
        locate(array)
        if array is not None and array.dtype == np.dtype(f"<{_code(tensor)}")
        else None
    )
    if place is not None:
        _copy(place, tensor.size, file, progress)
        return
    for piece in pieces(tensor.array()):
        file.write(piece.data)
        if progress:
            progress(piece.nbytes)


def _code(tensor: Tensor) -> str:
    return {"float32": "f4", "float16": "f2", "int64": "i8"}[tensor.dtype]


def _copy(place: Place, size: int, file: BinaryIO, progress: Progress | None) -> None:
    """Bytes of a mapped file to another file: within the kernel where the platform can."""
    done = 0
    if size >= PAGE and sys.platform.startswith(("linux", "android")):
        file.flush()
        with open(place.map.path, "rb") as source:
            while done < size:
                count = min(CHUNK, size - done)
                try:
                    sent = os.sendfile(file.fileno(), source.fileno(), place.start + done, count)
                except OSError:  # a file system without it: what is left goes through the map
                    break
                if not sent:
                    break
                done += sent
                if progress:
                    progress(sent)
    view = memoryview(place.map)
    while done < size:
        count = min(CHUNK, size - done)
        start = place.start + done
        file.write(view[start : start + count])
        release(place, done, count)
        done += count
        if progress:
            progress(count)
