"""The first layers of a net, as files that keep the form of the original."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.caffemodel import read_weights, write_weights
from protogen.formats.message import Field, Message
from protogen.formats.prototxt import Document
from protogen.formats.schema import message_type
from protogen.formats.wire import varint
from protogen.net.cutting import input_shapes, with_input_shapes
from protogen.net.net import Net
from protogen.net.upgrade import upgrade

if TYPE_CHECKING:
    from protogen.geometry import Shape

_LAYERS = ("layer", "layers")


class Cutter:
    """Cuts a net after any of its layers.

    Args:
        path: the prototxt, in any format.
        caffemodel: the weights, if there are any.
        net: the net of these files.
        reading: the options with which the net was loaded, without its input shapes.

    Attributes:
        count: the number of layers in the prototxt.
    """

    def __init__(
        self, path: str | Path, caffemodel: str | Path | None, net: Net, reading: Mapping[str, Any]
    ) -> None:
        with _quiet():
            document = prototxt.read(path)
        self.original = document
        self.document = with_shapes(document, net)
        self.caffemodel, self.net, self.reading = caffemodel, net, dict(reading)
        self.places = [i for i, item in enumerate(document.fields) if item.name in _LAYERS]
        self.count = len(self.places)
        self.types = {layer.name: layer.type for layer in net.layers}

    def name(self, count: int) -> str:
        """The name of the last of the first ``count`` layers."""
        return _name(self.document.fields[self.places[count - 1]].value)

    def tops(self, count: int) -> list[str]:
        """The tops of the last of the first ``count`` layers."""
        return list(self.document.fields[self.places[count - 1]].value.top)

    def text(self, count: int | None = None) -> str:
        """The prototxt of the first ``count`` layers, or of all."""
        if count is None or count == self.count:
            if self.document is self.original:
                return self.original.source.text
            return prototxt.write(self.document)
        return prototxt.write(self._cut(count))

    def part(self, count: int) -> Net:
        """The net of the first ``count`` layers, with its weights."""
        with _quiet():
            message = upgrade(self._cut(count))
            shapes = {name: self.net.graph.shapes[name] for name in self.net.inputs}
            known: dict[str, Shape] = {
                name: shape
                for name, shape in shapes.items()
                if shape is not None and _has_blob(message, name)
            }
            return Net(message, self.net.weights, input_shapes=known, **self.reading)

    def weights(self, net: Net) -> bytes | Path:
        """The caffemodel of a part of the net; that of the whole net is its own file.

        Toolchains need one even if no layer has weights.
        """
        if self.caffemodel is None or not str(self.caffemodel).endswith(".caffemodel"):
            return _written(net)
        if net is self.net:
            return Path(self.caffemodel)
        model, names = (
            read_weights(self.caffemodel, allow_empty=True),
            {layer.name for layer in net.layers},
        )
        file = io.BytesIO()
        for layer in model.layers:
            if layer.name in names:
                start, end = layer.span
                number = message_type("NetParameter").fields[
                    "layer" if layer.form == "V2" else "layers"
                ].number  # fmt: skip
                file.write(varint(number << 3 | 2) + varint(end - start))
                file.write(model.bytes_.data[start:end])
        return file.getvalue()

    def _cut(self, count: int) -> Document:
        """The first layers, without the Input layers that none of them reads: some toolchains refuse
        an input that has no reader."""
        last = self.places[count - 1]
        fields = [
            item
            for i, item in enumerate(self.document.fields)
            if i <= last or item.name not in _LAYERS
        ]
        read = {blob for item in fields if item.name in _LAYERS for blob in _bottoms(item.value)}
        return _document(
            self.document,
            [item for item in fields if not (_is_input(item) and not read & set(item.value.top))],
        )


def with_shapes(document: Document, net: Net) -> Document:
    """The document with the input shapes of the net, where the document has others; the same object if
    there is nothing to change. A data layer keeps its own shape."""
    legacy = list(document.input)
    stated = list(document.input_shape) or document.input_dim
    shapes = [net.graph.shapes.get(name) for name in legacy]
    fields = list(document.fields)
    if legacy and None not in shapes and stated and _stated(document) != shapes:
        added = [
            Message.make("NetParameter", input_shape={"dim": list(shape or ())}).fields[0]
            for shape in shapes
        ]
        fields = [item for item in fields if item.name not in ("input_dim", "input_shape")]
        at = max(i for i, item in enumerate(fields) if item.name == "input") + 1
        fields[at:at] = added
    fields = [_input_layer(item, net) if _is_input(item) else item for item in fields]
    if all(a is b for a, b in zip(fields, document.fields, strict=False)):
        return document
    return _document(document, fields)


def _stated(document: Document) -> list[Shape | None]:
    if document.has("input_shape"):
        return [tuple(shape.dim) for shape in document.input_shape]
    flat = document.input_dim
    return [tuple(flat[i : i + 4]) for i in range(0, len(flat), 4)]


def _input_layer(item: Field, net: Net) -> Field:
    """An Input layer with the shapes of the net; the same field if it has them."""
    layer: Message = item.value
    known = [net.graph.shapes.get(top) for top in layer.top]
    shapes = [shape for shape in known if shape is not None]
    if not shapes or len(shapes) < len(known) or input_shapes(layer) == shapes:
        return item
    return with_input_shapes(item, layer.top, shapes)


def _document(document: Document, fields: list[Field]) -> Document:
    changed = Document(document.kind, document.source)
    changed.fields = fields
    return changed


def _quiet() -> warnings.catch_warnings[None]:
    """Without the warnings about the net: they were reported when it was loaded."""
    return warnings.catch_warnings(action="ignore", category=ProtogenWarning)


def _name(layer: Message) -> str:
    inner = layer.layer if layer.kind is not None and "layer" in layer.kind.fields else None
    return str(inner.name if inner is not None and layer.has("layer") else layer.name)


def _bottoms(layer: Message) -> list[str]:
    return list(layer.bottom)


def _is_input(item: Field) -> bool:
    return item.name == "layer" and item.value.type == "Input"


def _has_blob(message: Document, name: str) -> bool:
    return any(name in layer.top for layer in message.layer)


def _written(net: Net) -> bytes:
    """A caffemodel in the current format with an entry for each layer, also for those without blobs."""
    file = io.BytesIO()
    write_weights(file, net.name, net.entries())
    return file.getvalue()


def is_empty(caffemodel: str | Path | None) -> bool:
    """Return whether a caffemodel has no layer: that of a net without weights, for some tools."""
    if caffemodel is None or not str(caffemodel).endswith(".caffemodel"):
        return False
    return not read_weights(caffemodel, allow_empty=True).layers
