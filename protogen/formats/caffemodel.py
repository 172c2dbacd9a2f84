"""Weights of a net in Caffe's binary format (.caffemodel): memory-mapped reader, streaming writer.

A caffemodel is a NetParameter in protobuf's wire format. The reader parses only the headers, and a
blob is a numpy view of the mapped file. The writer generates headers and copies the arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from protogen.errors import InputError
from protogen.formats import contents, files, pairs, wire
from protogen.formats.blobs import LEGACY, Blob, parse_blob, usual_blob
from protogen.formats.mapped import LazyArray, Progress, map_file, write_array
from protogen.formats.schema import caffe

if TYPE_CHECKING:
    from contextlib import ExitStack

    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.message import Source

LIMIT = 2**31 - 1  # bytes; protobuf, and thus Caffe, cannot read a larger message

# Fields by number, from the BVLC part of the schema, which all dialects share.
_NET = {wire.number("NetParameter", n): n for n in ("name", "layers", "layer")}
_LAYER = {wire.number("LayerParameter", n): n for n in ("name", "type", "bottom", "top", "blobs")}
_V1_FIELDS = ("name", "type", "bottom", "top", "blobs", "layer")
_V1 = {wire.number("V1LayerParameter", n): n for n in _V1_FIELDS}
_V0 = {wire.number("V0LayerParameter", n): n for n in ("name", "type", "blobs")}
_BLOCKS = 102  # the first parameter block of a layer type in LayerParameter
# The fields of a layer by tag.
_USUAL = {
    form: {number << 3 | wire.BYTES: name for number, name in names.items()}
    for form, names in (("V2", _LAYER), ("V1", _V1))
}


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
    """A mapped caffemodel: the name of its net, its layers in file order, and its pair id (see
    ``pairs``)."""

    name: str
    layers: list[StoredLayer]
    bytes_: wire.Bytes
    pair: str = ""

    def weights(self) -> dict[str, list[NDArray[np.floating]]]:
        """Return the blobs by layer name. Of several layers with the same name the last one
        counts, as in Caffe."""
        return {layer.name: layer.arrays() for layer in self.layers if layer.blobs}


def read_weights(
    path: str | Path, allow_empty: bool = False, net: Source | None = None
) -> CaffeModel:
    """Map the caffemodel at ``path`` and parse its headers.

    The time depends on the number of layers and blobs, not on their size. No values are loaded
    into memory.

    Args:
        net: the prototxt that the weights are for.

    Raises:
        InputError: the file cannot be read, is truncated or damaged, contains no layer (unless
            ``allow_empty``), or was not written together with the net.
    """
    if not allow_empty:
        contents.check_file(path, "weights")
    model = parse_weights(wire.Bytes(map_file(path), str(path)), allow_empty)
    if net is not None:
        pairs.check_ids(net, model.pair, path)
    return model


def parse_weights(data: wire.Bytes, allow_empty: bool = False) -> CaffeModel:
    """Parse the headers of a caffemodel in ``data``; see ``read_weights``."""
    name = pair = ""
    layers = []
    for span in data.fields(0, len(data)):
        kind = _NET.get(span.number)
        if kind is None or span.kind != wire.BYTES:
            if span.number == pairs.FIELD and span.kind == wire.BYTES:
                pair = pairs.id_of_field(data, span)
            continue
        if kind == "name":
            name = data.text(span)
        else:
            layers.append(_layer(data, span, "V2" if kind == "layer" else "V1"))
    if not layers and not allow_empty:
        advice = "The file is empty, or it is not a caffemodel."
        raise InputError("contains no layer", where=data.filename, advice=advice)
    return CaffeModel(name, layers, data, pair)


def _layer(data: wire.Bytes, outer: wire.Span, form: str) -> StoredLayer:
    parts = data.parts
    try:
        usual = _usual_layer(data, outer.start, outer.end, form)
    except (IndexError, InputError):
        usual = None
    if usual is not None:
        return usual
    # An unusual or damaged layer: read it with all checks, in their order.
    data.parts = parts
    data.part(outer.tag)
    layer = StoredLayer(form=form, span=(outer.start, outer.end))
    _fill(data, outer, _LAYER if form == "V2" else _V1, layer)
    return layer


def _usual_layer(data: wire.Bytes, at: int, end: int, form: str) -> StoredLayer | None:
    """Return the layer from ``at`` to ``end`` if it has the form that Caffe writes, else None.

    Raises:
        IndexError, InputError: the layer is damaged.
    """
    buffer, names = data.data, _USUAL[form]
    layer = StoredLayer(form=form, span=(at, end))
    data.parts += 1
    while at < end:
        begin, tag = at, buffer[at]
        at += 1
        if tag > 0x7F:
            tag, at = data.varint(begin, end)
        length = buffer[at]
        at += 1
        if length > 0x7F:
            length, at = data.varint(at - 1, end)
        name = names.get(tag)
        if tag & 7 == wire.VARINT and tag > 7:
            if names.get(tag | wire.BYTES) == "type":
                layer.type = _v1_type(length)
            continue
        stop = at + length
        if tag & 7 != wire.BYTES or tag < 8 or stop > end or name == "layer":
            return None
        if name == "blobs":
            blob = usual_blob(data, begin, at, stop)
            layer.blobs.append(blob or parse_blob(data, wire.Span(0, wire.BYTES, at, stop, begin)))
            layer.blob_spans.append((begin, stop))
        elif name is None:
            layer.has_parameters |= tag >> 3 >= _BLOCKS
        else:
            text = bytes(buffer[at:stop]).decode("utf-8", "surrogateescape")
            if name == "name":
                layer.name = text
            elif name == "type":
                layer.type = text
            else:
                data.parts += 1
                (layer.bottoms if name == "bottom" else layer.tops).append(text)
        at = stop
    return layer if at == end and data.has_room(0) else None


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
    pair: str = "",
    progress: Progress | None = None,
) -> None:
    """Write layers as a caffemodel, in a stream. Blobs are float32 with shapes.

    ``legacy`` writes the V1 form: headers are V1LayerParameters, and blobs have num, channels,
    height and width (padded with leading 1s) instead of a shape. ``pair`` is the pair id.
    ``progress`` is called with the number of bytes after each write of values.

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
    if pair:  # last, as a serializer of protobuf writes fields that it does not know
        file.write(pairs.as_field(pair))


def write_pair(
    stack: ExitStack,
    prototxt: tuple[str | Path | None, bytes],
    caffemodel: str | Path | None,
    name: str,
    entries: Iterable[Entry],
    progress: Progress | None = None,
) -> None:
    """Write a net and its weights, or one of them. Both files get a new pair id. Weights alone get the id
    of the text that they belong to, if it has one. The files get their names when the stack ends.

    Args:
        prototxt: the file, or None, and the text.
        caffemodel: the file, or None.
        name, entries, progress: see ``write_weights``.

    Raises:
        InputError: a path cannot be written, or the weights are too large for Caffe.
    """
    path, text = prototxt
    pair = ""
    if caffemodel is not None:
        pair = pairs.id_of_text(text.decode("utf-8", "surrogateescape"))
        if path is not None:
            pair = pairs.new_id(text)
            text = pairs.with_id(text, pair)
    if path is not None:
        stack.enter_context(files.replacing(path)).write(text)
    if caffemodel is not None:
        file = stack.enter_context(files.replacing(caffemodel))
        write_weights(file, name, entries, pair=pair, progress=progress)


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
            for field_, length in zip(LEGACY, lengths, strict=True)
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
