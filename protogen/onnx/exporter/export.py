"""Net to ONNX: layers lower themselves into a Program, which becomes a model or a file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from protogen.errors import InputError, UnsupportedError
from protogen.layers import kind_of
from protogen.layers.base import guarded
from protogen.layers.graph import Graph, Layer, cut
from protogen.layers.reading import check_read
from protogen.onnx.exporter.emitter import OnnxEmitter
from protogen.onnx.metadata import remembered
from protogen.onnx.model import to_model
from protogen.onnx.passes.half import halved
from protogen.onnx.passes.optimizations import fold as folded
from protogen.onnx.passes.optimizations import tidy
from protogen.onnx.passes.preprocessing import Preprocessing, preprocessed
from protogen.onnx.program import Program, Value

if TYPE_CHECKING:
    from protogen.net.net import Net

LEAST_OPSET = 13
_AXIS_NAMES = ("batch", "channels", "height", "width")


def to_onnx(net: Net, **options: Any) -> onnx.ModelProto:
    """The net as an ONNX model in memory. Tensors keep the names of Caffe's blobs.

    Args:
        net: the net with its weights.
        options: those of ``lower``.

    Raises:
        InputError, UnsupportedError: see ``lower``.
    """
    return to_model(lower(net, **options))


def lower(
    net: Net,
    *,
    opset: int = 18,
    outputs: Sequence[str] = (),
    fold: bool = True,
    half: bool = False,
    free_axes: Collection[int] = (),
    preprocessing: Preprocessing | None = None,
    metadata: Mapping[str, Any] | None = None,
    part: Graph | None = None,
    expected: bool = False,
) -> Program:
    """The net as an ONNX program.

    Args:
        net: the net with its weights.
        opset: version of ONNX's operators, from 13 to the newest that the installed onnx knows.
        outputs: blobs that the model gives out; layers that they do not need are left out. All
            blobs that nobody reads, where none is named.
        fold: merge BatchNorm, Scale and Bias into the convolution before them, and leave out what
            does nothing; blobs between them are then no longer there.
        half: keep weights as float16; computing stays in float32.
        free_axes: axes of the inputs that stay free; axes of outputs that follow from them are
            free as well.
        preprocessing: what happens to a picture before the net, as part of the model.
        metadata: kept in the model; what is no text is written as JSON.
        part: a part of the net's graph, in place of the whole.
        expected: layers whose values depend on chance (Dropout in phase TRAIN) give their mean;
            otherwise they are refused.

    Raises:
        InputError: ``opset`` is out of range, an output is not there, or weights are missing, do
            not fit or hold NaN.
        UnsupportedError: a layer has no form in ONNX; all such layers are named.
    """
    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise InputError(f"{opset} is outside of {LEAST_OPSET} to {newest}", subject="opset")
    whole = part or net.graph
    graph = cut(whole, outputs or _loose_ends(whole))
    if expected:
        graph = replace(graph, layers=tuple(map(_expected, graph.layers)))
    program = _program(net, graph, opset, metadata or {})
    if free_axes:
        program = _freed(net, graph, program, free_axes)
    if preprocessing is not None:
        program = preprocessed(program, preprocessing)
    program = tidy(program)
    if fold:
        program = folded(program)
    program = halved(program) if half else program
    own = remembered(graph, program)
    return replace(program, metadata={**program.metadata, **own}) if own else program


def _expected(layer: Layer) -> Layer:
    kind = kind_of(layer)
    return replace(layer, phase="TEST") if kind is not None and kind.random(layer) else layer


def _loose_ends(graph: Graph) -> tuple[str, ...]:
    """Outputs of the net without inputs that nobody reads."""
    found = tuple(name for name in graph.outputs if name not in graph.inputs)
    if not found:
        raise InputError("no layer makes an output", subject=f'net "{graph.name}"')
    return found


def _is_utf8(text: str) -> bool:
    """Whether a text came from UTF-8; else it holds its bytes as lone surrogates."""
    return text.isprintable() or not any("\ud800" <= c <= "\udfff" for c in text)


def _program(net: Net, graph: Graph, opset: int, metadata: Mapping[str, Any]) -> Program:
    if not _is_utf8(net.name):
        problem = f"the net's name {net.name!r} is no UTF-8 text, as ONNX's names are"
        raise InputError(problem, advice="Rename it.")
    _check_meaning(graph)
    _check_views(net, graph)
    emitter = OnnxEmitter(graph, net.weights, opset)
    net.check_weights(graph)
    _lower(graph, emitter)
    net.check_finite(graph)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
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


def _check_meaning(graph: Graph) -> None:
    """Refuses a net with fields that are set and not read, and with layers of which forks mean
    different things; all are named."""
    refused: list[UnsupportedError] = []
    for layer in graph.layers:
        kind = kind_of(layer)
        try:
            check_read(layer, kind, graph.ignored_fields)
            if kind is not None:
                kind.decide(layer)
        except UnsupportedError as error:
            refused.append(error)
    if refused:
        raise UnsupportedError.of(*(one for error in refused for one in error.diagnostics))


def _check_views(net: Net, graph: Graph) -> None:
    """Refuses a net that reads, or gives out, a blob after a layer in place has changed it through a
    view of it."""
    changed, reads = net.overwritten
    within = {layer.name for layer in graph.layers}
    seen = [
        (f"{layer.subject} reads", value, by) for layer, value, by in reads if layer.name in within
    ]
    ends = [value for value in graph.outputs if value in changed and value in net.graph.outputs]
    seen += [("the net gives out", value, changed[value]) for value in ends]
    for reader, value, by in seen[:1]:
        raise by.unsupported(
            f'works in place on "{by.bottoms[0]}", which shares its memory with "{value}": '
            f"{reader} what it has changed",
            "Give its top a name of its own.",
        )


def _outputs(graph: Graph) -> list[Value]:
    """Outputs with their shapes, as far as data does not decide them."""
    shapes: dict[str, tuple[int | str, ...] | None] = dict(graph.shapes)
    free: set[str] = set()
    for layer in graph.layers:
        kind = kind_of(layer)
        axis = kind.data_axis if kind else None
        if free.intersection(layer.reads):
            free.update(layer.writes)
            shapes.update(dict.fromkeys(layer.writes))
        elif axis is not None:
            free.update(layer.writes)
            for name in layer.writes:
                shape = list(shapes[name] or ())
                shapes[name] = (*shape[:axis], f"{name}.found", *shape[axis + 1 :])
    return [Value(name, shapes[name]) for name in graph.outputs]


def _lower(graph: Graph, emitter: OnnxEmitter) -> None:
    refused: list[UnsupportedError] = []
    for layer in graph.layers:
        kind = kind_of(layer)
        try:
            if kind is None:
                raise layer.unsupported(
                    "protogen does not know this type",
                    "Write it with pg.layer, hand its bottom on with --layer-as-identity, or end "
                    "the net before it with --output.",
                )
            for text in (layer.name, *layer.reads, *layer.writes):
                if not _is_utf8(text):
                    raise layer.error(
                        f"{text!r} is no UTF-8 text, as ONNX's names are", "Rename it."
                    )
            if any(graph.shapes[name] is None for name in layer.reads):
                continue  # the layer that left the shape unknown is refused by itself
            unknown = next((n for n in layer.writes if graph.shapes[n] is None), None)
            if unknown is not None and kind.feeds:
                if unknown in graph.inputs:
                    raise layer.error(
                        f'the net does not say the shape of its top "{unknown}"',
                        f"Give it with --input-shape {unknown}=N,C,H,W.",
                    )
                continue
            bottoms = [graph.shapes[name] for name in layer.reads]
            hidden = unknown is not None or graph.parameter_shapes[layer.name] is None
            if hidden and kind.has_form:
                raise layer.error("its shapes are not known", "Mend what was warned of.")
            if kind.random(layer):
                raise layer.unsupported(
                    f"in phase {layer.phase} its values depend on chance",
                    "Use phase TEST, or hand its bottom on with --layer-as-identity.",
                )
            emitter.layer(layer)
            # Numbers beyond float32's range are infinite, as Caffe's own are.
            with guarded(layer, bottoms), np.errstate(all="ignore"):
                kind.lower(layer, emitter)
        except UnsupportedError as error:
            refused.append(error)
    if refused:
        raise UnsupportedError.of(*(one for error in refused for one in error.diagnostics))


# Free axes


def _freed(net: Net, graph: Graph, program: Program, axes: Collection[int]) -> Program:
    """The program with free axes: shapes and operators are worked out a second time with other
    lengths. Shapes that move are free; operators that move would be wrong at other lengths."""
    from dataclasses import replace

    other = {
        name: tuple(n + 1 if i in axes else n for i, n in enumerate(graph.shapes[name] or ()))
        for name in graph.inputs
    }
    moved = net.with_inputs(other)
    part = cut(moved.graph, graph.outputs)
    again = _program(moved, part, program.opset, {})
    _check_alike(net, program, again)

    def free(value: Value) -> Value:
        if value.shape is None:
            return value
        pairs = zip(value.shape, part.shapes[value.name] or (), strict=True)
        shape: list[int | str] = list(value.shape)
        for axis in (i for i, (a, b) in enumerate(pairs) if a != b and isinstance(a, int)):
            label = _AXIS_NAMES[axis] if axis < len(_AXIS_NAMES) else f"axis{axis}"
            # The batch is one for all; other lengths are a blob's own.
            alone = axis == 0 or graph.inputs == (value.name,)
            shape[axis] = label if alone else f"{value.name}.{label}"
        return replace(value, shape=tuple(shape))

    return replace(
        program, inputs=[*map(free, program.inputs)], outputs=[*map(free, program.outputs)]
    )


def _check_alike(net: Net, a: Program, b: Program) -> None:
    """Refuses layers whose operators or constants depend on the free lengths."""
    by_name = {layer.name: layer for layer in net.layers}
    fixed: dict[str, None] = {}
    for one, two in zip(a.nodes, b.nodes, strict=False):
        same = one == two
        for name in one.reads if same else ():
            if name in a.tensors and a.tensors[name].source is not b.tensors[name].source:
                arrays = a.tensors[name].array(), b.tensors[name].array()
                same = same and np.array_equal(*arrays)
        if not same:
            fixed[one.layer] = None
    if fixed or len(a.nodes) != len(b.nodes):
        raise UnsupportedError.of(
            *(
                by_name[name]
                .unsupported(
                    "its ONNX form holds the lengths of its input, so they cannot be free",
                    "Convert once for each shape with --input-shape.",
                )
                .diagnostic
                for name in fixed
            )
        )
