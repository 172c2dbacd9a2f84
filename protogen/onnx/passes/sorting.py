"""Sorts the operators of a model: each after those whose outputs it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from onnx import GraphProto, NodeProto


def sort_operators(graph: GraphProto) -> None:
    """Sort the operators of a graph and of its inner graphs, in place.

    ONNX demands this order, but some tools do not keep it, and onnxruntime does not need it. A graph
    that is in order stays as it is. Operators that read their own results, through others or not, stay
    at the end, so that the check of the order names them.
    """
    for node in graph.node:
        for inner in inner_graphs(node):
            sort_operators(inner)
    nodes = list(graph.node)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{maker[name] for name in reads(node) if name in maker} for node in nodes]
    if all(max(needed, default=-1) < i for i, needed in enumerate(needs)):
        return
    readers: list[list[int]] = [[] for _ in nodes]
    for i, needed in enumerate(needs):
        for j in needed:
            readers[j].append(i)
    missing = [len(needed) for needed in needs]
    ready = [i for i, count in enumerate(missing) if not count]  # sorted, so a heap
    order: list[int] = []
    while ready:
        order.append(i := heappop(ready))
        for j in readers[i]:
            missing[j] -= 1
            if not missing[j]:
                heappush(ready, j)
    order += [i for i, count in enumerate(missing) if count]
    set_operators(graph, [nodes[i] for i in order])


def set_operators(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Replace the operators of a graph. The new ones may be operators of the graph itself: they are copied
    first, because the graph frees those that it drops."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs in an operator's attributes."""
    for one in node.attribute:
        if one.HasField("g"):
            yield one.g
        yield from one.graphs


def reads(node: NodeProto) -> set[str]:
    """Return the values that an operator reads, those of its inner graphs too."""
    names = set(filter(None, node.input))
    for graph in inner_graphs(node):
        inner = {tensor.name for tensor in graph.initializer} | {one.name for one in graph.input}
        inner.update(name for one in graph.node for name in one.output)
        names.update(name for one in graph.node for name in reads(one) if name not in inner)
        names.update(one.name for one in graph.output if one.name not in inner)
    return names
