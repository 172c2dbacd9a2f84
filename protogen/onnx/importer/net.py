"""Cleans up an imported net: renames blobs, makes layers in-place, removes redundant reshapes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import Diagnostic, ProtogenWarning, UnsupportedError
from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.layers import LayerType
from protogen.net.net import Net
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import constant_outputs, view_of
from protogen.onnx.importer.fusion import fuse_operators
from protogen.toolchains.dialects import forks_of

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx import Model
    from protogen.onnx.importer.source import OnnxGraph

# The tops of these layers share memory with the bottoms, so no layer may write over them in place.
_VIEWS = frozenset(("Flatten", "Reshape"))


@dataclass(frozen=True)
class ImportedNet:
    """A net that was imported from an ONNX model.

    Attributes:
        blobs: the blob of each value of the model whose name differs in the net.
        layers: the layers of each operator that is not imported as one layer of the same name.
        renamed: names of the model that are invalid in Caffe.
        approximated: one sentence for each operator that is imported approximately.
    """

    net: Net
    source: OnnxGraph
    blobs: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()

    def names(self) -> dict[str, Any]:
        """Return the map of names, as data for JSON."""
        return {
            "renamed": list(self.renamed),
            "values": dict(self.blobs),
            "operators": {name: list(layers) for name, layers in self.layers.items()},
        }


def from_onnx(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
) -> Net:
    """Import an ONNX model as a Caffe net, with its weights.

    Blobs have the names of the model's values; the blob of in-place layers has the name of the last
    value. Weights are the model's own arrays where Caffe's blobs have the same layout. Weights of a
    file are views of the file.

    Args:
        model: the path of an ONNX file, or a model in memory. Operator set 7 and newer are read
            directly; ONNX's converter first converts older models to 7.
        dialect: ``bvlc``, or ``ssd`` to use the layers of that fork too.
        fold: fold BatchNormalization into the convolution before it.
        input_shapes: shapes by input name that replace the model's own. By default, a free batch
            axis has length 1.
        outputs: values of the model that become the outputs; what they do not depend on is left
            out. By default the model's outputs.

    Raises:
        InputError: the model cannot be read, an input's shape is unknown, or the model has no value
            of a name in ``outputs``.
        UnsupportedError: the model has unsupported operators; the message names all of them.

    Warns:
        ProtogenWarning: an operator is imported approximately; the message states the error.
    """
    imported = import_model(
        model, dialect=dialect, fold=fold, input_shapes=input_shapes, outputs=outputs
    )
    for sentence in imported.approximated:
        warnings.warn(sentence, ProtogenWarning, stacklevel=2)
    return imported.net


def import_model(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
    richest: bool = False,
) -> ImportedNet:
    """Import a model like ``from_onnx``, and return the map of names and the approximations too.

    ``richest``: for legalization, also write layer types that no Caffe has."""
    import numpy as np

    forks = frozenset(LayerType.registry) if richest else forks_of(dialect)
    source, ctx = import_operators(model, forks, fold, input_shapes, outputs)
    if ctx.refused:
        raise _unsupported_error(source, ctx)
    layers = [*_inputs(source), *ctx.layers, *constant_outputs(source, ctx)]
    (names := _Names(source, ctx)).name_outputs(layers)
    layers = _merge_views(layers, ctx.shapes, source.outputs)
    layers = _drop_flattens(layers, source.outputs)
    _silence_unread(source, layers)
    names.make_in_place(layers)
    names.sanitize(layers)
    message = Message.make("NetParameter", name=_sanitized(source.name) or "net", layer=layers)
    where = f"{source.path or 'the model'}, imported to Caffe"
    net = Net(prototxt.parse(_header(source) + prototxt.write(message), where))
    net.weights = {
        names.layer(name): [np.asarray(blob, np.float32) for blob in blobs]
        for name, blobs in ctx.weights.items()
    }
    net.check_weights()
    approximated = dict.fromkeys(
        str(Diagnostic(text, subject=one.subject)) for one, text in ctx.approximated
    )
    return ImportedNet(
        net,
        source,
        names.blob_names(),
        names.layer_names(),
        tuple(names.renamed),
        tuple(approximated),
    )


def import_operators(
    model: str | Path | Model | OnnxGraph,
    forks: frozenset[str],
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
) -> tuple[OnnxGraph, ImportContext]:
    """Import the model's operators one by one; the ImportContext has the outcome of each."""
    from protogen.onnx.importer.source import OnnxGraph, read_source

    source = model if isinstance(model, OnnxGraph) else read_source(model, input_shapes, outputs)
    source.operators = fuse_operators(source, fold)
    ctx = ImportContext(source, forks)
    for operator in source.operators:
        ctx.import_operator(operator)
    return source, ctx


def _unsupported_error(source: OnnxGraph, ctx: ImportContext) -> UnsupportedError:
    """Return one error that lists every unsupported operator. Those that fail only because an input has
    no shape are counted: they depend on an unsupported operator."""
    known = {name for name, shape in ctx.shapes.items() if shape is not None}
    reasons = [reason for one, reason in ctx.refused if known.issuperset(filter(None, one.inputs))]
    reasons = reasons or [reason for _, reason in ctx.refused]
    dependent = len(ctx.refused) - len(reasons)
    if len(ctx.refused) == 1:
        return UnsupportedError.of(ctx.refused[0][1]._replace(where=source.path))
    count = f"{len(reasons)} operators have" if len(reasons) != 1 else "1 operator has"
    others = ""
    if dependent:
        depend = "depends" if dependent == 1 else "depend"
        others = f", and {dependent} more {depend} on {'it' if len(reasons) == 1 else 'them'}"
    lines = [f"  {reason}" for reason in reasons]
    problem = f"{count} no equivalent in Caffe{others}:"
    return UnsupportedError(problem, where=source.path, lines=lines)


def _header(source: OnnxGraph) -> str:
    producer = f" made by {source.producer}" if source.producer else ""
    name = Path(source.path).name if source.path else "an ONNX model"
    return f"# From {_sanitized(f'{name}{producer}, operator set {source.written}')}.\n"


def _inputs(source: OnnxGraph) -> list[Message]:
    return [
        Message.make(
            "LayerParameter",
            name=name,
            type="Input",
            top=[name],
            input_param={"shape": [{"dim": list(shape)}]},
        )
        for name, shape in source.inputs.items()
    ]


def _silence_unread(source: OnnxGraph, layers: list[Message]) -> None:
    """Add a Silence layer for unused tops, which would otherwise be outputs of the net."""
    read = {bottom for layer in layers for bottom in layer.bottom} | set(source.outputs)
    unread = [
        top for layer in layers for top in layer.top if top not in read and layer.type != "Input"
    ]
    if unread:
        layers.append(
            Message.make("LayerParameter", name="unread_values", type="Silence", bottom=unread)
        )


def _merge_views(
    layers: list[Message], shapes: Mapping[str, Shape | None], outputs: Sequence[str]
) -> list[Message]:
    """Merge consecutive views (Reshape, Flatten) into one; remove views that keep the shape."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {layer.top[0]: layer for layer in layers if layer.type in _VIEWS}
    replaced: dict[str, str] = {}
    removed: set[int] = set()
    for layer in layers:
        for entry in layer.all("bottom"):
            entry.value = replaced.get(entry.value, entry.value)
        previous = makers.get(layer.bottom[0]) if layer.type in _VIEWS else None
        if previous is None or id(previous) in removed:
            continue
        bottom, top = previous.bottom[0], layer.top[0]
        before, after = shapes.get(bottom), shapes.get(top)
        if before is None or after is None:
            continue
        if readers[previous.top[0]] == 1 and previous.top[0] not in outputs:
            removed.add(id(previous))
        if before == after and top not in outputs:
            replaced[top] = bottom
            readers[bottom] += readers[top]
            removed.add(id(layer))
            continue
        type_, params = view_of(before, after)
        layer.all("bottom")[0].value = bottom
        layer.all("type")[0].value = type_
        for key in ("reshape_param", "flatten_param"):
            layer.remove(key)
        for key, value in params.items():
            layer.add(key, value)
    return [layer for layer in layers if id(layer) not in removed]


def _drop_flattens(layers: list[Message], outputs: Sequence[str]) -> list[Message]:
    """Remove a Flatten before an InnerProduct, which flattens its bottom anyway."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    flattens = {layer.top[0]: layer for layer in layers if layer.type == "Flatten"}
    removed: set[int] = set()
    for layer in layers:
        flatten = flattens.get(layer.bottom[0]) if layer.type == "InnerProduct" else None
        if flatten is None or layer.inner_product_param.axis != 1 or flatten.has("flatten_param"):
            continue
        if readers[flatten.top[0]] == 1 and flatten.top[0] not in outputs:
            layer.all("bottom")[0].value = flatten.bottom[0]
            removed.add(id(flatten))
    return [layer for layer in layers if id(layer) not in removed]


def _shares_memory(layer: Message) -> bool:  # no layer may write over its top in place
    return not layer.bottom or layer.type == "Split" or layer.type in _VIEWS


class _Names:
    """Renames blobs and layers, and maps the model's names to the new ones."""

    def __init__(self, source: OnnxGraph, ctx: ImportContext) -> None:
        self._source = source
        self._ctx = ctx
        self._blob: dict[str, str] = {}  # each entry is one renaming; entries can chain
        self._sanitized: dict[str, str] = {}
        self._tops: set[str] = set()
        self.renamed: list[str] = []

    def name_outputs(self, layers: list[Message]) -> None:
        """Make each output of the model an output of the net, which is a blob that no layer reads.

        An output that is an alias gives its name to the aliased value, or a Split copies the value.
        An output that a layer reads is copied by a Split too.
        """
        source, ctx = self._source, self._ctx
        used: set[str] = {*source.inputs, *source.outputs}
        for output, value in ctx.output_aliases(source.outputs).items():
            if value in used:
                _split(layers, value, output)
            else:
                _rename(layers, {value: output})
                self._blob[value] = output
                used.add(output)
        for output in source.outputs:
            if output in source.inputs or not any(output in one.bottom for one in layers):
                continue
            inner = f"{output}_value"
            while inner in ctx.shapes:
                inner += "_"
            _rename(layers, {output: inner})
            _split(layers, inner, output)

    def make_in_place(self, layers: list[Message]) -> None:
        """Make layers in-place if they alone read their bottom; the blob gets the top's name."""
        fixed = {*self._source.inputs, *self._source.outputs}
        readers: dict[str, int] = {}
        producers: dict[str, Message] = {}
        for layer in layers:
            for bottom in layer.bottom:
                readers[bottom] = readers.get(bottom, 0) + 1
            for top in layer.top:
                producers.setdefault(top, layer)
        last: dict[str, str] = {}
        for layer in layers:
            if not LayerType.registry[layer.type].written_in_place or len(layer.bottom) != 1:
                continue
            bottom, top = layer.bottom[0], layer.top[0]
            producer = producers.get(bottom)
            if (
                producer is None
                or bottom in fixed
                or readers[bottom] != 1
                or _shares_memory(producer)
            ):
                continue
            last[bottom] = top
        self._blob |= last
        for name in reversed(last):
            last[name] = last.get(last[name], last[name])
        _rename(layers, last)

    def sanitize(self, layers: list[Message]) -> None:
        """Replace characters that cannot be written in one line by underscores."""
        for key in ("name", "top"):
            names = {name: None for layer in layers for name in _values(layer, key)}
            for name in names:
                new = _sanitized(name)
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

    def layer_names(self) -> dict[str, tuple[str, ...]]:
        layers = {
            name: tuple(self.layer(one) for one in names)
            for name, names in self._ctx.layers_of.items()
            if name
        }
        return {name: names for name, names in layers.items() if names != (name,)}


def _values(layer: Message, key: str) -> Iterator[str]:
    return (entry.value for entry in layer.all(key))


def _sanitized(name: str) -> str:
    """Replace unprintable characters, quotes and backslashes in a name by underscores."""
    return "".join("_" if not c.isprintable() or c in "\"'\\" else c for c in name)


def _split(layers: list[Message], value: str, output: str) -> None:
    layers.append(
        Message.make("LayerParameter", name=output, type="Split", bottom=[value], top=[output])
    )
    for layer in layers[:-1]:
        if layer.name == output:  # the layer that produces the value has this name
            layers[-1].all("name")[0].value = f"{output}_out"


def _rename(layers: list[Message], names: Mapping[str, str]) -> None:
    for layer in layers:
        for entry in (*layer.all("bottom"), *layer.all("top")):
            entry.value = names.get(entry.value, entry.value)
