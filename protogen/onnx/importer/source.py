"""ONNX models as plain data: operators in order, constants as arrays, shapes of all values.

Constants that follow from others (shape arithmetic, transposed weights) are folded: the part of the
graph that makes them is cut out and run by onnxruntime.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from protogen.errors import InputError
from protogen.geometry import shape_text
from protogen.net.shapes import MAX_COUNT
from protogen.onnx.files import load_model
from protogen.onnx.importer.legacy import brought_to
from protogen.onnx.memory_mapped import read_memory_mapped
from protogen.onnx.metadata import restore_layers
from protogen.onnx.passes.constant_folding import LAZY, attributes_of, fold
from protogen.onnx.soundness import check_sound, constant, element_type, inferred, schema_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape

OLDEST = 7


@dataclass(frozen=True)
class Operator:
    """One node. Absent inputs are empty names; attributes are plain values, arrays for tensors."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""

    @property
    def subject(self) -> str:
        """How messages call it."""
        return f'operator "{self.name or self.outputs[0]}" ({self.onnx_type})'

    @property
    def onnx_type(self) -> str:
        """ONNX's name of it, or what stands for a group of operators."""
        return self.type.removeprefix("protogen:")


@dataclass
class OnnxGraph:
    """A model as it is to be lifted.

    ``shapes`` has every value whose shape is known; ``kinds`` the ONNX name of the element type of
    those that are not float (INT64, BOOL, ...). ``opset`` is the operator set of the operators;
    ``written`` that of the file, which is lower where it was older than 7.
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

    def objection(self, operator: Operator, shapes: Mapping[str, Shape | None]) -> str:
        """What ONNX's definition of an operator has against this one; empty where nothing."""
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
    model: str | Path | ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> OnnxGraph:
    """A model, its shapes inferred and its constants folded.

    Args:
        input_shapes: shapes by name that replace what the model says; free axes are 1 else.

    Raises:
        InputError: it cannot be read, is no ONNX model, or an input has no shape.
        UnsupportedError: its operator set is older than 7.
    """
    path = "" if isinstance(model, ModelProto) else str(model)
    large: dict[str, NDArray[Any]] = {}
    if isinstance(model, ModelProto):
        loaded = ModelProto()
        loaded.CopyFrom(model)
    else:
        loaded, large = read_memory_mapped(model)
    check_sound(loaded, path, large)
    opset = next((o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")), 0)
    written = opset
    if opset < OLDEST and large:
        loaded, large = load_model(path), {}
    if opset < OLDEST:
        loaded, opset = brought_to(OLDEST, loaded, opset, path), OLDEST
    restore_layers(loaded)
    loaded.ir_version = max(loaded.ir_version, 4)  # before, initializers had to be inputs too
    constants = {
        t.name: large[t.name] if t.name in large else constant(t, path)
        for t in loaded.graph.initializer
    }
    _fix_inputs(loaded.graph, set(constants), dict(input_shapes or {}), path)
    small = [t for t in loaded.graph.initializer if t.name not in large]
    del loaded.graph.initializer[:]
    loaded.graph.initializer.extend(small)
    graph = _inferred(_with_constants(loaded, loaded.graph, constants), path)
    shapes, kinds = _shapes(graph, path)
    while True:
        left = fold(graph.node, constants, shapes, opset)
        done = len(left) == len(graph.node)
        del graph.node[:]
        graph.node.extend(left)
        if done:
            break
        graph = _inferred(_with_constants(loaded, graph, constants), path)
        shapes, kinds = _shapes(graph, path)
    if input_shapes:
        _check_fit(_with_constants(loaded, graph, constants), path)
    inputs = {
        value.name: shapes[value.name] for value in graph.input if value.name not in constants
    }
    return OnnxGraph(
        name=loaded.graph.name,
        path=path,
        opset=opset,
        written=written,
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        inputs=inputs,
        outputs=tuple(value.name for value in graph.output),
        operators=tuple(_operator(node) for node in graph.node),
        constants=constants,
        shapes=shapes | {name: array.shape for name, array in constants.items()},
        kinds=kinds,
    )


def _fix_inputs(
    graph: GraphProto, constants: set[str], given: dict[str, Sequence[int]], path: str
) -> None:
    """Gives every input a whole shape: the user's, the model's, and 1 where an axis is free."""
    names = [value.name for value in graph.input if value.name not in constants]
    for name in given:
        if name not in names:
            raise InputError(
                f"the model has no such input (inputs: {', '.join(names) or 'none'})",
                where=path,
                subject=f'"{name}"',
            )
    for value in graph.output if given else ():  # what is said of them was for other inputs
        value.type.tensor_type.ClearField("shape")
    for value in graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        if value.name in given:
            tensor.shape.Clear()
            for length in given[value.name]:
                tensor.shape.dim.add(dim_value=int(length))
        elif not tensor.HasField("shape"):
            raise InputError(
                "has no shape",
                where=path,
                subject=f'input "{value.name}"',
                advice=f"Give one: --input-shape {value.name}=1,3,224,224.",
            )
        for axis, dim in enumerate(tensor.shape.dim):
            if dim.HasField("dim_value") and (dim.dim_value > 0 or (axis and dim.dim_value == 0)):
                continue
            if axis:
                shown = [str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim]
                raise InputError(
                    f"axis {axis} of {'x'.join(shown)} is free",
                    where=path,
                    subject=f'input "{value.name}"',
                    advice=f"Give its shape: --input-shape {value.name}=1,3,224,224.",
                )
            dim.dim_value = 1
        if prod(dim.dim_value for dim in tensor.shape.dim) > MAX_COUNT:
            whole = shape_text(dim.dim_value for dim in tensor.shape.dim)
            raise InputError(
                f"{whole} is more than the {MAX_COUNT} values of Caffe's largest blob",
                where=path,
                subject=f'input "{value.name}"',
            )


def _inferred(model: ModelProto, path: str) -> GraphProto:
    """The graph with the shapes of what it makes; what cannot be inferred has none."""
    for _ in range(len(model.graph.value_info)):
        model.graph.value_info.pop()
    return inferred(model, path)


def _check_fit(model: ModelProto, path: str) -> None:
    """Refuses shapes that the user gave and the model's operators cannot take."""
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        text = " ".join(re.sub(r"\[\w+\]|Inference error\(s\):", "", str(error)).split())
        first = text.split("(op_type:", 2)[1] if "(op_type:" in text else text
        told = re.sub(r"^(\w+), node name: (.*?)\): ", r'operator "\2" (\1): ', first).strip(" .")
        raise InputError(
            f"the given shapes do not fit: {told}",
            where=path,
            advice="Give shapes that the model was made for.",
        ) from None


def _with_constants(
    model: ModelProto, graph: GraphProto, constants: Mapping[str, NDArray[Any]]
) -> ModelProto:
    """The model with what was folded so far, for another inference; only small values matter."""
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(graph.node)
    known = {t.name for t in made.graph.initializer}
    named = {value.name for value in made.graph.input}
    for name, array in constants.items():
        if name in known:
            continue
        if array.size <= LAZY:
            made.graph.initializer.append(numpy_helper.from_array(array, name))
        elif name not in named:  # its shape is enough
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            made.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    return made


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
                whole = shape_text(shape)
                raise InputError(
                    f"it would be {whole}: more than the {MAX_COUNT} values of Caffe's "
                    "largest blob",
                    where=path,
                    subject=f'value "{value.name}"',
                )
            shapes[value.name] = shape
    return shapes, kinds


def _operator(node: NodeProto) -> Operator:
    return Operator(
        node.op_type,
        node.name,
        tuple(node.input),
        tuple(node.output),
        attributes_of(node),
        "" if node.domain == "ai.onnx" else node.domain,
    )
