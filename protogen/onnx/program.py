"""Program: an ONNX graph as plain data, before it is serialized.

Tensors are views of memory-mapped files, or functions that compute the values when they are
written. Therefore a program of any size takes almost no memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from protogen.geometry import Shape, shape_text
from protogen.layers import graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
WIDTHS = {"float32": 4, "float16": 2, "int64": 8, "bool": 1}

Lengths = tuple[int | None, ...]  # of the axes of a value; None: it can vary


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX operator; ``layer`` is the name of the Caffe layer that emitted it."""

    op_type: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    attributes: Mapping[str, Any]
    layer: str = ""

    def proto(self, name: str) -> NodeProto:
        """Return the operator as a NodeProto of this name."""
        node: NodeProto = helper.make_node(
            self.op_type, self.reads, self.writes, name=name, **self.attributes
        )
        return node


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant; ``source`` is its values, or a function that returns them."""

    shape: Shape
    dtype: str
    source: NDArray[Any] | Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * WIDTHS[self.dtype]

    def array(self) -> NDArray[Any]:
        """The values, little-endian and C-contiguous."""
        import numpy as np

        values = self.source() if callable(self.source) else self.source
        dtype = np.dtype(self.dtype).newbyteorder("<")
        array: NDArray[Any] = np.asarray(values, dtype, order="C")
        return array.reshape(self.shape)


def tensor(array: NDArray[np.floating | np.signedinteger | np.bool_]) -> Tensor:
    """Return the Tensor of an array in memory or in a memory-mapped file."""
    dtype = {"i": "int64", "b": "bool"}.get(array.dtype.kind, "float32")
    return Tensor(tuple(array.shape), dtype, array)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a program.

    Strings in ``shape`` name free axes; None leaves the shape to shape inference.
    """

    name: str
    shape: tuple[int | str, ...] | None
    elem_type: int = TensorProto.FLOAT

    @property
    def text(self) -> str:
        """The shape for messages: 1x3x8x8, with ``batch`` for a free batch axis and ? for others."""
        if self.shape is None:
            return "?"
        names = (n if isinstance(n, int) or n == "batch" else "?" for n in self.shape)
        return shape_text(names)

    @property
    def lengths(self) -> Lengths:
        """The shape with None for each free axis."""
        return tuple(n if isinstance(n, int) else None for n in self.shape or ())


@dataclass(frozen=True, slots=True)
class Program:
    """A whole model. Passes return a new Program. ``shapes`` holds the shapes of Caffe's values."""

    name: str
    nodes: list[Node]
    tensors: dict[str, Tensor]
    inputs: list[Value]
    outputs: list[Value]
    opset: int
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        """Size of all constants in bytes."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def interface(self) -> set[str]:
        """Names of inputs and outputs, which no pass may rename or remove."""
        return {value.name for value in (*self.inputs, *self.outputs)}

    def readers(self) -> Counter[str]:
        """Count how often nodes read each value."""
        return Counter(read for node in self.nodes for read in node.reads)

    def with_nodes(self, nodes: Iterable[Node], tensors: Mapping[str, Tensor]) -> Program:
        """Return the program with these nodes, and those of the tensors that the nodes read."""
        node_list = list(nodes)
        read = {name for node in node_list for name in node.reads}
        return replace(
            self, nodes=node_list, tensors={name: t for name, t in tensors.items() if name in read}
        )


def body_of(
    nodes: Sequence[Node],
    tensors: Mapping[str, Tensor],
    reads: Sequence[str],
    writes: Sequence[str],
) -> GraphProto:
    """Return the body of a Loop whose states are float32: its inputs are the number of the step, the
    condition and the states, its outputs are the condition and the states."""
    types = (TensorProto.INT64, TensorProto.BOOL, *[TensorProto.FLOAT] * len(reads))
    inputs = [
        helper.make_tensor_value_info(name, kind, () if i < 2 else None)
        for i, (name, kind) in enumerate(zip(reads, types, strict=False))
    ]
    outputs = [
        helper.make_tensor_value_info(name, kind, None if i else ())
        for i, (name, kind) in enumerate(zip(writes, types[1:], strict=False))
    ]
    constants = [numpy_helper.from_array(one.array(), name) for name, one in tensors.items()]
    protos = [node.proto(f"{node.layer}/{node.op_type}/{i}") for i, node in enumerate(nodes)]
    graph: GraphProto = helper.make_graph(protos, "body", inputs, outputs, constants)
    return graph


def free_name(name: str, used_names: set[str]) -> str:
    """Return the name, with a dot and a number appended if it is in use, and mark it as used."""
    return graph.free_name(name, used_names, ".")
