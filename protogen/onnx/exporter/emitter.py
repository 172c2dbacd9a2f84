"""OnnxEmitter: collects the ONNX operators and constants that layers emit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer
from protogen.onnx.program import Node, Tensor, free_name, tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OnnxEmitter:
    """The ``layers.Emitter`` that collects the nodes and tensors of a Program.

    ``protogen.layers`` documents the methods.
    """

    def __init__(
        self, graph: Graph, weights: dict[str, list[NDArray[np.float32]]], opset: int
    ) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.used_names = set(graph.shapes)
        self._prefix = ""
        self._graph = graph
        self._weights = weights
        self._blobs: dict[tuple[str, int], str] = {}

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        self.nodes.append(Node(op_type, tuple(reads), tuple(writes), attrs, self._prefix))

    def value(self, op_type: str, *reads: str, **attrs: Any) -> str:
        write = free_name(f"{self._prefix}/{op_type}", self.used_names)
        self.op(op_type, reads, [write], **attrs)
        return write

    def layer(self, layer: Layer) -> None:
        """Start a layer: inner values are named after it from now on."""
        self._prefix = layer.name

    def blob(self, layer: Layer, index: int) -> str:
        key = self._graph.owners.get((layer.name, index), (layer.name, index))
        key = key if layer.name not in self._weights else (layer.name, index)
        if key not in self._blobs:
            kind = kind_of(layer)
            names = kind.blob_names if kind else ()
            suffix = names[index] if index < len(names) else str(index)
            self._blobs[key] = name = free_name(f"{layer.name}.{suffix}", self.used_names)
            self.tensors[name] = tensor(self.weight(layer, index))
        return self._blobs[key]

    def weight(self, layer: Layer, index: int) -> NDArray[np.floating]:
        owner, owner_index = self._graph.owners.get((layer.name, index), (layer.name, index))
        arrays = self._weights.get(layer.name) or self._weights.get(owner, [])
        index = index if layer.name in self._weights else owner_index
        if index >= len(arrays):
            raise layer.error("has no weights", "Give its caffemodel.")
        return arrays[index]

    def array(self, values: Any) -> str:
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        name = free_name(f"{self._prefix}.const", self.used_names)
        self.tensors[name] = tensor(array)
        return name

    def reduce(self, op_type: str, read: str, axes: Sequence[int], keepdims: bool = True) -> str:
        if (
            op_type == "ReduceSum" or self.opset >= 18
        ):  # the opsets that made axes an input: 13 and 18
            return self.value(op_type, read, self.array(list(axes)), keepdims=int(keepdims))
        return self.value(op_type, read, axes=list(axes), keepdims=int(keepdims))

    def reshape(self, read: str, before: Shape, after: Shape) -> str:
        if before == after:
            return read
        dims = list(after)
        for i, (a, b) in enumerate(zip(before, after, strict=False)):
            if a != b:
                break
            dims[i] = 0  # Reshape copies the length of this axis
        return self.value("Reshape", read, self.array(np.array(dims, np.int64)))

    def shape(self, value: str) -> Shape:
        shape = self._graph.shapes[value]
        assert shape is not None  # checked before the layer is exported
        return shape
