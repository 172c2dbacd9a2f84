"""Export to ONNX: each layer emits operators into a Program, which becomes a model or a file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import onnx

from protogen._arguments import checked
from protogen.errors import InputError, UnsupportedError, check_utf8
from protogen.formats.schema.dialect import published
from protogen.layers import kind_of
from protogen.layers.base import guarded
from protogen.layers.graph import Graph, Layer, cut
from protogen.layers.reading import check_read
from protogen.net.cutting import begin
from protogen.net.deciding import check_decided
from protogen.onnx.exporter.emitter import OnnxEmitter
from protogen.onnx.exporter.varying import (
    free_axes_of,
    known_lengths,
    longer_graph,
    longer_shapes,
    operator_errors,
    shape_errors,
)
from protogen.onnx.metadata import roundtrip_metadata
from protogen.onnx.model import to_container, to_model
from protogen.onnx.passes.faster import expand as expanded
from protogen.onnx.passes.half import halved
from protogen.onnx.passes.optimizations import fold as folded
from protogen.onnx.passes.optimizations import tidy
from protogen.onnx.passes.preprocessing import Preprocessing, preprocessed
from protogen.onnx.program import Program, Value

if TYPE_CHECKING:
    from onnx.model_container import ModelContainer

    from protogen.net.net import Net
    from protogen.onnx.program import Lengths

LEAST_OPSET = 13
_AXIS_NAMES = ("batch", "channels", "height", "width")


@overload
def to_onnx(net: Net, *, mapped: Literal[False] = False, **options: Any) -> onnx.ModelProto: ...


@overload
def to_onnx(net: Net, *, mapped: Literal[True], **options: Any) -> ModelContainer: ...


def to_onnx(net: Net, *, mapped: bool = False, **options: Any) -> onnx.ModelProto | ModelContainer:
    """Export the net to an ONNX model in memory. Tensors keep the names of Caffe's blobs.

    Args:
        net: the net with its weights.
        mapped: return an ``onnx.model_container.ModelContainer`` instead of a ``ModelProto``. Its large
            constants are views of the mapped caffemodel, and may take more than 2 GiB. A ``ModelProto``
            holds copies of them, and making it takes up to the size of the largest constant more.
        options: the options of ``lower``.

    Raises:
        InputError, UnsupportedError: see ``lower``.
    """
    program = checked(lower, "to_onnx")(net, **options)
    return to_container(program) if mapped else to_model(program)


def lower(
    net: Net,
    *,
    opset: int = 18,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    fold: bool = True,
    expand: bool = False,
    half: bool = False,
    free_axes: Collection[int] = (),
    preprocessing: Preprocessing | None = None,
    metadata: Mapping[str, Any] | None = None,
    part: Graph | None = None,
    expected: bool = False,
    check_values: bool = True,
) -> Program:
    """Export the net to an ONNX program.

    Args:
        net: the net with its weights.
        opset: version of ONNX's operator set, from 13 to the newest of the installed onnx package.
        inputs: blobs that become inputs of the model, besides the inputs of the net that the outputs
            still depend on; see ``pg.cut``.
        outputs: blobs that the model outputs; layers that they do not depend on are left out. By
            default all blobs that no layer reads.
        fold: merge BatchNorm, Scale and Bias into the convolution before them, and remove operators
            without effect; the blobs between them are then removed too.
        expand: write LRN and PReLU as operators that onnxruntime computes faster.
        half: store weights as float16; the model still computes in float32.
        free_axes: axes of the inputs that stay free; axes of outputs that depend on them are free
            as well.
        preprocessing: preprocessing of images, as part of the model.
        metadata: entries of the model's metadata; a value that is not a string is written as JSON.
        part: a part of the net's graph to export, instead of the whole.
        expected: layers with random values (Dropout in phase TRAIN) output their expected value;
            otherwise they raise UnsupportedError.
        check_values: check that no weight is NaN; False if the caller does.

    Raises:
        InputError: ``opset`` is out of range, an input or output is unknown, no output depends on an
            input, or weights are missing, of the wrong shape or NaN.
        UnsupportedError: layers cannot be exported to ONNX; the error names all of them.
    """
    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise InputError(f"must be {LEAST_OPSET} to {newest}, got {opset}", subject="opset")
    net = begin(net, inputs, outputs)
    whole = part or net.graph
    graph = cut(whole, outputs or default_outputs(whole))
    if expected:
        graph = replace(graph, layers=tuple(map(_expected, graph.layers)))
    program = _program(net, graph, opset, metadata or {})
    if check_values:
        net.check_finite(graph)
    lengths = known_lengths(graph)
    if free_axes:
        program, lengths = _freed(net, graph, program, free_axes)
    if preprocessing is not None:
        program = preprocessed(program, preprocessing)
    program = tidy(program)
    constants = program.tensors
    lengths = {**lengths, **{value.name: value.lengths for value in program.inputs}}
    if fold:
        program, constants = folded(program, lengths)
    if expand:
        program = expanded(program, lengths)
    program = halved(program) if half else program
    roundtrip = roundtrip_metadata(graph, program, constants)
    return replace(program, metadata={**program.metadata, **roundtrip}) if roundtrip else program


def _expected(layer: Layer) -> Layer:
    """Return a random layer in phase TEST, in which it outputs its expected value."""
    kind = kind_of(layer)
    return replace(layer, phase="TEST") if kind is not None and kind.random(layer) else layer


def default_outputs(graph: Graph) -> tuple[str, ...]:
    """Return the outputs of the net, without inputs that no layer reads."""
    outputs = tuple(name for name in graph.outputs if name not in graph.inputs)
    if not outputs:
        raise InputError("no layer produces an output", subject=f'net "{graph.name}"')
    return outputs


def _program(net: Net, graph: Graph, opset: int, metadata: Mapping[str, Any]) -> Program:
    """Export the graph without any pass."""
    check_utf8(net.name, "ONNX requires of names")
    _raise(meaning_errors(graph))
    check_views(net, graph)
    net.check_weights(graph)
    emitter, errors = emitted(net, graph, opset)
    _raise(errors)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
    # A name of a file may have bytes that are not UTF-8.
    texts = {key: one.encode("utf-8", "backslashreplace").decode() for key, one in texts.items()}
    return Program(
        name=net.name or "net",
        nodes=emitter.nodes,
        tensors=emitter.tensors,
        inputs=[Value(name, graph.shapes[name]) for name in graph.inputs],
        outputs=_outputs(graph),
        opset=opset,
        shapes={name: shape for name, shape in graph.shapes.items() if shape is not None},
        metadata=texts,
    )


def _raise(errors: Sequence[UnsupportedError]) -> None:
    """Raise one error with the diagnostics of all; nothing if there are none."""
    if errors:
        raise UnsupportedError.of(*(item for error in errors for item in error.diagnostics))


def meaning_errors(graph: Graph) -> list[UnsupportedError]:
    """Errors for layers with fields that they do not read, and for layers that forks define
    differently."""
    errors: list[UnsupportedError] = []
    for layer in graph.layers:
        kind = kind_of(layer)
        try:
            check_read(layer, kind, graph.ignored_fields)
            check_decided(layer)
        except UnsupportedError as error:
            errors.append(error)
    return errors


def check_views(net: Net, graph: Graph) -> None:
    """Check that no blob is read or output after an in-place layer changed it through a view.

    Raises:
        UnsupportedError: a blob is; the error names the first such layer.
    """
    changed, reads = net.overwritten
    names = {layer.name for layer in graph.layers}
    conflicts = [
        (f"{layer.subject} reads", value, writer)
        for layer, value, writer in reads
        if layer.name in names
    ]
    ends = [value for value in graph.outputs if value in changed and value in net.graph.outputs]
    conflicts += [("the net outputs", value, changed[value]) for value in ends]
    for reader, value, writer in conflicts[:1]:
        raise writer.unsupported(
            f'works in place on "{writer.bottoms[0]}", which shares its memory with "{value}", but '
            f'{reader} "{value}" afterwards',
            "Give its top a different name.",
        )


def _outputs(graph: Graph) -> list[Value]:
    """Return the outputs with their shapes. Axes whose length depends on the data are free."""
    shapes: dict[str, tuple[int | str, ...] | None] = dict(graph.shapes)
    for name, longer in longer_shapes(graph).items():
        shapes[name] = free_axes_of(name, graph.shapes[name], longer)
    return [Value(name, shapes[name]) for name in graph.outputs]


def emitted(net: Net, graph: Graph, opset: int) -> tuple[OnnxEmitter, list[UnsupportedError]]:
    """Emit the operators of all layers. Returns the errors of layers that cannot be exported, also of
    those whose operators hold only at one length of an axis whose length depends on data.

    Raises:
        InputError: see ``emit``.
    """
    emitter = OnnxEmitter(graph, net.weights, opset)
    errors = emit(graph, emitter) or shape_errors(graph)
    longer = None if errors else longer_graph(graph)
    if longer is not None:
        other = OnnxEmitter(longer, net.weights, opset)
        errors = emit(longer, other) or operator_errors(graph, emitter, other)
    return emitter, errors


def emit(graph: Graph, emitter: OnnxEmitter) -> list[UnsupportedError]:
    """Emit the operators of all layers; returns the errors of layers that cannot be exported.

    Raises:
        InputError: a layer is wrong, or a shape is unknown.
    """
    errors: list[UnsupportedError] = []
    for layer in graph.layers:
        kind = kind_of(layer)
        try:
            if kind is None:
                raise layer.unsupported(
                    f"unknown layer type{published(layer.type)}",
                    "Define it with pg.layer, pass its bottom through with --layer-as-identity, or end "
                    "the net before it with --to-blob.",
                )
            for text in (layer.name, *layer.reads, *layer.writes):
                check_utf8(text, "ONNX requires of names", str(layer.place))
            if "" in (*layer.reads, *layer.writes):
                raise layer.error("has a blob without a name, which ONNX cannot have", "Name it.")
            if any(graph.shapes[name] is None for name in layer.reads):
                continue  # the error is reported for the layer with the unknown top
            unknown = next((n for n in layer.writes if graph.shapes[n] is None), None)
            if unknown is not None and kind.is_source:
                if unknown in graph.inputs:
                    raise layer.error(
                        f'the net does not define the shape of its top "{unknown}"',
                        f"Give it with --input-shape {unknown}=N,C,H,W.",
                    )
                continue
            bottoms = [graph.shapes[name] for name in layer.reads]
            hidden = unknown is not None or graph.parameter_shapes[layer.name] is None
            if hidden and kind.has_form:
                raise layer.error("its shapes are unknown", "Fix the problems in the warnings.")
            if kind.random(layer):
                first = "Use phase TEST, or pass" if layer.phase == "TRAIN" else "Pass"
                raise layer.unsupported(
                    f"its values are random in phase {layer.phase}",
                    f"{first} its bottom through with --layer-as-identity.",
                )
            emitter.layer(layer)
            # Numbers beyond float32's range become infinite without a warning, as in Caffe.
            with guarded(layer, bottoms), np.errstate(all="ignore"):
                kind.lower(layer, emitter)
        except UnsupportedError as error:
            errors.append(error)
    return errors


# free axes


def _freed(
    net: Net, graph: Graph, program: Program, axes: Collection[int]
) -> tuple[Program, dict[str, Lengths]]:
    """Return the program with free axes, and the lengths of the axes of its values that are known.

    The net is exported a second time with other lengths of these axes. Axes of outputs whose length
    changes are free. An operator that changes would be wrong at other lengths: UnsupportedError.
    """
    other = {
        name: tuple(n + 1 if i in axes else n for i, n in enumerate(graph.shapes[name] or ()))
        for name in graph.inputs
    }
    resized = net.with_inputs(other)
    part = cut(resized.graph, graph.outputs)
    _check_same_operators(net, program, _program(resized, part, program.opset, {}))

    def free(value: Value) -> Value:
        if value.shape is None:
            return value
        pairs = zip(value.shape, part.shapes[value.name] or (), strict=True)
        shape: list[int | str] = list(value.shape)
        for axis in (i for i, (a, b) in enumerate(pairs) if a != b and isinstance(a, int)):
            label = _AXIS_NAMES[axis] if axis < len(_AXIS_NAMES) else f"axis{axis}"
            # All values have the same batch size. Other free axes are named after their blob.
            shared = axis == 0 or graph.inputs == (value.name,)
            shape[axis] = label if shared else f"{value.name}.{label}"
        return replace(value, shape=tuple(shape))

    free_program = replace(
        program, inputs=[*map(free, program.inputs)], outputs=[*map(free, program.outputs)]
    )
    # One more pixel may give an output of the same size. One more image gives one more image.
    return free_program, known_lengths(graph, part.shapes) if set(axes) == {0} else {}


def _check_same_operators(net: Net, a: Program, b: Program) -> None:
    """Check that the operators and constants of two exports at different lengths are the same.

    Raises:
        UnsupportedError: they differ; the error names the layers.
    """
    by_name = {layer.name: layer for layer in net.layers}
    differing: dict[str, None] = {}
    for node, other in zip(a.nodes, b.nodes, strict=False):
        same = node == other
        for name in node.reads if same else ():
            if name in a.tensors and a.tensors[name].source is not b.tensors[name].source:
                arrays = a.tensors[name].array(), b.tensors[name].array()
                same = same and np.array_equal(*arrays)
        if not same:
            differing[node.layer] = None
    if differing or len(a.nodes) != len(b.nodes):
        raise UnsupportedError.of(
            *(
                by_name[name]
                .unsupported(
                    "its ONNX operators contain the lengths of its input, so its axes cannot be free",
                    "Convert once for each shape with --input-shape.",
                )
                .diagnostic
                for name in differing
            )
        )
