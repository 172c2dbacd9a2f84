"""What layers lower themselves into: collects ONNX operators and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, TensorProto, helper, numpy_helper

from protogen.graph import Graph, Layer, Shape
from protogen.layers import layer_type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxEmitter:
    """The ``layers.Emitter`` that makes ONNX nodes and initializers."""

    def __init__(self, graph: Graph, weights: dict[str, list[NDArray[np.float32]]]) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._graph = graph
        self._weights = weights
        self._taken = set(graph.shapes)
        self._blobs: dict[tuple[str, int], str] = {}

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        name = self._free(f"{op_type}:{writes[0]}")
        self.nodes.append(helper.make_node(op_type, reads, writes, name=name, **attrs))

    def blob(self, layer: Layer, index: int) -> str:
        key = (layer.name, index)
        if key not in self._blobs:
            arrays = self._weights.get(layer.name, [])
            if index >= len(arrays):
                raise layer.error("has no weights", "Give its caffemodel.")
            kind = layer_type(layer.type)
            names = kind.blob_names if kind else ()
            suffix = names[index] if index < len(names) else str(index)
            self._blobs[key] = name = self._free(f"{layer.name}.{suffix}")
            self.initializers.append(numpy_helper.from_array(arrays[index], name))
        return self._blobs[key]

    def shape(self, value: str) -> Shape:
        shape = self._graph.shapes[value]
        assert shape is not None  # checked before lowering begins
        return shape

    def _free(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}.{count}"
        self._taken.add(name)
        return name
