"""OnnxEmitter: collects the ONNX operators and constants that layers emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, helper

from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer
from protogen.layers.writing import Emitter
from protogen.onnx.model import proto
from protogen.onnx.program import Node, Tensor, body_of, free_name, tensor

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
        self._overwritten: dict[str, str] = {}
        self._graph = graph
        self._weights = weights
        self._blobs: dict[tuple[str, int], str] = {}
        self._producers: dict[str, Node] = {}  # of the first operators, which are counted
        self._indexed = 0

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        current = tuple(self._overwritten.get(read, read) for read in reads)
        self.nodes.append(Node(op_type, current, tuple(writes), attrs, self._prefix))

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
        if isinstance(values, (list, tuple)) and not values:
            array = array.astype(np.int64)  # axes or sizes of a scalar, not NumPy's float64
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        name = free_name(f"{self._prefix}.const", self.used_names)
        self.tensors[name] = tensor(array)
        return name

    def constant(self, value: str) -> NDArray[np.floating] | None:
        if value in self.tensors:
            return self.tensors[value].array()
        node = self._producer(value)
        shape = self._graph.shapes.get(value)
        if node is None or shape is None:
            return None
        if node.op_type == "Concat":
            parts = [self.constant(read) for read in node.reads]
            known = [part for part in parts if part is not None]
            return (
                np.concatenate(known, node.attributes["axis"]) if len(known) == len(parts) else None
            )
        if node.op_type not in ("Identity", "Expand", "Reshape"):
            return None
        array = self.constant(node.reads[0])
        if array is None:
            return None
        return np.broadcast_to(array, shape) if node.op_type == "Expand" else array.reshape(shape)

    def _producer(self, value: str) -> Node | None:
        """Return the operator that writes a value."""
        for node in self.nodes[self._indexed :]:
            self._producers.update(dict.fromkeys(node.writes, node))
        self._indexed = len(self.nodes)
        return self._producers.get(value)

    def scan(
        self,
        states: Sequence[tuple[str, int]],
        rows: Sequence[tuple[str, int]],
        step: Callable[[Emitter, Sequence[str], Sequence[str]], Sequence[str]],
    ) -> list[str]:
        body = OnnxEmitter(self._graph, self._weights, self.opset)
        body.used_names, body._prefix = self.used_names, self._prefix
        held, read, writes = (
            [free_name(f"{self._prefix}/{kind}", self.used_names) for _ in values]
            for kind, values in (("state", states), ("row", rows), ("Scan", states))
        )
        after = step(body, held, read)
        types = [elem_type for _, elem_type in (*states, *rows)]
        graph = body._graph_of(dict(zip(held + read, types, strict=True)), after)
        reads = [name for name, _ in (*states, *rows)]
        self.op("Scan", reads, writes, body=graph, num_scan_inputs=len(rows))
        return writes

    def _graph_of(self, reads: Mapping[str, int], writes: Sequence[str]) -> GraphProto:
        """Return what was emitted as a graph. ``reads`` are its inputs and their element types; the
        outputs have the types of the first inputs."""
        types = list(reads.values())
        inputs, outputs = (
            [helper.make_tensor_value_info(name, type_, None) for name, type_ in pairs]
            for pairs in (reads.items(), zip(writes, types, strict=False))
        )
        nodes = [node.proto(node.writes[0]) for node in self.nodes]
        constants = [proto(name, one) for name, one in self.tensors.items()]
        graph: GraphProto = helper.make_graph(nodes, "step", inputs, outputs, constants)
        return graph

    def varies(self, value: str) -> bool:
        return value in self._varying

    @cached_property
    def _varying(self) -> set[str]:
        values: set[str] = set()
        for layer in self._graph.layers:
            kind = kind_of(layer)
            is_origin = kind is not None and kind.data_axis is not None
            if is_origin or any(read in values for read in layer.reads):
                values.update(layer.writes)
        return values

    def reduce(self, op_type: str, read: str, axes: Sequence[int], keepdims: bool = True) -> str:
        if not axes:  # ONNX would reduce all axes
            return read
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

    def loop(
        self, count: str, states: Sequence[str], step: Callable[[str, Sequence[str]], Sequence[str]]
    ) -> list[str]:
        def name(of: str) -> str:
            return free_name(f"{self._prefix}/Loop.{of}", self.used_names)

        outer = self.nodes, self.tensors
        self.nodes, self.tensors = [], {}
        before = [name(f"state{i}") for i in range(len(states))]
        index, going, goes = name("step"), name("going"), name("goes")
        after = step(index, before)
        self.op("Identity", [going], [goes])
        body = body_of(self.nodes, self.tensors, (index, going, *before), (goes, *after))
        self.nodes, self.tensors = outer
        writes = [name(f"last{i}") for i in range(len(states))]
        self.op("Loop", [count, "", *states], writes, body=body)
        return writes

    def overwrite(self, read: str, value: str) -> None:
        self._overwritten[read] = value

    def shape(self, value: str) -> Shape:
        shape = self._graph.shapes[value]
        assert shape is not None  # checked before the layer is exported
        return shape
