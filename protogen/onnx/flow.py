"""Data flow within a model or program: its operators, and the values that depend on inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from onnx import ModelProto, NodeProto, TensorProto

from protogen.onnx.program import Program

# Operators that read only the shape of a value, not its numbers.
_SHAPES = frozenset(("Shape", "Size"))

# Values at which ONNX operators saturate: the output stays there however far the input goes.
# ``protogen.layers`` has the same for Caffe layers.
RESTING = {
    "HardSigmoid": (0.0, 1.0),
    "Relu": (0.0,),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}


class Step(NamedTuple):
    """One operator of a model or of a program."""

    op_type: str
    name: str
    reads: Sequence[str]
    writes: Sequence[str]

    @property
    def subject(self) -> str:
        """The operator as it appears in messages."""
        return f'operator "{self.name or self.writes[0]}" ({self.op_type})'


def steps(source: ModelProto | Program) -> Iterator[Step]:
    """Yield the operators in order. An operator with inner graphs also reads what those read."""
    if isinstance(source, Program):
        for node in source.nodes:
            yield Step(node.op_type, "", node.reads, node.writes)
        return
    for proto in source.graph.node:
        yield Step(proto.op_type, proto.name, list(_reads(proto)), [w for w in proto.output if w])


def fed_by_inputs(source: ModelProto | Program) -> set[str]:
    """Return the names of the values that depend on the numbers of the inputs.

    Constants, and values that depend only on shapes, are not among them.
    """
    if isinstance(source, Program):
        fed = {value.name for value in source.inputs}
    else:
        constants = {tensor.name for tensor in source.graph.initializer}
        fed = {value.name for value in source.graph.input if value.name not in constants}
    for step in steps(source):
        # CastLike reads only the type of its second input.
        read = step.reads[:1] if step.op_type == "CastLike" else step.reads
        if step.op_type not in _SHAPES and fed.intersection(read):
            fed.update(step.writes)
    return fed


def input_kinds(model: ModelProto) -> dict[str, str]:
    """Return the element type of each input by name: float, int64, bool, ..."""
    return {
        value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        for value in model.graph.input
    }


def _reads(node: NodeProto) -> Iterator[str]:
    """Yield what the operator reads, including the operators of its inner graphs."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
