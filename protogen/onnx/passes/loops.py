"""Replaces a Loop or a Scan whose number of steps is known by the operators of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

from protogen.onnx.passes.constant_folding import LAZY, Budget, attributes_of, fold
from protogen.onnx.passes.inlining import copied, produced
from protogen.onnx.passes.sorting import reads
from protogen.onnx.passes.stacking import Stacking
from protogen.onnx.propagation import has_short_vectors

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from protogen.geometry import Shape

    Constants = dict[str, NDArray[Any]]

MOST_STEPS = 256  # of a Loop or Scan
MOST_OPERATORS = 20_000  # of all steps of a Loop or Scan
SCAN_SET = 9  # operator set 8 has another Scan, over the batch


@dataclass(frozen=True)
class Values:
    """What is known of the values of a graph: shapes, and ONNX's names of element types that are not
    FLOAT."""

    shapes: Mapping[str, Shape]
    kinds: Mapping[str, str]


def take_steps(
    nodes: Iterable[NodeProto], constants: Constants, values: Values, opset: int, budget: Budget
) -> tuple[list[NodeProto], int]:
    """Return the nodes without each Loop and Scan whose number of steps is known, and the number of these.

    The operators of a step are copied, with new names. A result that is collected over the steps is a
    Concat. A loop inside of a body is replaced in the next call.

    Args:
        constants: constants by name; new ones are added.
        budget: see ``fold``.
    """
    nodes = list(nodes)
    result: list[NodeProto] = []
    replaced = 0
    for node in nodes:
        steps = None
        if node.op_type in ("Loop", "Scan") and node.domain in ("", "ai.onnx"):
            body = next((one.g for one in node.attribute if one.name == "body"), None)
            stacking = Stacking(opset, dict(constants), [*nodes, *result])
            if body is not None and not body.sparse_initializer:
                unrolled = _Unrolled(node, body, stacking, values, budget)
                steps = unrolled.loop() if node.op_type == "Loop" else unrolled.scan()
        if steps is None:
            result.append(node)
            continue
        replaced += 1
        result += steps
        constants |= stacking.constants
    return result, replaced


class _Unrolled:
    """The steps of one Loop or Scan. Its methods return None if it cannot be replaced."""

    def __init__(
        self,
        node: NodeProto,
        body: GraphProto,
        stacking: Stacking,
        values: Values,
        budget: Budget,
    ) -> None:
        self._node, self._body, self._stacking, self._budget = node, body, stacking, budget
        self._constants = stacking.constants
        self._shapes, self._kinds = dict(values.shapes), dict(values.kinds)
        self._own = produced(body) | {one.name for one in body.input}
        self._nodes: list[NodeProto] = []

    def loop(self) -> list[NodeProto] | None:
        import numpy as np

        count, condition, *states = [*self._node.input, "", ""][: max(2, len(self._node.input))]
        inputs = [one.name for one in self._body.input]
        if len(inputs) != 2 + len(states) or len(self._body.output) <= len(states):
            return None
        steps: int | None = None
        if count:
            steps = self._integer(count)
            if steps is None:
                return None
        collected: list[list[str]] = [[] for _ in self._body.output[1 + len(states) :]]
        goes_on = self._integer(condition) if condition else 1
        step = 0
        while goes_on and (steps is None or step < steps):
            if step == MOST_STEPS:
                return None
            number, asked = (self._stacking.new(f"{one}_{step}") for one in inputs[:2])
            self._constants[number], self._constants[asked] = np.array(step), np.array(True)
            outputs = self._step(dict(zip(inputs, [number, asked, *states], strict=True)), step)
            if outputs is None:
                return None
            goes_on = self._integer(outputs[0])  # also without a first condition, as onnxruntime
            states = outputs[1 : 1 + len(states)]
            for parts, part in zip(collected, outputs[1 + len(states) :], strict=True):
                parts.append(part)
            step += 1
        return None if goes_on is None else self._finished(states, collected, [0] * len(collected))

    def scan(self) -> list[NodeProto] | None:
        node, attributes = self._node, attributes_of(self._node)
        count = attributes.get("num_scan_inputs", 0)
        first = len(node.input) - count
        inputs = [one.name for one in self._body.input]
        if self._stacking.opset < SCAN_SET or first < 0 or len(inputs) != len(node.input):
            return None
        states, read = list(node.input[:first]), node.input[first:]
        outputs = len(self._body.output) - first
        axes = attributes.get("scan_input_axes") or [0] * count
        backwards = attributes.get("scan_input_directions") or [0] * count
        out_axes = attributes.get("scan_output_axes") or [0] * outputs
        out_backwards = attributes.get("scan_output_directions") or [0] * outputs
        if {len(axes), len(backwards)} != {count} or {len(out_axes), len(out_backwards)} != {
            outputs
        }:
            return None
        parts = [self._taken_apart(*one) for one in zip(read, axes, backwards, strict=True)]
        rows = [one for one in parts if one is not None]
        if len(rows) < len(parts) or len({len(one) for one in rows}) != 1:
            return None
        collected: list[list[str]] = [[] for _ in range(outputs)]
        for step, row in enumerate(zip(*rows, strict=True)):
            results = self._step(dict(zip(inputs, [*states, *row], strict=True)), step)
            if results is None:
                return None
            states = results[:first]
            for pieces, piece in zip(collected, results[first:], strict=True):
                pieces.append(piece)
        turned = [
            one[::-1] if back else one for one, back in zip(collected, out_backwards, strict=True)
        ]
        return self._finished(states, turned, out_axes)

    def _integer(self, name: str) -> int | None:
        """Return the number of a constant; None if it is computed."""
        constant = self._constants.get(name)
        return None if constant is None or constant.size != 1 else int(constant.reshape(-1)[0])

    def _taken_apart(self, x: str, axis: int, backwards: int) -> list[str] | None:
        """Split a value into its parts along an axis, which is removed."""
        constant = self._constants.get(x)
        shape = self._shapes.get(x) if constant is None else constant.shape
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        axis %= len(shape)
        length = shape[axis]
        if not 0 < length <= MOST_STEPS:
            return None
        parts = [self._stacking.new(f"{x}_{i}") for i in range(length)]
        self._nodes += self._stacking.parted(x, parts, [1] * length, axis, keep=False)
        self._shapes |= dict.fromkeys(parts, (*shape[:axis], *shape[axis + 1 :]))
        if x in self._kinds:
            self._kinds |= dict.fromkeys(parts, self._kinds[x])
        return parts[::-1] if backwards else parts

    def _step(self, read: Mapping[str, str], step: int) -> list[str] | None:
        """Add the operators of one step, and return the values of the body's outputs; None if there are too
        many operators."""
        names = {name: self._stacking.new(f"{name}_{step}") for name in sorted(self._own)}
        names |= read
        nodes = copied(self._body, names)
        for node in nodes:
            node.name = node.name and f"{node.name}_{step}"
        if len(self._nodes) + len(nodes) > MOST_OPERATORS:
            return None
        self._nodes += self._settled(nodes)
        return [names.get(one.name, one.name) for one in self._body.output]

    def _settled(self, nodes: list[NodeProto]) -> list[NodeProto]:
        """Fold the constants of a step, so that the condition of the next one is known."""
        while True:
            self._infer(nodes)
            opset = self._stacking.opset
            rest = fold(nodes, self._constants, self._shapes, opset, self._budget)
            if len(rest) == len(nodes):
                return rest
            nodes = rest

    def _infer(self, nodes: Sequence[NodeProto]) -> None:
        """Store the shapes of the values of a step."""
        own = {name for node in nodes for name in node.output}
        names = sorted({name for node in nodes for name in reads(node)} - own)
        inputs, initializers = [], []
        for name in names:
            array = self._constants.get(name)
            if array is not None and array.size <= LAZY:
                initializers.append(numpy_helper.from_array(array, name))
            elif array is not None:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
            elif name in self._shapes:
                kind = onnx.TensorProto.DataType.Value(self._kinds.get(name, "FLOAT"))
                inputs.append(helper.make_tensor_value_info(name, kind, self._shapes[name]))
        graph = helper.make_graph(nodes, "step", inputs, [], initializers)
        imports = [helper.make_opsetid("", self._stacking.opset)]
        model = helper.make_model(graph, opset_imports=imports)
        try:
            values = onnx.shape_inference.infer_shapes(
                model, data_prop=has_short_vectors(model.graph)
            ).graph.value_info
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            return
        for value in values:
            tensor = value.type.tensor_type
            if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
                self._shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
            if tensor.elem_type not in (0, onnx.TensorProto.FLOAT):
                self._kinds[value.name] = onnx.TensorProto.DataType.Name(tensor.elem_type)

    def _finished(
        self, states: Sequence[str], collected: Sequence[Sequence[str]], axes: Sequence[int]
    ) -> list[NodeProto] | None:
        """Add the outputs of the loop: the last states, and what is collected over the steps."""
        outputs = self._node.output
        if len(outputs) > len(states) + len(collected):
            return None
        for name, state in zip(outputs, states, strict=False):
            if name:
                self._nodes.append(helper.make_node("Identity", [state], [name]))
        for name, parts, axis in zip(outputs[len(states) :], collected, axes, strict=False):
            if name and not parts:
                return None  # an empty result
            if name:
                self._nodes += self._stacking.stacked(parts, name, axis, self._node.name)
        return self._nodes
