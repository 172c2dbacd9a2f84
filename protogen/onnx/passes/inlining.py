"""Copies the operators of an inner graph into the graph around it, under other names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onnx import GraphProto, NodeProto, helper

from protogen.onnx.passes.sorting import inner_graphs


def copied(graph: GraphProto, names: Mapping[str, str]) -> list[NodeProto]:
    """Return the operators of a graph, with other names for values. Its initializers become Constants.

    A value that is not in ``names`` keeps its name.
    """
    constants = [
        helper.make_node("Constant", [], [names.get(one.name, one.name)], value=one)
        for one in graph.initializer
    ]
    return [*constants, *(_renamed(node, names) for node in graph.node)]


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    for field in (copy.input, copy.output):
        for i, name in enumerate(field):
            field[i] = names.get(name, name)
    for inner in inner_graphs(copy):
        # Names that the inner graph defines itself hide those around it.
        own = produced(inner) | {one.name for one in inner.input}
        outer = {name: new for name, new in names.items() if name not in own}
        nodes = [_renamed(one, outer) for one in inner.node]
        del inner.node[:]
        inner.node.extend(nodes)
        for value in inner.output:
            value.name = outer.get(value.name, value.name)
    return copy


def produced(graph: GraphProto) -> set[str]:
    """Return the values that a graph's operators and initializers define."""
    names = {name for node in graph.node for name in node.output if name}
    return names | {one.name for one in graph.initializer}


def all_names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Yield the values that operators read and produce, and all values of their inner graphs."""
    for node in nodes:
        yield from node.input
        yield from node.output
        for inner in inner_graphs(node):
            yield from (one.name for one in (*inner.input, *inner.initializer))
            yield from all_names(inner.node)
