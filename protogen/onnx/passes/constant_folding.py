"""Constant folding of ONNX models: shape arithmetic, transposed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import onnx
from onnx import NodeProto, helper, numpy_helper

from protogen.errors import ProtogenError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape

LARGEST = 1 << 22  # values: limit for a constant that is computed from smaller ones
MOST = 1 << 26  # values: limit for all computed constants of a model that has only small ones
TIMES = 16  # for others: so many times the values of the model's own constants
# Operators whose output is never larger than their input, even if no shape is known.
_NO_LARGER = frozenset(
    (
        "Cast",
        "Compress",
        "GatherElements",
        "Identity",
        "NonZero",
        "Slice",
        "Squeeze",
        "Unique",
        "Unsqueeze",
    )
)
LAZY = 1024  # values: a larger constant of one number stays a view of that number
_KINDS = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}
# Operators whose output differs from run to run.
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike")  # the others read nothing
)
# Operators that only change the shape of their input.
_VIEWS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


class Budget:
    """The number of values that may be computed from the constants of one model, by all operators together.
    Each single constant may be small enough."""

    def __init__(self, constants: Mapping[str, NDArray[Any]]) -> None:
        own = sum(array.size for array in constants.values() if not _is_repeated(array))
        self._most = self._left = MOST + TIMES * own

    def take(
        self, node: NodeProto, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]
    ) -> None:
        """Count the values of an operator: its outputs, and inputs that are expanded for it.

        Raises:
            UnsupportedError: there are too many in all.
        """
        read = [constants[name] for name in node.input if name in constants]
        expanded = sum(array.size for array in read if _is_repeated(array))
        unknown = sum(array.size for array in read)
        written = sum(
            prod(shapes[name]) if name in shapes else unknown for name in node.output if name
        )
        self._left -= expanded + written
        if self._left < 0:
            raise UnsupportedError(
                f"the constants that the model computes have more than {self._most} values in all",
                subject=f'operator "{node.name or next(iter(node.output), "")}" ({node.op_type})',
                advice="Simplify the model, so that it holds them.",
            )


def _is_repeated(array: NDArray[Any]) -> bool:
    """Whether an array is large, and a view of one number."""
    return array.size > LAZY and not any(array.strides)


def fold(
    nodes: Sequence[NodeProto],
    constants: dict[str, NDArray[Any]],
    shapes: Mapping[str, Shape],
    opset: int,
    budget: Budget,
) -> list[NodeProto]:
    """Add the outputs of constant operators to ``constants`` and return the other nodes.

    Raises:
        UnsupportedError: the budget is too small.
    """
    import numpy as np

    remaining: list[NodeProto] = []
    foldable: list[NodeProto] = []
    pending: set[str] = set()
    for node in nodes:
        names = [name for name in node.input if name]
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
        elif node.op_type == "Shape" and names[0] in shapes:
            attributes = attributes_of(node)
            full_shape = shapes[names[0]]
            part = full_shape[attributes.get("start", 0) : attributes.get("end", len(full_shape))]
            constants[node.output[0]] = np.array(part, np.int64)
        elif node.op_type == "ConstantOfShape" and names[0] in constants:
            value = attributes_of(node).get("value", np.zeros(1, np.float32))
            shape = tuple(int(n) for n in constants[names[0]])
            constants[node.output[0]] = np.broadcast_to(value.reshape(()), shape)
        elif node.op_type in _VIEWS and _is_view(node, constants, shapes):
            constants[node.output[0]] = _reshaped(constants[names[0]], shapes[node.output[0]])
        elif _is_narrow(node, constants):
            if not all(name in constants for name in names) or not _foldable(
                node, constants, shapes
            ):
                remaining.append(node)
                continue
            budget.take(node, constants, shapes)
            constants |= _run_narrow(node, constants, opset)
        elif (
            names
            and all(name in constants or name in pending for name in names)
            and _foldable(node, constants, shapes)
        ):
            budget.take(node, constants, shapes)
            foldable.append(node)
            pending.update(node.output)
        else:
            remaining.append(node)
    failed = _compute(foldable, constants, opset)
    if not failed:
        return remaining
    others = {tuple(node.output) for node in (*remaining, *failed)}
    return [node for node in nodes if tuple(node.output) in others]


def _compute(
    nodes: Sequence[NodeProto], constants: dict[str, NDArray[Any]], opset: int
) -> list[NodeProto]:
    """Add the outputs of nodes to ``constants``. Return the nodes that onnxruntime does not compute, such
    as those of types that it does not implement, and the nodes that depend on them."""
    import numpy as np

    try:
        computed = _run(nodes, constants, opset) if nodes else {}
    except ProtogenError:
        if len(nodes) == 1:
            return list(nodes)
        failed: list[NodeProto] = []
        for node in nodes:
            known = all(name in constants for name in node.input if name)
            failed += _compute([node], constants, opset) if known else [node]
        return failed
    constants |= {n: array for n, array in computed.items() if isinstance(array, np.ndarray)}
    return []


def _is_narrow(node: NodeProto, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a constant of the operator, or its result, has a type that onnxruntime's Python cannot take:
    float8, float4, int4 or int2."""
    types = [constants[name].dtype for name in node.input if name in constants]
    if node.op_type == "Cast" and (kind := attributes_of(node).get("to", 0)) in _KINDS:
        types.append(helper.tensor_dtype_to_np_dtype(kind))
    return any(type_.isbuiltin != 1 for type_ in types if type_.kind != "O")


def _run_narrow(
    node: NodeProto, constants: Mapping[str, NDArray[Any]], opset: int
) -> dict[str, NDArray[Any]]:
    """Compute an operator on constants by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    feeds = {name: constants[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
        for name, one in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    results = ReferenceEvaluator(model).run(None, feeds)
    return dict(zip((one.name for one in outputs), results, strict=True))


def _foldable(
    node: NodeProto, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]
) -> bool:
    """Whether a constant can be computed safely, in bounded time and memory.

    The operator must be one of ONNX's own and not random. It must have no inner graph, so no loops, and
    no output far larger than its inputs.
    """
    if node.op_type in _RANDOM or node.domain not in ("", "ai.onnx"):
        return False
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return False
    read = sum(constants[name].size for name in node.input if name in constants)
    for name in filter(None, node.output):
        if name not in shapes:
            sizes = [constants[one].size for one in node.input if one in constants]
            repeats = node.op_type in ("Gather", "GatherND") and prod(sizes) <= LARGEST
            return repeats or node.op_type in _NO_LARGER
        if prod(shapes[name]) > max(LARGEST, 4 * read):
            return False
    return True


def _is_view(
    node: NodeProto, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]
) -> bool:
    """Whether the output is a known constant in another shape."""
    array, shape = constants.get(node.input[0]), shapes.get(node.output[0])
    return array is not None and shape is not None and array.size == prod(shape)


def _reshaped(array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    import numpy as np

    if _is_repeated(array):
        return np.broadcast_to(array.flat[0], shape)
    return array.reshape(shape)


def _run(
    nodes: Sequence[NodeProto], constants: Mapping[str, NDArray[Any]], opset: int
) -> dict[str, NDArray[Any]]:
    """Compute the outputs of nodes whose inputs are constants, with onnxruntime."""
    from protogen.onnx.session import run_model

    outputs = {name for node in nodes for name in node.output if name}
    inputs = {name for node in nodes for name in node.input if name} - outputs
    feeds = {name: constants[name] for name in inputs}
    graph = helper.make_graph(
        nodes,
        "constants",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in sorted(outputs)],
    )
    imports = [helper.make_opsetid("", opset)]
    version = min(helper.find_min_ir_version_for(imports, ignore_unknown=True), 10)
    model = helper.make_model(graph, opset_imports=imports, ir_version=version)
    return run_model(model.SerializeToString(), feeds, sorted(outputs))


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes by name as Python values and numpy arrays."""
    return {item.name: _value(item) for item in node.attribute}


def _value(item: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, onnx.GraphProto):
        return value
    return [
        entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry for entry in value
    ]


def _constant(node: NodeProto) -> NDArray[Any]:
    """Return the value of a Constant operator: a tensor, or numbers."""
    import numpy as np

    key, value = next(iter(attributes_of(node).items()))
    if key == "value":
        return np.asarray(value)
    return np.array(value, np.int64 if key.startswith("value_int") else np.float32)
