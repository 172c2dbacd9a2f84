"""ONNX models as plain data: operators in order, constants as arrays, shapes of all values.

Values that depend on constants only (shape arithmetic, transposed weights) are folded: onnxruntime
runs the part of the graph that computes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from protogen.errors import InputError, quantity
from protogen.geometry import shape_text
from protogen.net.shapes import MAX_COUNT
from protogen.onnx.arrays import ArrayModel, name_of
from protogen.onnx.constants import check_constants, constant, element_type
from protogen.onnx.files import load_model
from protogen.onnx.importer.cutting import begin, cut
from protogen.onnx.importer.legacy import convert_opset, resolve_axes
from protogen.onnx.importer.registry import REGISTRY
from protogen.onnx.memory_mapped import read_memory_mapped
from protogen.onnx.metadata import restore_layers
from protogen.onnx.passes.branches import take_branches
from protogen.onnx.passes.casting import cast_explicitly
from protogen.onnx.passes.compressing import gather_compressed
from protogen.onnx.passes.constant_folding import LAZY, Budget, attributes_of, fold
from protogen.onnx.passes.functions import expanded, inlined
from protogen.onnx.passes.loops import Values, take_steps
from protogen.onnx.passes.quantization import DROPPED, Scales, drop_quantization
from protogen.onnx.passes.sequences import take_elements
from protogen.onnx.passes.sparse import store_densely
from protogen.onnx.passes.widening import NOTE as WIDENED
from protogen.onnx.passes.widening import widen
from protogen.onnx.propagation import has_short_vectors
from protogen.onnx.soundness import check_order, check_sound, inferred, schema_error
from protogen.onnx.texts import check_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape

OLDEST = 7


@dataclass(frozen=True)
class Operator:
    """One node. The name of an absent input is empty. Attributes are plain values; a tensor is an
    array."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""

    @property
    def subject(self) -> str:
        """Name of the operator in messages."""
        return f'operator "{self.name or self.outputs[0]}" ({self.onnx_type})'

    @property
    def onnx_type(self) -> str:
        """ONNX's operator type; for fused operators, the type that replaces the group."""
        return self.type.removeprefix("protogen:")


@dataclass
class OnnxGraph:
    """A model to be imported.

    Attributes:
        opset: the operator set of ``operators``.
        written: the operator set of the file; it differs from ``opset`` if it is below 7.
        constants: arrays by value.
        shapes: shapes by value, where known.
        kinds: ONNX names of element types (INT64, BOOL, ...) by value; float values are left out.
        scales: the quantisation of the model that was dropped; None if it is kept.
        stored: the constants that are stored in the model, not computed from others.
        layers_first: whether names of operators matter more than those of values.
        notes: how the import differs from the model in every operator, one sentence each.
    """

    name: str
    path: str
    opset: int
    written: int
    producer: str
    inputs: dict[str, Shape]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    constants: dict[str, NDArray[Any]]
    shapes: dict[str, Shape]
    kinds: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scales: Scales | None = None
    stored: frozenset[str] = frozenset()
    layers_first: bool = False

    def objection(self, operator: Operator, shapes: Mapping[str, Shape | None]) -> str:
        """Return how the operator violates ONNX's definition; empty if it does not."""
        if operator.type != operator.onnx_type or operator.domain:
            return ""
        node = helper.make_node(
            operator.type, operator.inputs, operator.outputs, **operator.attributes
        )
        known = {n: s for n in operator.inputs if (s := shapes.get(n)) is not None}
        for name in operator.inputs:
            if name in self.constants:
                known[name] = self.constants[name].shape
        return schema_error(node, known, self.kinds, self.opset)


def read_source(
    model: str | Path | ModelProto | ArrayModel,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    drop_quantisation: bool = False,
) -> OnnxGraph:
    """Read a model, infer its shapes and fold its constants.

    Args:
        model: a path or a model in memory; the arrays of an ArrayModel are not copied.
        input_shapes: shapes by input name that replace the model's own. By default, a first axis
            without a fixed length has length 1.
        outputs: values that become the outputs; operators and inputs that they do not depend on are
            left out. By default the model's outputs.
        inputs: values that become inputs, with the shapes that they have or that ``input_shapes``
            gives them.
        drop_quantisation: compute with the real values that a model quantises, not with integers.

    Raises:
        InputError: the file cannot be read, is not a valid ONNX model, an input has no shape, the model
            has no value of a name in ``outputs`` or ``inputs``, or no output depends on one of
            ``inputs``.
        UnsupportedError: the operator set is below 7 and ONNX's converter fails.
    """
    path = name_of(model)
    loaded, large, written, notes = _loaded(model, path)
    scales = drop_quantization(loaded.graph, path) if drop_quantisation else None
    if scales is not None:
        notes = (*notes, DROPPED.format(quantity(len(scales.activations), "value")))
    opset = max(written, OLDEST)
    loaded, begins, known = begin(loaded, inputs, outputs, dict(input_shapes or {}), path)
    restore_layers(loaded)
    loaded.ir_version = max(loaded.ir_version, 4)  # below 4, initializers must be inputs too
    constants = {
        t.name: large[t.name] if t.name in large else constant(t, path)
        for t in loaded.graph.initializer
    }
    _fix_inputs(loaded.graph, set(constants), known, path)
    stored = frozenset(constants)
    small = [t for t in loaded.graph.initializer if t.name not in large]
    del loaded.graph.initializer[:]
    loaded.graph.initializer.extend(small)
    graph, shapes, kinds = _simplified(loaded, constants, opset, path)
    if input_shapes:
        _check_fit(_with_constants(loaded, graph, constants), path)
    names = [value.name for value in graph.input if value.name not in constants]
    source = OnnxGraph(
        name=loaded.graph.name,
        path=path,
        opset=opset,
        written=written,
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        inputs={name: shapes[name] for name in names},
        outputs=tuple(value.name for value in graph.output),
        operators=tuple(_without_empty(_operator(node), shapes) for node in graph.node),
        constants=constants,
        shapes=shapes | {name: array.shape for name, array in constants.items()},
        kinds=kinds,
        notes=notes,
        scales=scales,
        stored=stored,
        layers_first=isinstance(model, ArrayModel),
    )
    if begins or outputs:
        cut(source, begins, outputs)
    return source


def _simplified(
    model: ModelProto, constants: dict[str, NDArray[Any]], opset: int, path: str
) -> tuple[GraphProto, dict[str, Shape], dict[str, str]]:
    """Fold constants and replace control flow and sequences whose structure is constant, until nothing
    changes. New constants are added to ``constants``.

    Returns:
        The graph, and the shapes and the element types of its values.
    """
    graph = _infer_shapes(_with_constants(model, model.graph, constants), path)
    shapes, kinds = _shapes(graph, path)
    budget = Budget(constants)
    while True:
        nodes = cast_explicitly(graph.node, constants, shapes, kinds)
        folded = fold(nodes, constants, shapes, opset, budget)
        nodes, taken = take_branches(folded, constants)
        nodes, gathered = gather_compressed(nodes, constants)
        nodes, unrolled = take_steps(nodes, constants, Values(shapes, kinds), opset, budget)
        ends = [value.name for value in graph.output]
        nodes, replaced = take_elements(nodes, constants, shapes, ends, opset)
        if taken or unrolled:
            known_names = {value.name for value in graph.input} | constants.keys()
            check_order(nodes, known_names, path)
        changed = taken or gathered or unrolled or replaced
        folded_all = len(folded) == len(graph.node) and not changed
        del graph.node[:]
        graph.node.extend(nodes)
        if folded_all:
            break
        resolve_axes(graph, opset, constants)
        graph = _infer_shapes(_with_constants(model, graph, constants), path)
        shapes, kinds = _shapes(graph, path)
    return graph, shapes, kinds


def _loaded(
    model: str | Path | ModelProto | ArrayModel, path: str
) -> tuple[ModelProto, dict[str, NDArray[Any]], int, tuple[str, ...]]:
    """Read and check a model, and bring it to one form: inlined functions, dense constants, no bfloat16,
    operator set 7 or newer, no negative axes before operator set 11.

    Returns:
        The model, its large constants by name, the operator set of the file, and the notes.
    """
    large: dict[str, NDArray[Any]] = {}
    if isinstance(model, ArrayModel | ModelProto):
        loaded = ModelProto()
        loaded.CopyFrom(model.model if isinstance(model, ArrayModel) else model)
        large = dict(model.arrays) if isinstance(model, ArrayModel) else {}
        check_constants(loaded, path, large)
    else:
        loaded, large = read_memory_mapped(model)
    check_texts(loaded, path)
    loaded = expanded(inlined(loaded, path), REGISTRY)
    store_densely(loaded.graph)
    check_sound(loaded, path)
    notes = (WIDENED,) if widen(loaded) else ()
    opset = next((o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST and large:
        loaded, large = load_model(path), {}
    resolve_axes(loaded.graph, opset, {})
    if opset < OLDEST:
        loaded = convert_opset(OLDEST, loaded, opset, path)
    return loaded, large, opset, notes


def _fix_inputs(
    graph: GraphProto, constants: set[str], input_shapes: Mapping[str, Sequence[int]], path: str
) -> None:
    """Set a complete shape for every input: the user's or the model's, with 1 for a free batch."""
    names = [value.name for value in graph.input if value.name not in constants]
    for name in input_shapes:
        if name not in names:
            raise InputError(
                f"unknown input (inputs: {', '.join(names) or 'none'})",
                where=path,
                subject=f'"{name}"',
            )
    for value in (
        graph.output if input_shapes else ()
    ):  # the model's output shapes are for other input shapes
        value.type.tensor_type.ClearField("shape")
    for value in graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        if value.name in input_shapes:
            tensor.shape.Clear()
            for length in input_shapes[value.name]:
                tensor.shape.dim.add(dim_value=int(length))
        elif not tensor.HasField("shape"):
            raise InputError(
                "has no shape",
                where=path,
                subject=f'input "{value.name}"',
                advice=f"Give a shape: --input-shape {value.name}=1,3,224,224.",
            )
        for axis, dim in enumerate(tensor.shape.dim):
            if dim.HasField("dim_value") and (dim.dim_value > 0 or (axis and dim.dim_value == 0)):
                continue
            if axis:
                lengths = [str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim]
                raise InputError(
                    f"axis {axis} of shape {'x'.join(lengths)} has no fixed length",
                    where=path,
                    subject=f'input "{value.name}"',
                    advice=f"Give the whole shape: --input-shape {value.name}=1,3,224,224.",
                )
            dim.dim_value = 1
        if prod(dim.dim_value for dim in tensor.shape.dim) > MAX_COUNT:
            shape = shape_text(dim.dim_value for dim in tensor.shape.dim)
            raise InputError(
                f"shape {shape} exceeds Caffe's limit of {MAX_COUNT} values in a blob",
                where=path,
                subject=f'input "{value.name}"',
            )


def _infer_shapes(model: ModelProto, path: str) -> GraphProto:
    """Infer the shapes of the graph's values; a value whose inference fails has no shape."""
    for _ in range(len(model.graph.value_info)):
        model.graph.value_info.pop()
    return inferred(model, path)


def _check_fit(model: ModelProto, path: str) -> None:
    """Raise an InputError if the user's input shapes do not fit the model's operators."""
    try:
        onnx.shape_inference.infer_shapes(
            model, strict_mode=True, data_prop=has_short_vectors(model.graph)
        )
    except onnx.shape_inference.InferenceError as error:
        text = " ".join(re.sub(r"\[\w+\]|Inference error\(s\):", "", str(error)).split())
        detail = text.split("(op_type:", 2)[1] if "(op_type:" in text else text
        reason = re.sub(r"^(\w+), node name: (.*?)\): ", r'operator "\2" (\1): ', detail).strip(
            " ."
        )
        raise InputError(
            f"the given shapes do not fit the model: {reason}",
            where=path,
            advice="Give shapes that the model supports.",
        ) from None


def _with_constants(
    model: ModelProto, graph: GraphProto, constants: Mapping[str, NDArray[Any]]
) -> ModelProto:
    """Return the model with the constants folded so far, for the next shape inference.

    Only small constants are added with their values; inference needs just the shape of the others.
    """
    extended = ModelProto()
    extended.CopyFrom(model)
    del extended.graph.node[:]
    extended.graph.node.extend(graph.node)
    known = {t.name for t in extended.graph.initializer}
    named = {value.name for value in extended.graph.input}
    for name, array in constants.items():
        if name in known:
            continue
        if array.size <= LAZY:
            extended.graph.initializer.append(numpy_helper.from_array(array, name))
        elif name not in named:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            extended.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    return extended


def _shapes(graph: GraphProto, path: str) -> tuple[dict[str, Shape], dict[str, str]]:
    shapes: dict[str, Shape] = {}
    kinds: dict[str, str] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type not in (0, onnx.TensorProto.FLOAT):
            kinds[value.name] = element_type(tensor.elem_type, value.name, path)
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shape = tuple(d.dim_value for d in tensor.shape.dim)
            if prod(shape) > MAX_COUNT or min(shape, default=0) < 0:
                raise InputError(
                    f"shape {shape_text(shape)} exceeds Caffe's limit of {MAX_COUNT} values in a "
                    "blob",
                    where=path,
                    subject=f'value "{value.name}"',
                )
            shapes[value.name] = shape
    return shapes, kinds


def _without_empty(operator: Operator, shapes: Mapping[str, Shape]) -> Operator:
    """Return a Concat without inputs that have no values; Caffe's blobs cannot be empty."""
    full = tuple(name for name in operator.inputs if 0 not in shapes.get(name, ()))
    return replace(operator, inputs=full) if operator.type == "Concat" and full else operator


def _operator(node: NodeProto) -> Operator:
    return Operator(
        node.op_type,
        node.name,
        tuple(node.input),
        tuple(node.output),
        attributes_of(node),
        "" if node.domain == "ai.onnx" else node.domain,
    )
