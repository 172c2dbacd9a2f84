"""Groups the layers of a net into boxes, and cuts the net where all later layers depend on one value."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protogen.layers.graph import Graph

PIECE = 16  # boxes of a piece of a run that is cut, at most


@dataclass(slots=True)
class Node:
    """A box without position; ``reads`` and ``sources`` are indices of other nodes."""

    layers: list[int]
    reads: list[int]
    sources: list[int]


@dataclass(slots=True)
class Run:
    """Nodes between two cuts; ``into`` and ``out`` are those whose values enter and leave."""

    nodes: list[int]
    into: int | None
    out: int | None


def nodes_of(graph: Graph) -> list[Node]:
    """Group each layer with the in-place layers on its top, and list what each group reads."""
    readers: dict[str, int] = {}
    for layer in graph.layers:
        for read in layer.reads:
            readers[read] = readers.get(read, 0) + 1
    nodes: list[Node] = []
    node_of: dict[str, int] = {}
    for i, layer in enumerate(graph.layers):
        before = list(dict.fromkeys(node_of[read] for read in layer.reads if read in node_of))
        if layer.tops and layer.tops == layer.bottoms[: len(layer.tops)] and len(before) == 1:
            host = before[0]
            last = graph.layers[nodes[host].layers[-1]]
            if last.writes == layer.reads and all(readers[read] == 1 for read in layer.reads):
                nodes[host].layers.append(i)
                node_of.update(dict.fromkeys(layer.writes, host))
                continue
        node_of.update(dict.fromkeys(layer.writes, len(nodes)))
        nodes.append(Node([i], before, []))
    _separate_sources(nodes)
    return nodes


def _separate_sources(nodes: Sequence[Node]) -> None:
    """Replace edges from data layers by stubs beside their readers.

    The layers right after a data layer that read it have edges.
    """
    data = {i for i, node in enumerate(nodes) if not node.reads}
    near: dict[int, int] = {}  # the last of the layers right after each data layer
    for i, node in enumerate(nodes):
        far = []
        for read in node.reads:
            if read in data and near.get(read, read) == i - 1:
                near[read] = i
            elif read in data:
                far.append(read)
        node.reads = [read for read in node.reads if read not in far]
        node.sources = far


def runs_of(nodes: Sequence[Node]) -> Iterable[Run]:
    """Yield the runs of nodes between cuts."""
    last: dict[int, int] = {}  # the last reader of each node's values
    for i, node in enumerate(nodes):
        for read in node.reads:
            last[read] = i
    live: set[int] = set()
    run: list[int] = []
    into: int | None = None
    for i in range(len(nodes)):
        run.append(i)
        if i in last:
            live.add(i)
        live.difference_update([read for read in nodes[i].reads if last[read] == i])
        if len(live) > 1:
            continue
        out = next(iter(live), None)
        yield Run(run, into, out)
        run, into = [], out
    if run:
        yield Run(run, into, None)


def pieces_of(nodes: Sequence[Node], run: Run) -> Iterable[Run]:
    """Cut a run into pieces, each where few values are read after the cut.

    A piece receives the value of the layer right before it; all other values from outside are
    represented by stubs.
    """
    crossing = _crossing(nodes, run.nodes)
    start, into = 0, run.into
    while start < len(run.nodes):
        end = len(run.nodes)
        if end - start > PIECE:
            places = range(start + PIECE // 2, min(start + PIECE, end - 1) + 1)
            end = min(places, key=lambda place: (crossing[place - 1], -place))
        piece = run.nodes[start:end]
        following = {read for i in run.nodes[end : end + PIECE] for read in nodes[i].reads}
        out = piece[-1] if piece[-1] in following else None
        if end == len(run.nodes):
            out = run.out
        yield Run(piece, into, out)
        start, into = end, out


def _crossing(nodes: Sequence[Node], run: Sequence[int]) -> list[int]:
    """Return for each node of a run how many values are read after it that exist before."""
    index = {node: i for i, node in enumerate(run)}
    last: dict[int, int] = {}  # the last reader of each node's values
    for i, node in enumerate(run):
        for read in nodes[node].reads:
            last[read] = i
    changes = [0] * (len(run) + 1)
    for read, end in last.items():
        changes[index.get(read, 0)] += 1
        changes[end] -= 1
    return list(itertools.accumulate(changes[:-1]))
