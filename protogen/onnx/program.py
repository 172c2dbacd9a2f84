"""An ONNX graph before it is bytes: nodes and tensors as plain data.

Tensors hold views of mapped files, or functions that make their values when they are written, so
that a program of any size takes next to no memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, TensorProto, helper

from protogen.geometry import Shape, shape_text
from protogen.layers import graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}
WIDTHS = {"float32": 4, "float16": 2, "int64": 8}


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX operator; ``layer`` is the Caffe layer that it came from."""

    op_type: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    attributes: Mapping[str, Any]
    layer: str = ""

    def proto(self, name: str) -> NodeProto:
        made: NodeProto = helper.make_node(
            self.op_type, self.reads, self.writes, name=name, **self.attributes
        )
        return made


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant: its values, or a function that makes them."""

    shape: Shape
    dtype: str
    source: NDArray[Any] | Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * WIDTHS[self.dtype]

    def array(self) -> NDArray[Any]:
        """The values, little-endian and in one piece."""
        import numpy as np

        found = self.source() if callable(self.source) else self.source
        kind = np.dtype(self.dtype).newbyteorder("<")
        made: NDArray[Any] = np.asarray(found, kind, order="C")
        return made.reshape(self.shape)


def tensor(array: NDArray[np.floating | np.signedinteger]) -> Tensor:
    """The Tensor of an array in memory or on a map."""
    return Tensor(tuple(array.shape), "int64" if array.dtype.kind == "i" else "float32", array)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output: float32 unless ``elem_type`` says otherwise. Names in a shape are free
    axes; None leaves the shape to inference."""

    name: str
    shape: tuple[int | str, ...] | None
    elem_type: int = TensorProto.FLOAT

    @property
    def text(self) -> str:
        """The shape as messages write it: 1x3x8x8, ``batch`` for a free first axis, ? for others."""
        if self.shape is None:
            return "?"
        names = (n if isinstance(n, int) or n == "batch" else "?" for n in self.shape)
        return shape_text(names)

    @property
    def lengths(self) -> tuple[int | None, ...]:
        """The shape with None for each free axis."""
        return tuple(n if isinstance(n, int) else None for n in self.shape or ())


@dataclass(frozen=True, slots=True)
class Program:
    """A whole model. A change makes a new one. ``shapes`` are those of Caffe's values."""

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
        """Bytes of all constants."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def kept(self) -> set[str]:
        """Names that must stay: inputs and outputs."""
        return {value.name for value in (*self.inputs, *self.outputs)}

    def readers(self) -> Counter[str]:
        """How often nodes read each value."""
        return Counter(read for node in self.nodes for read in node.reads)

    def with_nodes(self, nodes: Iterable[Node], tensors: Mapping[str, Tensor]) -> Program:
        """The program with other nodes; constants that nobody reads are left out."""
        listed = list(nodes)
        read = {name for node in listed for name in node.reads}
        return replace(
            self, nodes=listed, tensors={name: t for name, t in tensors.items() if name in read}
        )


def free_name(wanted: str, taken: set[str]) -> str:
    """The name, or the name with a number behind a dot where it is taken; it is then taken."""
    return graph.free_name(wanted, taken, ".")
