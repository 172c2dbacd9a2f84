"""Import of a whole ONNX model: its operators one by one, then the names and the final layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.errors import Diagnostic, ProtogenWarning, UnsupportedError, warn
from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.formats.schema.dialect import BVLC, dialects
from protogen.layers import LayerType
from protogen.legalization.legalize import legal_for
from protogen.net.net import Net
from protogen.net.parsers import check_form
from protogen.onnx.importer.cleaning import cleaned, silence_unread
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import constant_outputs
from protogen.onnx.importer.fusion import fuse_operators
from protogen.onnx.importer.naming import Names, sanitized
from protogen.onnx.passes.quantization import Scales
from protogen.toolchains.dialects import forks_of
from protogen.toolchains.toolchain import of_dialect

if TYPE_CHECKING:
    from protogen.onnx import Model
    from protogen.onnx.arrays import ArrayModel
    from protogen.onnx.importer.source import OnnxGraph


MOST_NAMED = 8  # blobs in an advice


@dataclass(frozen=True, repr=False)
class ImportedNet(Shown):
    """A net that was imported from an ONNX model.

    Attributes:
        blobs: the blob of each value of the model whose name differs in the net.
        layers: the layers of each operator that is not imported as one layer of the same name.
        renamed: names of the model that are invalid in Caffe.
        approximated: one sentence for each operator that is imported approximately.
        reasons: why each layer is there, by its name in the net.
        lasts: the blobs of values that are written in place last and whose name is that of a layer.
        overwritten: values that a layer in place writes over.
    """

    net: Net
    source: OnnxGraph
    blobs: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    lasts: Mapping[str, str] = field(default_factory=dict)
    overwritten: frozenset[str] = frozenset()

    def compared(self, ends: Collection[str]) -> dict[str, str]:
        """Return the names in the net of values to compare, where they differ; an empty name for a value
        that a layer in place writes over, whose name can be that of a blob with another value.

        Args:
            ends: the inputs and outputs.
        """
        names = dict.fromkeys(self.overwritten, "") | dict(self.lasts)
        return names | {value: blob for value, blob in self.blobs.items() if value in ends}

    def scales(self) -> dict[str, Any]:
        """Return the quantisation that was dropped, by blob and by constant, as data for JSON."""
        scales = self.source.scales or Scales()
        known = self.net.graph.shapes
        blobs = {name: self.blobs.get(name, name) for name in scales.activations}
        return {
            "activations": {
                blobs[name]: one.plain()
                for name, one in scales.activations.items()
                if blobs[name] in known
            },
            "weights": {name: one.plain() for name, one in scales.weights.items()},
        }

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
    inputs: Sequence[str] = (),
    drop_quantisation: bool = False,
) -> Net:
    """Import an ONNX model as a Caffe net, with its weights.

    Blobs have the names of the model's values; the blob of in-place layers has the name of the last
    value. Weights are the model's own arrays where Caffe's blobs have the same layout. Weights of a
    file are views of the file.

    Args:
        model: the path of an ONNX file, or a model in memory. Operator set 7 and newer are read
            directly; ONNX's converter first converts older models to 7.
        dialect: the Caffe that the net is for. Only layer types, fields and values that it has are
            written: also those of its own.
        fold: fold BatchNormalization into the convolution before it.
        input_shapes: shapes by input name that replace the model's own. By default, a free batch
            axis has length 1.
        outputs: values of the model that become the outputs; what they do not depend on is left
            out. By default the model's outputs.
        inputs: values of the model that become inputs, with the shapes that they have or that
            ``input_shapes`` gives them; what only they depend on is left out. An input of the model is
            one anyway, if an output still depends on it.
        drop_quantisation: for a quantised model: compute with the real values, in float32.

    Raises:
        InputError: the model cannot be read, an input's shape is unknown, the model has no value of a
            name in ``outputs`` or ``inputs``, a value of ``inputs`` is a constant, or no output depends
            on it.
        UnsupportedError: the model has unsupported operators; the message names all of them.

    Warns:
        ProtogenWarning: an operator is imported approximately; the message states the error.
    """
    imported = import_model(
        model,
        dialect=dialect,
        fold=fold,
        input_shapes=input_shapes,
        outputs=outputs,
        inputs=inputs,
        drop_quantisation=drop_quantisation,
    )
    for sentence in imported.approximated:
        warn(ProtogenWarning(sentence))
    return imported.net


def import_model(
    model: str | Path | Model | ArrayModel,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    drop_quantisation: bool = False,
    richest: bool = False,
) -> ImportedNet:
    """Import a model like ``from_onnx``, and return the map of names and the approximations too.
    ``richest``: for legalization, also write layer types that no Caffe has."""
    import numpy as np

    forks = frozenset(LayerType.registry) if richest else forks_of(dialect)
    toolchain = None
    if not richest and dialect != BVLC and dialect in dialects():
        check_form((toolchain := of_dialect(dialect)).schema)
    from protogen.onnx.importer.source import read_source

    source = read_source(model, input_shapes, outputs, inputs, drop_quantisation)
    ctx = import_operators(source, forks, fold)
    if ctx.refused:
        raise _unsupported_error(source, ctx)
    layers = [*_inputs(source), *ctx.layers, *constant_outputs(source, ctx)]
    (names := Names(source, ctx)).name_outputs(layers)
    layers = cleaned(layers, ctx.shapes, ctx.weights, source.outputs, ctx.reasons)
    silence_unread(source, layers)
    names.make_in_place(layers)
    names.sanitize(layers)
    message = Message.make("NetParameter", name=sanitized(source.name) or "net", layer=layers)
    where = f"{source.path or 'the model'}, imported to Caffe"
    own = "" if richest or dialect == BVLC else dialect  # forks differ in what layers compute
    net = Net(prototxt.parse(_header(source) + prototxt.write(message), where), dialect=own)
    net.weights = {
        names.layer(name): [np.asarray(blob, np.float32) for blob in blobs]
        for name, blobs in ctx.weights.items()
    }
    net.check_weights()
    reasons = {names.layer(name): text for name, text in ctx.reasons.items()}
    approximated = _approximations(ctx)
    if toolchain is not None:
        # The fork may lack fields and types of BVLC Caffe that are newer than the fork.
        legal = legal_for(net, toolchain)
        net = legal.net
        if legal.error:
            approximated[f"forms for {dialect} have an error of up to {legal.error:g}"] = None
    return ImportedNet(
        net,
        source,
        names.blob_names(),
        names.layer_names(),
        tuple(names.renamed),
        tuple(approximated),
        {layer.name: _reason(layer.type, reasons.get(layer.name, "")) for layer in net.layers},
        names.lasts(),
        frozenset(names.overwritten),
    )


def _approximations(ctx: ImportContext) -> dict[str, None]:
    """Return one sentence for each difference from the model, as the keys of a dict, to keep the order."""
    texts = (str(Diagnostic(text, subject=one.subject)) for one, text in ctx.approximated)
    return dict.fromkeys([*ctx.notes, *texts])


_ADDED = {  # why a layer is there that is of no operator
    "Input": "an input of the model",
    "Parameter": "an output of the model that is a constant",
    "Split": "an output that a layer reads, or that is the same value as another one",
    "Silence": "values that no layer reads would be outputs of the net",
    "Reshape": "a part of a Concat that the model slices again",
    "Flatten": "a part of a Concat that the model slices again",
}


def _reason(type_: str, text: str) -> str:
    return text or _ADDED.get(type_, "")


def import_operators(source: OnnxGraph, forks: frozenset[str], fold: bool = False) -> ImportContext:
    """Import the model's operators one by one; the ImportContext has the outcome of each."""
    source.operators = fuse_operators(source, fold)
    ctx = ImportContext(source, forks)
    for operator in source.operators:
        ctx.import_operator(operator)
    return ctx


def _unsupported_error(source: OnnxGraph, ctx: ImportContext) -> UnsupportedError:
    """Return one error that lists every unsupported operator. Those that fail only because an input has
    no shape are counted: they depend on an unsupported operator."""
    known = {name for name, shape in ctx.shapes.items() if shape is not None}
    reasons = [reason for one, reason in ctx.refused if known.issuperset(filter(None, one.inputs))]
    reasons = reasons or [reason for _, reason in ctx.refused]
    dependent = len(ctx.refused) - len(reasons)
    if len(ctx.refused) == 1:
        reason = ctx.refused[0][1]
        advice = reason.advice or _way_out(source, ctx)
        return UnsupportedError.of(reason._replace(where=source.path, advice=advice))
    count = f"{len(reasons)} operators have" if len(reasons) != 1 else "1 operator has"
    others = ""
    if dependent:
        depend = "depends" if dependent == 1 else "depend"
        others = f", and {dependent} more {depend} on {'it' if len(reasons) == 1 else 'them'}"
    lines = [f"  {reason}" for reason in reasons]
    problem = f"{count} no equivalent in Caffe{others}:"
    return UnsupportedError(problem, where=source.path, lines=lines, advice=_way_out(source, ctx))


def _way_out(source: OnnxGraph, ctx: ImportContext) -> str:
    """Return how to leave out the unsupported operators: end the net before them, or begin it after."""
    refused = {operator.outputs for operator, _ in ctx.refused}
    lost: set[str] = set()
    before: dict[str, None] = {}
    after: dict[str, None] = {}
    for operator in source.operators:
        own = operator.outputs in refused
        if own:
            before.update(dict.fromkeys(operator.inputs))
            after.update(dict.fromkeys(filter(None, operator.outputs)))
        if own or lost.intersection(operator.inputs):
            lost.update(operator.outputs)
    fixed = {"", *source.inputs, *source.constants}
    ends = [name for name in before if name not in lost and name not in fixed]
    if ends and not lost.issuperset(source.outputs):
        ends += [name for name in source.outputs if name not in lost and name not in ends]
    if ends:
        names = " ".join(f"--to-blob {name}" for name in ends[:MOST_NAMED])
        return f"End the net before {'it' if len(refused) == 1 else 'them'}: {names}."
    begins = [name for name in after if ctx.is_read(name) and name not in source.outputs]
    if begins and len(refused) == 1:
        return f"Begin the net after it: {' '.join(f'--from-blob {one}' for one in begins)}."
    return ""


def _header(source: OnnxGraph) -> str:
    producer = f" made by {source.producer}" if source.producer else ""
    name = Path(source.path).name if source.path else "an ONNX model"
    return f"# From {sanitized(f'{name}{producer}, operator set {source.written}')}.\n"


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
