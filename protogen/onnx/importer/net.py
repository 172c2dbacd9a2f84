"""An ONNX model as a Caffe net that reads as a person would write it."""

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
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import constant_outputs, view_of
from protogen.onnx.importer.fusion import joined
from protogen.toolchains.dialects import forks_of

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx import Model
    from protogen.onnx.importer.source import OnnxGraph

# Their tops share memory with their bottoms, so nothing may be written over them.
_VIEWS = frozenset(("Flatten", "Reshape"))


@dataclass(frozen=True)
class Lifted:
    """A net made of an ONNX model.

    ``blobs`` names the blob of each value of the model that has another name in the net, and
    ``layers`` the layers of each operator that are not one layer of its name. ``renamed`` are
    those names that Caffe cannot hold. ``approximated`` are sentences on operators whose form is
    not exact.
    """

    net: Net
    source: OnnxGraph
    blobs: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()

    def names(self) -> dict[str, Any]:
        """The map of names, as data for JSON."""
        return {
            "renamed": list(self.renamed),
            "values": dict(self.blobs),
            "operators": {name: list(made) for name, made in self.layers.items()},
        }


def from_onnx(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Net:
    """The Caffe net of an ONNX model, with its weights.

    Values keep their names as blobs; where a layer works in place, the name is that of the last
    value. Weights are the model's own arrays where Caffe's blobs have the same layout; those of a
    file are views of it.

    Args:
        model: the path of a file of operator set 7 or newer (older ones are brought to 7 by ONNX's
            converter), or a model in memory.
        dialect: ``bvlc``, or ``ssd`` for the layers of that fork as well.
        fold: BatchNormalization goes into the convolution before it.
        input_shapes: shapes by name that replace what the model says; a free batch is 1 else.

    Raises:
        InputError: the model cannot be read, or an input's shape is not known.
        UnsupportedError: operators have no form in Caffe; all of them are named.

    Warns:
        ProtogenWarning: an operator's form is not exact; the sentence has the error.
    """
    made = lift(model, dialect=dialect, fold=fold, input_shapes=input_shapes)
    for sentence in made.approximated:
        warnings.warn(sentence, ProtogenWarning, stacklevel=2)
    return made.net


def lift(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Lifted:
    """``from_onnx`` with all that is known of the result."""
    import numpy as np

    source, to = lifted(model, forks_of(dialect), fold, input_shapes)
    if to.refused:
        raise _refused(source, to)
    names = _Names(source, to)
    layers = [*_inputs(source), *to.layers, *constant_outputs(source, to)]
    names.outputs(layers)
    layers = _one_view(layers, to.shapes, source.outputs)
    layers = _flattened_by_products(layers, source.outputs)
    _silence(source, layers)
    names.in_place(layers)
    names.clean(layers)
    whole = Message.make("NetParameter", name=_clean(source.name) or "net", layer=layers)
    text = _headline(source) + prototxt.write(whole)
    net = Net(prototxt.parse(text, f"{source.path or 'the model'}, in Caffe's layers"))
    net.weights = {
        names.layer(name): [np.asarray(blob, np.float32) for blob in blobs]
        for name, blobs in to.weights.items()
    }
    net.check_weights()
    approximated = dict.fromkeys(
        str(Diagnostic(text, subject=one.subject)) for one, text in to.approximated
    )
    return Lifted(
        net, source, names.blobs(), names.layers(), tuple(names.renamed), tuple(approximated)
    )


def lifted(
    model: str | Path | Model | OnnxGraph,
    forks: frozenset[str],
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[OnnxGraph, Lifter]:
    """The model's operators, and what became of each."""
    from protogen.onnx.importer.source import OnnxGraph, read_source

    source = model if isinstance(model, OnnxGraph) else read_source(model, input_shapes)
    source.operators = joined(source, fold)
    to = Lifter(source, forks)
    for operator in source.operators:
        to.lift(operator)
    return source, to


def _refused(source: OnnxGraph, to: Lifter) -> UnsupportedError:
    """One message for every operator that has no form; not for those that only read of them what
    has no shape."""
    known = {name for name, shape in to.shapes.items() if shape is not None}
    first = [reason for one, reason in to.refused if known.issuperset(filter(None, one.inputs))]
    first = first or [reason for _, reason in to.refused]
    behind = len(to.refused) - len(first)
    if len(to.refused) == 1:
        return UnsupportedError.of(to.refused[0][1]._replace(where=source.path))
    more = f", and {behind} behind them" if behind else ""
    told = f"{len(first)} operators have" if len(first) != 1 else "1 operator has"
    lines = [f"  {reason}" for reason in first]
    return UnsupportedError(f"{told} no form in Caffe{more}:", where=source.path, lines=lines)


def _headline(source: OnnxGraph) -> str:
    made = f" made by {source.producer}" if source.producer else ""
    name = Path(source.path).name if source.path else "an ONNX model"
    return f"# From {_clean(f'{name}{made}, operator set {source.written}')}.\n"


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


def _silence(source: OnnxGraph, layers: list[Message]) -> None:
    """What nobody reads would be an output of the net."""
    read = {bottom for layer in layers for bottom in layer.bottom} | set(source.outputs)
    unread = [
        top for layer in layers for top in layer.top if top not in read and layer.type != "Input"
    ]
    if unread:
        layers.append(
            Message.make("LayerParameter", name="unread_values", type="Silence", bottom=unread)
        )


def _one_view(
    layers: list[Message], shapes: Mapping[str, Shape | None], outputs: Sequence[str]
) -> list[Message]:
    """Of views of views (Reshape, Flatten) only the last counts, and none that changes nothing."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {layer.top[0]: layer for layer in layers if layer.type in _VIEWS}
    same: dict[str, str] = {}
    gone: set[int] = set()
    for layer in layers:
        for entry in layer.all("bottom"):
            entry.value = same.get(entry.value, entry.value)
        first = makers.get(layer.bottom[0]) if layer.type in _VIEWS else None
        if first is None or id(first) in gone:
            continue
        bottom, top = first.bottom[0], layer.top[0]
        before, after = shapes.get(bottom), shapes.get(top)
        if before is None or after is None:
            continue
        if readers[first.top[0]] == 1 and first.top[0] not in outputs:
            gone.add(id(first))
        if before == after and top not in outputs:
            same[top] = bottom
            readers[bottom] += readers[top]
            gone.add(id(layer))
            continue
        type_, params = view_of(before, after)
        layer.all("bottom")[0].value = bottom
        layer.all("type")[0].value = type_
        for key in ("reshape_param", "flatten_param"):
            layer.remove(key)
        for key, value in params.items():
            layer.add(key, value)
    return [layer for layer in layers if id(layer) not in gone]


def _flattened_by_products(layers: list[Message], outputs: Sequence[str]) -> list[Message]:
    """InnerProduct flattens what it reads by itself."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    flats = {layer.top[0]: layer for layer in layers if layer.type == "Flatten"}
    gone: set[int] = set()
    for layer in layers:
        flat = flats.get(layer.bottom[0]) if layer.type == "InnerProduct" else None
        if flat is None or layer.inner_product_param.axis != 1 or flat.has("flatten_param"):
            continue
        if readers[flat.top[0]] == 1 and flat.top[0] not in outputs:
            layer.all("bottom")[0].value = flat.bottom[0]
            gone.add(id(flat))
    return [layer for layer in layers if id(layer) not in gone]


def _shares(layer: Message) -> bool:
    """Whether its top is memory that something else has, so that nothing may be written over it."""
    return not layer.bottom or layer.type == "Split" or layer.type in _VIEWS


class _Names:
    """What became of the model's names."""

    def __init__(self, source: OnnxGraph, to: Lifter) -> None:
        self._source = source
        self._to = to
        self._blob: dict[str, str] = {}  # one step each
        self._cleaned: dict[str, str] = {}
        self._tops: set[str] = set()
        self.renamed: list[str] = []

    def outputs(self, layers: list[Message]) -> None:
        """Outputs are blobs that nobody reads: one that is another value's alias, or that a layer
        reads, is made by a Split, or takes the name of a value that nobody else has use for."""
        source, to = self._source, self._to
        taken: set[str] = {*source.inputs, *source.outputs}
        for output, value in to.finish(source.outputs).items():
            if value in taken:
                _split(layers, value, output)
            else:
                _rename(layers, {value: output})
                self._blob[value] = output
                taken.add(output)
        for output in source.outputs:
            if output in source.inputs or not any(output in one.bottom for one in layers):
                continue
            inner = f"{output}_value"
            while inner in to.shapes:
                inner += "_"
            _rename(layers, {output: inner})
            _split(layers, inner, output)

    def in_place(self, layers: list[Message]) -> None:
        """Layers that are the only reader of their bottom work in place, under their top's name."""
        fixed = {*self._source.inputs, *self._source.outputs}
        readers: dict[str, int] = {}
        maker: dict[str, Message] = {}
        for layer in layers:
            for bottom in layer.bottom:
                readers[bottom] = readers.get(bottom, 0) + 1
            for top in layer.top:
                maker.setdefault(top, layer)
        last: dict[str, str] = {}
        for layer in layers:
            if not LayerType.registry[layer.type].written_in_place or len(layer.bottom) != 1:
                continue
            bottom, top = layer.bottom[0], layer.top[0]
            made = maker.get(bottom)
            if made is None or bottom in fixed or readers[bottom] != 1 or _shares(made):
                continue
            last[bottom] = top
        self._blob |= last
        for name in reversed(last):
            last[name] = last.get(last[name], last[name])
        _rename(layers, last)

    def clean(self, layers: list[Message]) -> None:
        """Characters that cannot be written in a line become underscores."""
        for key in ("name", "top"):
            names = {name: None for layer in layers for name in _values(layer, key)}
            for name in names:
                good = _clean(name)
                while good != name and good in names:
                    good += "_"
                if good != name:
                    self._cleaned[name] = good
                    self.renamed.append(name)
        for layer in layers if self._cleaned else ():
            for key in ("name", "bottom", "top"):
                for entry in layer.all(key):
                    entry.value = self._cleaned.get(entry.value, entry.value)
        self._tops = {top for layer in layers for top in layer.top}

    def layer(self, name: str) -> str:
        """A layer's name in the net."""
        return self._cleaned.get(name, name)

    def blobs(self) -> dict[str, str]:
        made = {}
        for operator in self._source.operators:
            for value in operator.outputs:
                if value and value not in self._source.constants:
                    made[value] = self._final(value)
        ends = (*self._source.inputs, *self._source.outputs)
        made |= {name: self._final(name) for name in ends}
        return {value: blob for value, blob in made.items() if value != blob and blob in self._tops}

    def _final(self, value: str) -> str:
        if value not in self._source.outputs:
            value = self._to.blob(value)
        while value in self._blob and value not in self._source.outputs:
            value = self._blob[value]
        return self._cleaned.get(value, value)

    def layers(self) -> dict[str, tuple[str, ...]]:
        made = {
            name: tuple(self.layer(one) for one in layers)
            for name, layers in self._to.made_of.items()
            if name
        }
        return {name: layers for name, layers in made.items() if layers != (name,)}


def _values(layer: Message, key: str) -> Iterator[str]:
    return (entry.value for entry in layer.all(key))


def _clean(name: str) -> str:
    """A name in printable characters without quotes or backslashes."""
    return "".join("_" if not c.isprintable() or c in "\"'\\" else c for c in name)


def _split(layers: list[Message], value: str, output: str) -> None:
    layers.append(
        Message.make("LayerParameter", name=output, type="Split", bottom=[value], top=[output])
    )
    for layer in layers[:-1]:
        if layer.name == output:  # it is the value's maker
            layers[-1].all("name")[0].value = f"{output}_out"


def _rename(layers: list[Message], names: Mapping[str, str]) -> None:
    for layer in layers:
        for entry in (*layer.all("bottom"), *layer.all("top")):
            entry.value = names.get(entry.value, entry.value)
