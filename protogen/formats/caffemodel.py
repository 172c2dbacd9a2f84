"""Weights of a net in Caffe's binary format (.caffemodel): memory-mapped reader, streaming writer.

A caffemodel is a NetParameter in protobuf's wire format. The reader parses only the headers, and a
blob is a numpy view of the mapped file. The writer generates headers and copies the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from protogen.errors import InputError, quantity
from protogen.formats import wire
from protogen.formats.mapped import LazyArray, Progress, map_file, write_array
from protogen.formats.schema import caffe
from protogen.geometry import Shape, shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LIMIT = 2**31 - 1  # bytes; protobuf, and thus Caffe, cannot read a larger message
MAX_AXES = 32  # Caffe's own limit

# Fields by number, from the BVLC part of the schema, which all dialects share.
_NET = {wire.number("NetParameter", n): n for n in ("name", "layers", "layer")}
_LAYER = {wire.number("LayerParameter", n): n for n in ("name", "type", "bottom", "top", "blobs")}
_V1_FIELDS = ("name", "type", "bottom", "top", "blobs", "layer")
_V1 = {wire.number("V1LayerParameter", n): n for n in _V1_FIELDS}
_V0 = {wire.number("V0LayerParameter", n): n for n in ("name", "type", "blobs")}
_BLOB = {
    wire.number("BlobProto", n): n
    for n in ("shape", "data", "double_data", "num", "channels", "height", "width")
}
_BLOCKS = 102  # the first parameter block of a layer type in LayerParameter
_LEGACY = ("num", "channels", "height", "width")
# NVIDIA's fork: the values in their memory format, and their type.
_RAW_TYPE, _RAW_DATA = 10, 12
_RAW = {0: "<f8", 1: "<f4", 2: "<f2"}


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
        if max(self.shape, default=0) > LIMIT:  # the count can match if another length is 0
            raise self.bytes_.error(self.at, f"a blob has an axis of length {max(self.shape)}")
        kind = np.dtype(self.dtype)
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


@dataclass(slots=True)
class StoredLayer:
    """A layer of a caffemodel: name, type (as a name, also for the type numbers of V1), bottoms,
    tops and blobs.

    ``form`` is V0, V1 or V2; ``span`` are start and end of the layer in the file;
    ``has_parameters``: whether the file holds its parameters, as Caffe writes them."""

    name: str = ""
    type: str = ""
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    form: str = "V2"
    has_parameters: bool = False
    span: tuple[int, int] = (0, 0)
    blob_spans: list[tuple[int, int]] = field(default_factory=list)

    def arrays(self) -> list[NDArray[np.floating]]:
        """Return the values of every blob; see ``Blob.array``."""
        return [self.array(index) for index in range(len(self.blobs))]

    def array(self, index: int) -> NDArray[np.floating]:
        """Return the values of one blob; see ``Blob.array``."""
        try:
            return self.blobs[index].array()
        except InputError as error:
            advice = f'{error.diagnostic.advice} The blob is in layer "{self.name}".'.lstrip()
            raise error.with_parts(advice=advice) from None


@dataclass(slots=True)
class CaffeModel:
    """A mapped caffemodel: the name of its net and its layers in file order."""

    name: str
    layers: list[StoredLayer]
    bytes_: wire.Bytes

    def weights(self) -> dict[str, list[NDArray[np.floating]]]:
        """Return the blobs by layer name. Of several layers with the same name the last one
        counts, as in Caffe."""
        return {layer.name: layer.arrays() for layer in self.layers if layer.blobs}


def read_weights(path: str | Path, allow_empty: bool = False) -> CaffeModel:
    """Map the caffemodel at ``path`` and parse its headers.

    The time depends on the number of layers and blobs, not on their size. No values are loaded
    into memory.

    Raises:
        InputError: the file cannot be read, is truncated or damaged, or contains no layer (unless
            ``allow_empty``).
    """
    return parse_weights(wire.Bytes(map_file(path), str(path)), allow_empty)


def parse_weights(data: wire.Bytes, allow_empty: bool = False) -> CaffeModel:
    """Parse the headers of a caffemodel in ``data``; see ``read_weights``."""
    name = ""
    layers = []
    for span in data.fields(0, len(data)):
        kind = _NET.get(span.number)
        if kind is None or span.kind != wire.BYTES:
            continue
        if kind == "name":
            name = data.text(span)
        else:
            layers.append(_layer(data, span, "V2" if kind == "layer" else "V1"))
    if not layers and not allow_empty:
        advice = "The file is empty, or it is not a caffemodel."
        raise InputError("contains no layer", where=data.filename, advice=advice)
    return CaffeModel(name, layers, data)


def _layer(data: wire.Bytes, outer: wire.Span, form: str) -> StoredLayer:
    data.part(outer.tag)
    layer = StoredLayer(form=form, span=(outer.start, outer.end))
    _fill(data, outer, _LAYER if form == "V2" else _V1, layer)
    return layer


def _fill(data: wire.Bytes, outer: wire.Span, names: dict[int, str], layer: StoredLayer) -> None:
    for span in data.fields(outer.start, outer.end):
        name = names.get(span.number)
        if name == "type" and span.kind == wire.VARINT:
            layer.type = _v1_type(span.value)
        elif name is None or span.kind != wire.BYTES:
            layer.has_parameters |= span.number >= _BLOCKS and span.kind == wire.BYTES
        elif name == "blobs":
            layer.blobs.append(parse_blob(data, span))
            layer.blob_spans.append((span.tag, span.end))
        elif name == "layer":
            layer.form = "V0"
            _fill(data, span, _V0, layer)
        elif name in ("name", "type"):
            setattr(layer, name, data.text(span))
        else:
            data.part(span.tag)
            (layer.bottoms if name == "bottom" else layer.tops).append(data.text(span))


def _v1_type(value: int) -> str:
    values = caffe().enums["V1LayerParameter.LayerType"].values
    return next((name for name, n in values.items() if n == value), str(value))


def parse_blob(data: wire.Bytes, outer: wire.Span) -> Blob:
    """Parse a BlobProto without reading its values.

    Raises:
        InputError: the blob is damaged, or its shape is invalid.
    """
    shape: Shape | None = None
    legacy: dict[str, int] = {}
    values: dict[str, tuple[list[tuple[int, int, int]], int]] = {}
    raw: wire.Span | None = None
    raw_type: int | None = None
    data.part(outer.tag)
    at = outer.start
    while at < outer.end:
        span = data.field(at, outer.end)
        at = span.end
        name = _BLOB.get(span.number)
        if name == "shape" and span.kind == wire.BYTES:
            shape = _dims(data, span)
        elif name in _LEGACY and span.kind == wire.VARINT:
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
        elif span.number == _RAW_DATA and span.kind == wire.BYTES:
            raw = span
        elif span.number == _RAW_TYPE and span.kind == wire.VARINT:
            raw_type = span.value
    kind = "double_data" if values.get("double_data", ([], 0))[1] else "data"
    pieces, count = values.get(kind, ([], 0))
    dtype = "<f8" if kind == "double_data" else "<f4"
    if not count and raw is not None:
        dtype, count = _raw(data, raw, raw_type)
        pieces = [(raw.start, raw.end, int(dtype[2]))]
    if shape is None and legacy:
        shape = tuple(legacy.get(name, 0) for name in _LEGACY)
    if shape is None:
        shape = (count,) if count != 1 else ()
    return Blob(shape, dtype, pieces, count, outer.tag, data)


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


# Writing


@dataclass(frozen=True, slots=True)
class Entry:
    """One layer to write: ``header`` is its LayerParameter without blobs, in wire format."""

    header: bytes
    arrays: Sequence[NDArray[np.float32] | LazyArray]


def header(name: str, type_: str, bottoms: Iterable[str] = (), tops: Iterable[str] = ()) -> bytes:
    """Return a LayerParameter with these fields in wire format."""
    raw = wire.text("LayerParameter", "name", name) + wire.text("LayerParameter", "type", type_)
    for field_, values in (("bottom", bottoms), ("top", tops)):
        raw += b"".join(wire.text("LayerParameter", field_, value) for value in values)
    return raw


def write_weights(
    file: BinaryIO,
    name: str,
    entries: Iterable[Entry],
    *,
    legacy: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write layers as a caffemodel, in a stream. Blobs are float32 with shapes.

    ``legacy`` writes the V1 form: headers are V1LayerParameters, and blobs have num, channels,
    height and width (padded with leading 1s) instead of a shape. ``progress`` is called with the
    number of bytes after each write of values.

    Raises:
        InputError: the file would be larger than 2 GiB, which Caffe cannot read.
    """
    parts = list(entries)
    blob_heads = [[_blob_head(array, legacy) for array in part.arrays] for part in parts]
    lengths = [
        len(part.header) + sum(len(h) + a.size * 4 for h, a in zip(heads, part.arrays, strict=True))
        for part, heads in zip(parts, blob_heads, strict=True)
    ]
    if sum(lengths) > LIMIT:
        raise InputError(
            f"the weights take {sum(lengths) / 2**30:.1f} GiB, but Caffe reads at most 2 GiB"
        )
    if name:
        file.write(wire.text("NetParameter", "name", name))
    for part, heads, length in zip(parts, blob_heads, lengths, strict=True):
        file.write(wire.head("NetParameter", "layers" if legacy else "layer", length))
        file.write(part.header)
        for blob_head, array in zip(heads, part.arrays, strict=True):
            file.write(blob_head)
            write_array(array if isinstance(array, LazyArray) else _float32(array), file, progress)


def blob_bytes(array: NDArray[np.floating]) -> tuple[bytes, memoryview]:
    """Return a single BlobProto (a mean file): the bytes before its values, and the values."""
    return _blob_inner(array), _float32(array).reshape(-1).view("u1").data


def _blob_head(array: NDArray[np.floating] | LazyArray, legacy: bool = False) -> bytes:
    """Return the bytes of a layer's blob before its values, including the enclosing tag."""
    inner = _blob_inner(array, legacy)
    message = "V1LayerParameter" if legacy else "LayerParameter"
    return wire.head(message, "blobs", len(inner) + array.size * 4) + inner


def _blob_inner(array: NDArray[np.floating] | LazyArray, legacy: bool = False) -> bytes:
    if legacy:
        lengths = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(
            wire.varint(wire.number("BlobProto", field_) << 3) + wire.varint(length)
            for field_, length in zip(_LEGACY, lengths, strict=True)
        )
        return shape + wire.head("BlobProto", "data", array.size * 4)
    dims = b"".join(wire.varint(length) for length in array.shape)
    shape = wire.head("BlobShape", "dim", len(dims)) + dims
    inner = wire.head("BlobProto", "shape", len(shape)) + shape
    return inner + wire.head("BlobProto", "data", array.size * 4)


def _float32(array: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the array as little-endian float32, without a copy if it has this dtype already."""
    import numpy as np

    with np.errstate(over="ignore"):  # doubles out of range become infinite, as in Caffe
        single: NDArray[np.float32] = np.asarray(array, dtype="<f4")
    return single
