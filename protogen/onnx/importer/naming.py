"""Names of an imported net: blobs of in-place layers, outputs, and names that Caffe cannot have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.layers import LayerType
from protogen.layers.graph import free_name
from protogen.onnx.importer.cleaning import VIEWS

if TYPE_CHECKING:
    from protogen.onnx.importer.context import ImportContext
    from protogen.onnx.importer.source import OnnxGraph


def shares_memory(layer: Message) -> bool:  # no layer may write over its top in place
    return not layer.bottom or layer.type == "Split" or layer.type in VIEWS


class Names:
    """Renames blobs and layers, and maps the model's names to the new ones.

    Attributes:
        renamed: names that are invalid in Caffe.
        overwritten: values that a layer in place writes over.
    """

    def __init__(self, source: OnnxGraph, ctx: ImportContext) -> None:
        self._source = source
        self._ctx = ctx
        self._blob: dict[str, str] = {}  # each entry is one renaming; entries can chain
        self._sanitized: dict[str, str] = {}
        self._tops: set[str] = set()
        self._lasts: dict[str, str] = {}  # the blob whose last value has the name of a layer
        self.renamed: list[str] = []
        self.overwritten: set[str] = set()

    def name_outputs(self, layers: list[Message]) -> None:
        """Make each output of the model an output of the net, which is a blob that no layer reads.

        An output that is an alias gives its name to the aliased value, or a Split copies the value.
        An output that a layer reads is copied by a Split too.
        """
        source, ctx = self._source, self._ctx
        used: set[str] = {*source.inputs, *source.outputs}
        names = {layer.name for layer in layers}
        for output, value in ctx.output_aliases(source.outputs).items():
            if value in used:
                _split(layers, names, value, output)
            else:
                _rename(layers, {value: output})
                self._blob[value] = output
                used.add(output)
        read = {name for layer in layers for name in layer.bottom}.difference(source.inputs)
        copied: dict[str, str] = {}
        for output in source.outputs:
            if output in read:
                inner = f"{output}_value"
                while inner in ctx.shapes:
                    inner += "_"
                copied[output] = inner
        _rename(layers, copied)
        for output, inner in copied.items():
            _split(layers, names, inner, output)

    def make_in_place(self, layers: list[Message]) -> None:
        """Make layers in-place if they alone read their bottom; the blob gets the top's name.

        OpenCV and RKNN refuse a layer in place that has the name of a blob. If the operator has no name,
        the layer gets another one. Else such a layer is not made in-place; or the blob gets the name of
        its first value, if the names of layers matter more.
        """
        writers = self._in_place(layers)
        ends: dict[str, str] = {}
        chains: dict[str, list[str]] = {}
        for bottom in reversed(writers):
            top = writers[bottom].top[0]
            ends[bottom] = ends.get(top, top)
            chains.setdefault(ends[bottom], []).append(bottom)
        names: dict[str, str] = {}
        new_layers: dict[str, str] = {}
        used = {layer.name for layer in layers}
        fixed = {operator.name for operator in self._source.operators}
        producers: dict[str, list[Message]] = {}
        for layer in layers:
            for top in layer.top:
                producers.setdefault(top, []).append(layer)
        for last, bottoms in chains.items():  # bottoms from the last to the first
            in_place = {writers[one].name for one in bottoms}
            first = bottoms[-1]
            if self._source.layers_first and last in in_place and first not in in_place:
                names |= dict.fromkeys([*bottoms[:-1], last], first)
                self._lasts[last] = first
                self.overwritten.update(bottoms)
                continue
            blob = last
            for bottom in bottoms:
                layer = writers[bottom]
                others = (one for one in producers.get(layer.name, ()) if one is not layer)
                clashes = layer.name == blob or any(others)
                if clashes and layer.name in fixed:
                    blob = bottom
                    continue
                if clashes:
                    new_layers[layer.name] = free_name(f"{layer.name}_{layer.type.lower()}", used)
                names[bottom] = blob
                self.overwritten.add(bottom)
        self._rename_layers(layers, new_layers)
        self._blob |= names
        _rename(layers, names)

    def _rename_layers(self, layers: list[Message], new: Mapping[str, str]) -> None:
        """Rename layers, also where their weights and reasons are stored."""
        ctx = self._ctx
        for layer in layers:
            layer.all("name")[0].value = new.get(layer.name, layer.name)
        ctx.weights = {new.get(name, name): blobs for name, blobs in ctx.weights.items()}
        ctx.reasons = {new.get(name, name): text for name, text in ctx.reasons.items()}

    def _in_place(self, layers: list[Message]) -> dict[str, Message]:
        """Return the layers that can be in place, by their bottom, in order."""
        layers_first = self._source.layers_first
        fixed = {*self._source.inputs, *self._source.outputs}
        readers: dict[str, int] = {}
        producers: dict[str, Message] = {}
        for layer in layers:
            for bottom in layer.bottom:
                readers[bottom] = readers.get(bottom, 0) + 1
            for top in layer.top:
                producers.setdefault(top, layer)
        writers: dict[str, Message] = {}
        for layer in layers:
            if not LayerType.registry[layer.type].written_in_place or len(layer.bottom) != 1:
                continue
            bottom = layer.bottom[0]
            producer = producers.get(bottom)
            if (
                producer is not None
                and bottom not in fixed
                and readers[bottom] == 1
                and not shares_memory(producer)
                and not (layers_first and layer.top[0] in fixed and layer.top[0] == layer.name)
            ):
                writers[bottom] = layer
        return writers

    def sanitize(self, layers: list[Message]) -> None:
        """Replace characters that cannot be written in one line by underscores."""
        for key in ("name", "top"):
            names = {name: None for layer in layers for name in _values(layer, key)}
            for name in names:
                new = sanitized(name)
                while new != name and new in names:
                    new += "_"
                if new != name:
                    self._sanitized[name] = new
                    self.renamed.append(name)
        for layer in layers if self._sanitized else ():
            for key in ("name", "bottom", "top"):
                for entry in layer.all(key):
                    entry.value = self._sanitized.get(entry.value, entry.value)
        self._tops = {top for layer in layers for top in layer.top}

    def layer(self, name: str) -> str:
        """Return a layer's name in the net."""
        return self._sanitized.get(name, name)

    def blob_names(self) -> dict[str, str]:
        blobs = {}
        for operator in self._source.operators:
            for value in operator.outputs:
                if value and value not in self._source.constants:
                    blobs[value] = self._final(value)
        ends = (*self._source.inputs, *self._source.outputs)
        blobs |= {name: self._final(name) for name in ends}
        return {
            value: blob for value, blob in blobs.items() if value != blob and blob in self._tops
        }

    def _final(self, value: str) -> str:
        if value not in self._source.outputs:
            value = self._ctx.blob(value)
        while value in self._blob and value not in self._source.outputs:
            value = self._blob[value]
        return self._sanitized.get(value, value)

    def lasts(self) -> dict[str, str]:
        """Return the blobs of the values that have the name of a layer in place, and no blob of their
        name."""
        return {last: self._sanitized.get(first, first) for last, first in self._lasts.items()}

    def layer_names(self) -> dict[str, tuple[str, ...]]:
        layers = {
            name: tuple(self.layer(one) for one in names)
            for name, names in self._ctx.layers_of.items()
            if name
        }
        return {name: names for name, names in layers.items() if names != (name,)}


def _values(layer: Message, key: str) -> Iterator[str]:
    return (entry.value for entry in layer.all(key))


def sanitized(name: str) -> str:
    """Replace unprintable characters, quotes and backslashes in a name by underscores."""
    return "".join("_" if not c.isprintable() or c in "\"'\\" else c for c in name)


def _split(layers: list[Message], names: set[str], value: str, output: str) -> None:
    """Append a Split; ``names`` are those of all layers."""
    # The layer that produces the value may have the name of the output.
    name = f"{output}_out" if output in names else output
    layers.append(
        Message.make("LayerParameter", name=name, type="Split", bottom=[value], top=[output])
    )
    names.add(name)


def _rename(layers: list[Message], names: Mapping[str, str]) -> None:
    for layer in layers:
        for entry in (*layer.all("bottom"), *layer.all("top")):
            entry.value = names.get(entry.value, entry.value)
