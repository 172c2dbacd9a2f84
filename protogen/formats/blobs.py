"""Blobs of binary Caffe files: the headers are parsed, the values stay in the mapped file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, quantity
from protogen.formats import wire
from protogen.geometry import Shape, shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_AXES = 32  # Caffe's own limit
LARGEST = 2**31 - 1  # the longest axis
_BLOB = {
    wire.number("BlobProto", n): n
    for n in ("shape", "data", "double_data", "num", "channels", "height", "width")
}
LEGACY = ("num", "channels", "height", "width")
# C3D 1.0 stores five lengths, so the numbers after them differ.
_C3D_LENGTHS = ("num", "channels", "length", "height", "width")
_C3D_BLOB = {**dict(enumerate(_C3D_LENGTHS, 1)), 6: "data"}
# Fields of forks, by number and wire type. NVIDIA's fork: the values in their memory format, and their
# type. Xilinx's fork: a format that is not 0 marks encrypted values. Cambricon's fork: integers.
_RAW_TYPE, _RAW_DATA = (10, wire.VARINT), (12, wire.BYTES)
_ENCRYPTED, _INTEGERS = (12, wire.VARINT), (101, wire.BYTES)
_OF_FORKS = (_RAW_TYPE, _RAW_DATA, _ENCRYPTED, _INTEGERS)
_RAW = {0: "<f8", 1: "<f4", 2: "<f2"}
# Tags of the fields in a usual blob.
_SHAPE_TAG, _DATA_TAG = (wire.number("BlobProto", n) << 3 | wire.BYTES for n in ("shape", "data"))
_LENGTH_TAGS = {wire.number("BlobProto", n) << 3: axis for axis, n in enumerate(LEGACY)}
_SHORT = 64  # bytes of a shape


@dataclass(slots=True)
class Blob:
    """One parameter blob of a file. Only ``array`` reads its values. ``pieces`` are the byte ranges
    of the values: a single range if Caffe wrote the file."""

    shape: Shape
    dtype: str
    pieces: list[tuple[int, int, int]]  # start, end, stride in bytes
    count: int
    at: int
    bytes_: wire.Bytes

    def array(self) -> NDArray[np.floating]:
        """Return the values, in the blob's shape: a view of the mapped file if they are
        contiguous.

        Raises:
            InputError: the number of values does not match the shape.
        """
        import numpy as np

        if self.count != (expected := math.prod(self.shape)):
            shape, actual = shape_text(self.shape), quantity(self.count, "value")
            raise self.bytes_.error(
                self.at, f"a blob of shape {shape} has {actual}, expected {expected}"
            )
        if max(self.shape, default=0) > LARGEST:  # the count can match if another length is 0
            raise self.bytes_.error(self.at, f"a blob has an axis of length {max(self.shape)}")
        kind = _dtype(self.dtype)
        if len(self.pieces) == 1 and self.count and self.pieces[0][2] == kind.itemsize:
            return np.ndarray(self.shape, kind, self.bytes_.data, self.pieces[0][0])
        views = []
        for start, end, stride in self.pieces:
            if stride == kind.itemsize:
                count = (end - start) // stride
                view = np.frombuffer(self.bytes_.data, kind, count, start)
            else:  # unpacked: a tag precedes each value
                rows = np.frombuffer(self.bytes_.data, np.uint8, end - start, start)
                tag = stride - kind.itemsize
                view = rows.reshape(-1, stride)[:, tag:].copy().view(kind)[:, 0]
            views.append(view)
        flat = views[0] if len(views) == 1 else np.concatenate([np.empty(0, kind), *views])
        shaped: NDArray[np.floating] = flat.reshape(self.shape)
        return shaped


@cache
def _dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(name)


def usual_blob(data: wire.Bytes, tag: int, at: int, end: int) -> Blob | None:
    """Return the blob from ``at`` to ``end`` if it has the form that Caffe writes: a shape or four lengths,
    and float32 values in one piece. Otherwise, and if it is damaged, return None: ``parse_blob`` reads
    these.

    Raises:
        IndexError: the blob is damaged.
    """
    buffer = data.data
    shape: Shape | None = None
    legacy = [0, 0, 0, 0]
    has_legacy = False
    first = last = -1
    while at < end:
        key, length = buffer[at], buffer[at + 1]
        start = at + 2
        if length > 0x7F:
            length, start = data.varint(at + 1, end)
        if key == _DATA_TAG:
            at = last = start + length
            if first >= 0 or length % 4 or at > end:
                return None
            first = start
        elif key == _SHAPE_TAG:
            at = start + length
            if shape is not None or length > _SHORT or at > end:
                return None
            shape = _usual_shape(bytes(buffer[start:at]))
            if shape is None:
                return None
        elif key in _LENGTH_TAGS:
            legacy[_LENGTH_TAGS[key]] = length
            has_legacy, at = True, start
        else:
            return None
    if first < 0 or at > end or not data.has_room(2):
        return None
    data.parts += 2
    count = (last - first) // 4
    if shape is None:
        shape = tuple(legacy) if has_legacy else (count,) if count != 1 else ()
    return Blob(shape, "<f4", [(first, last, 4)], count, tag, data)


@lru_cache(1024)
def _usual_shape(raw: bytes) -> Shape | None:
    """Return the lengths in a BlobShape; None if it is damaged. Most blobs of a net share few shapes."""
    try:
        return _dims(wire.Bytes(raw, ""), wire.Span(0, wire.BYTES, 0, len(raw), 0))
    except InputError:
        return None


def parse_blob(data: wire.Bytes, outer: wire.Span) -> Blob:
    """Parse a BlobProto without reading its values.

    Raises:
        InputError: the blob is damaged, or its shape is invalid.
    """
    shape: Shape | None = None
    legacy: dict[str, int] = {}
    values: dict[str, tuple[list[tuple[int, int, int]], int]] = {}
    of_forks: dict[tuple[int, int], wire.Span] = {}
    names, lengths = (_C3D_BLOB, _C3D_LENGTHS) if _is_c3d(data, outer) else (_BLOB, LEGACY)
    data.part(outer.tag)
    at = outer.start
    while at < outer.end:
        span = data.field(at, outer.end)
        at = span.end
        name = names.get(span.number)
        if name == "shape" and span.kind == wire.BYTES:
            shape = _dims(data, span)
        elif name is not None and name in lengths and span.kind == wire.VARINT:
            legacy[name] = span.value
        elif name in ("data", "double_data"):
            width = 4 if name == "data" else 8
            data.part(span.tag)
            pieces, count = values.setdefault(name, ([], 0))
            if span.kind == wire.BYTES:
                length = span.end - span.start
                if length % width:
                    raise data.error(
                        span.tag, f"{name} has {length} bytes, expected a multiple of {width}"
                    )
                pieces.append((span.start, span.end, width))
                count += length // width
            elif span.kind != (wire.FIXED32 if name == "data" else wire.FIXED64):
                raise data.error(span.tag, f"unexpected wire type {span.kind} of {name}")
            else:
                # Unpacked values: each has its own tag. Parse the whole run at once.
                at = _run_end(data, span, outer.end)
                pieces.append((span.tag, at, span.end - span.tag))
                count += (at - span.tag) // (span.end - span.tag)
            values[name] = (pieces, count)
        elif (span.number, span.kind) in _OF_FORKS:
            of_forks[span.number, span.kind] = span
    kind = "double_data" if values.get("double_data", ([], 0))[1] else "data"
    pieces, count = values.get(kind, ([], 0))
    dtype = "<f8" if kind == "double_data" else "<f4"
    if of_forks:
        _check_plain(data, of_forks, count)
    if not count and (raw := of_forks.get(_RAW_DATA)) is not None:
        kind_of_values = of_forks.get(_RAW_TYPE)
        dtype, count = _raw(data, raw, None if kind_of_values is None else kind_of_values.value)
        pieces = [(raw.start, raw.end, int(dtype[2]))]
    if shape is None and legacy:
        shape = tuple(legacy.get(name, 0) for name in lengths)
    if shape is None:
        shape = (count,) if count != 1 else ()
    return Blob(shape, dtype, pieces, count, outer.tag, data)


def _is_c3d(data: wire.Bytes, outer: wire.Span) -> bool:
    """Return whether a fifth length follows the four of BVLC Caffe, before any values."""
    for span in data.fields(outer.start, outer.end):
        if span.kind != wire.VARINT or span.number > len(_C3D_LENGTHS):
            return False
        if span.number == len(_C3D_LENGTHS):
            return True
    return False


def _check_plain(data: wire.Bytes, of_forks: dict[tuple[int, int], wire.Span], count: int) -> None:
    """Raises InputError if the values are encrypted, or are integers in a fork's own format."""
    encrypted, integers = of_forks.get(_ENCRYPTED), of_forks.get(_INTEGERS)
    # Cambricon's fork has a position under the number of the format, and a type before it.
    if encrypted is not None and encrypted.value and _RAW_TYPE not in of_forks:
        raise InputError(
            f"the values of a blob have the format {encrypted.value} of Xilinx's fork, which is "
            "encrypted",
            where=f"{data.filename}:byte {encrypted.tag}",
            advice="Only Xilinx's tools can read it. Give the file from before their quantiser.",
        )
    if integers is not None and integers.end > integers.start and not count:
        raise InputError(
            "a blob holds integers of Cambricon's fork (int32_data), whose format is not public",
            where=f"{data.filename}:byte {integers.tag}",
            advice="Give the file with float32 values from which it was made.",
        )


def _raw(data: wire.Bytes, span: wire.Span, kind: int | None) -> tuple[str, int]:
    """Return dtype and number of the values that NVIDIA's fork stores as bytes."""
    if kind not in _RAW:
        shown = "no type" if kind is None else f"type {kind}"
        raise data.error(span.tag, f"raw_data has {shown}, expected DOUBLE, FLOAT or FLOAT16")
    width = int(_RAW[kind][2])
    length = span.end - span.start
    if length % width:
        raise data.error(span.tag, f"raw_data has {length} bytes, expected a multiple of {width}")
    return _RAW[kind], length // width


def _dims(data: wire.Bytes, outer: wire.Span) -> Shape:
    dims: list[int] = []
    for span in data.fields(outer.start, outer.end):
        if span.number != 1:
            continue
        if span.kind == wire.VARINT:
            dims.append(span.value)
            continue
        at = span.start
        while at < span.end:
            value, at = data.varint(at, span.end)
            dims.append(value)
    if len(dims) > MAX_AXES:
        raise data.error(
            outer.tag, f"the shape of a blob has {len(dims)} axes, the limit is {MAX_AXES}"
        )
    if any(dim >= 2**63 for dim in dims):
        raise data.error(outer.tag, "the shape of a blob has a negative length")
    return tuple(dims)


def _run_end(data: wire.Bytes, first: wire.Span, end: int) -> int:
    """Return the end of a run of single values that begins with ``first``: the first other tag."""
    import numpy as np

    step = first.end - first.tag
    tag = bytes(data.data[first.tag : first.start])
    rows = (end - first.tag) // step
    at, window = 0, 64  # the window of rows doubles each time, so that short runs are fast
    while at < rows:
        count = min(window, rows - at)
        block = np.frombuffer(data.data, np.uint8, count * step, first.tag + at * step)
        same = (block.reshape(count, step)[:, : len(tag)] == np.frombuffer(tag, np.uint8)).all(
            axis=1
        )
        other = np.flatnonzero(~same)
        if other.size:
            return first.tag + step * (at + int(other[0]))
        at, window = at + count, 2 * window
    return first.tag + step * rows
