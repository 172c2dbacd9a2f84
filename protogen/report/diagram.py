"""Layout of a net's drawing: a layered graph layout, part by part.

The net is cut at each place where all later layers depend on a single value, as after a residual
block or an Inception module. Each part is laid out separately, with igraph's Sugiyama method. The
parts are stacked from top to bottom, so that folding one part does not change the layout of others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from protogen.formats.weightfiles import missing
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer
from protogen.report.looks import look_of

Point = tuple[float, float]

LETTER = 6.4  # pixels: width of an average letter
BOLD = 7.4  # pixels: width of an average bold letter
LINE = 15.0  # pixels: height of a line of text
WIDEST = 210.0  # pixels: largest width of a box
GAP = 26.0  # pixels between ranks, and between the boxes of a rank
FOLDABLE = 3  # a part with at least so many boxes can be folded


@dataclass(frozen=True, slots=True)
class Box:
    """The box of a layer and of the in-place layers on its top.

    ``x`` is the middle of the box and ``y`` its upper edge, in pixels. ``index`` is that of the first
    layer in the net. A ``stub`` represents a data layer far above, whose top is read here.
    """

    index: int
    lines: tuple[str, ...]
    family: str
    x: float
    y: float
    width: float
    height: float
    members: tuple[int, ...] = ()
    stub: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """The boxes and edges between two cuts.

    ``entry`` and ``exit`` are the x positions at which the single value enters at the top and leaves
    at the bottom. x is relative to the middle of the drawing, y to the upper edge of the part.
    """

    boxes: tuple[Box, ...]
    edges: tuple[tuple[Point, ...], ...]
    width: float
    height: float
    entry: float | None
    exit: float | None
    title: str

    @property
    def foldable(self) -> bool:
        """Whether the part has enough boxes to be folded."""
        return sum(not box.stub for box in self.boxes) >= FOLDABLE


@dataclass(frozen=True, slots=True)
class Diagram:
    """The drawing of a net: its parts from top to bottom."""

    name: str
    parts: tuple[Part, ...]


@dataclass(slots=True)
class _Node:
    """A box without position; ``reads`` and ``sources`` are indices of other nodes."""

    layers: list[int]
    reads: list[int]
    sources: list[int]


def diagram(graph: Graph) -> Diagram:
    """Lay out the drawing of a net.

    Raises:
        UnsupportedError: igraph is not installed.
    """
    nodes = _nodes(graph)
    return Diagram(
        graph.name,
        tuple(_part(graph, nodes, run, into, out) for run, into, out in _runs(nodes)),
    )


def _nodes(graph: Graph) -> list[_Node]:
    """Group each layer with the in-place layers on its top, and list what each group reads."""
    readers: dict[str, int] = {}
    for layer in graph.layers:
        for read in layer.reads:
            readers[read] = readers.get(read, 0) + 1
    nodes: list[_Node] = []
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
        nodes.append(_Node([i], before, []))
    # A data layer is drawn as a stub next to its readers, except next to the layer right after it.
    for i, node in enumerate(nodes):
        if i:
            far = [read for read in node.reads if not nodes[read].reads and read != i - 1]
            node.reads = [read for read in node.reads if read not in far]
            node.sources = far
    return nodes


def _runs(nodes: Sequence[_Node]) -> Iterable[tuple[list[int], int | None, int | None]]:
    """Yield the runs of nodes between cuts, with the nodes whose values enter and leave the run."""
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
        yield run, into, out
        run, into = [], out
    if run:
        yield run, into, None


def _part(
    graph: Graph, nodes: Sequence[_Node], run: list[int], into: int | None, out: int | None
) -> Part:
    boxes = [_box(graph, nodes[i].layers) for i in run]
    index = {node: i for i, node in enumerate(run)}
    edges: list[tuple[int, int]] = []
    entry = exit_ = None
    if into is not None:
        entry = len(boxes)
        boxes.append(_port())
    for i in run:
        for read in nodes[i].reads:
            before = index.get(read, entry)
            if before is not None:
                edges.append((before, index[i]))
        for source in nodes[i].sources:
            edges.append((len(boxes), index[i]))
            boxes.append(_stub(graph, nodes[source].layers[0]))
    if out is not None:
        exit_ = len(boxes)
        boxes.append(_port())
        before = index.get(out, entry)
        if before is not None:
            edges.append((before, exit_))
    placed, routes, width, height = _placed(boxes, edges, entry, exit_)
    return Part(
        tuple(box for box in placed if box.width),
        tuple(routes),
        width,
        height,
        None if entry is None else placed[entry].x,
        None if exit_ is None else placed[exit_].x,
        _title([graph.layers[nodes[i].layers[0]].name for i in run]),
    )


def _placed(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> tuple[list[Box], list[tuple[Point, ...]], float, float]:
    """Return the boxes with positions, the points of the edges, width and height."""
    ranks = _ranks(len(boxes), edges, entry, exit_)
    rank_heights = [0.0] * (max(ranks) + 1)
    for box, rank in zip(boxes, ranks, strict=True):
        rank_heights[rank] = max(rank_heights[rank], box.height)
    alone = sum(box.width > 0 for box in boxes) == 1
    tops = [0.0]
    for above, below in itertools.pairwise(rank_heights):
        gap = GAP if above and below else 0.0 if alone else GAP / 2
        tops.append(tops[-1] + above + gap)
    total = tops[-1] + rank_heights[-1]
    xs, edge_xs = _columns(boxes, edges, ranks)
    low = min(x - box.width / 2 for x, box in zip(xs, boxes, strict=True))
    high = max(x + box.width / 2 for x, box in zip(xs, boxes, strict=True))
    for passes in edge_xs:
        low, high = min([low, *passes]), max([high, *passes])
    ports = [xs[port] for port in (entry, exit_) if port is not None]
    middle = sum(ports) / len(ports) if ports else (low + high) / 2
    placed = [
        Box(
            b.index, b.lines, b.family, x - middle, tops[rank], b.width, b.height, b.members, b.stub
        )
        for b, x, rank in zip(boxes, xs, ranks, strict=True)
    ]
    routes = []
    for (a, b), passes in zip(edges, edge_xs, strict=True):
        start = (placed[a].x, placed[a].y + placed[a].height)
        points = [start]
        for step, x in enumerate(passes, ranks[a] + 1):
            points += [(x - middle, tops[step]), (x - middle, tops[step] + rank_heights[step])]
        points.append((placed[b].x, placed[b].y))
        if points[0] != points[-1]:
            routes.append(tuple(points))
    return placed, routes, 2 * max(high - middle, middle - low), total


def _columns(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], ranks: Sequence[int]
) -> tuple[list[float], list[list[float]]]:
    """Return the x of each box's middle, and of each edge in every rank that the edge passes."""
    if len(boxes) == 1:
        return [0.0], [[] for _ in edges]
    rows = list(ranks)
    pairs: list[tuple[int, int]] = []
    passing: list[list[int]] = []
    for a, b in edges:
        dummies, before = [], a
        for rank in range(ranks[a] + 1, ranks[b]):
            pairs.append((before, len(rows)))
            before = len(rows)
            dummies.append(before)
            rows.append(rank)
        pairs.append((before, b))
        passing.append(dummies)
    layered = _igraph().Graph(n=len(rows), edges=pairs, directed=True)
    points = layered.layout_sugiyama(layers=rows, hgap=1, vgap=1).coords[: len(rows)]
    columns = _apart([x for x, _ in points], rows)
    widths = [box.width for box in boxes] + [0.0] * (len(rows) - len(boxes))
    right = _packed(columns, rows, widths)
    left = [-x for x in _packed([-x for x in columns], rows, widths)]
    shift = max(right) - max(left)
    xs = [(a + b + shift) / 2 for a, b in zip(right, left, strict=True)]
    return xs[: len(boxes)], [[xs[dummy] for dummy in dummies] for dummies in passing]


def _packed(columns: Sequence[float], rows: Sequence[int], widths: Sequence[float]) -> list[float]:
    """Convert columns to pixels, as far to the left as the widths of the boxes allow.

    Boxes with the same column stay aligned.
    """
    xs: list[float] = [0.0] * len(columns)
    ends: dict[int, float] = {}  # the right edge of each row
    least = -math.inf
    order = sorted(range(len(columns)), key=lambda i: columns[i])
    for _, group in itertools.groupby(order, key=lambda i: round(columns[i], 3)):
        same = list(group)
        starts = [ends[rows[i]] + GAP + widths[i] / 2 for i in same if rows[i] in ends]
        start = max([least, *starts])
        least = 0.0 if math.isinf(start) else start
        for i in same:
            xs[i] = least
            ends[rows[i]] = least + widths[i] / 2
    return xs


def _apart(columns: Sequence[float], rows: Sequence[int]) -> list[float]:
    """Shift a column slightly to the right if igraph gives two boxes of a row the same position."""
    used: set[tuple[int, float]] = set()
    distinct = []
    for x, row in zip(columns, rows, strict=True):
        while (row, round(x, 3)) in used:
            x += 0.002
        used.add((row, round(x, 3)))
        distinct.append(x)
    return distinct


def _ranks(
    count: int, edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> list[int]:
    """Return the rank of each box: its longest path from above, or right above its first reader."""
    outgoing: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for a, b in edges:
        outgoing[a].append(b)
        waiting[b] += 1
    ranks = [0] * count
    ready = [i for i in range(count) if not waiting[i]]
    starts = [i for i in ready if i != entry]
    while ready:
        current = ready.pop()
        for after in outgoing[current]:
            ranks[after] = max(ranks[after], ranks[current] + 1)
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    for start in starts:
        if outgoing[start]:
            ranks[start] = max(0, min(ranks[after] for after in outgoing[start]) - 1)
    if exit_ is not None:
        ranks[exit_] = max(ranks[i] for i in range(count) if i != exit_) + 1 if count > 1 else 0
    return ranks


# boxes


def _box(graph: Graph, members: Sequence[int]) -> Box:
    """Return the box of a layer and of the in-place layers on its top, without position."""
    first = graph.layers[members[0]]
    lines = [first.name, _type_text(graph, first)]
    if len(members) > 1:
        lines.append("+ " + ", ".join(graph.layers[i].type for i in members[1:]))
    shape = graph.shapes.get(graph.layers[members[-1]].writes[0]) if first.writes else None
    if shape:
        lines.append(size(shape))
    return _sized(
        members[0], [line for line in lines if line] or ["?"], family(first), tuple(members)
    )


def _stub(graph: Graph, index: int) -> Box:
    layer = graph.layers[index]
    return _sized(index, [layer.name], "stub", (index,), True)


def _port() -> Box:
    return Box(-1, (), "port", 0.0, 0.0, 0.0, 0.0)


def _sized(
    index: int, lines: Sequence[str], kind: str, members: tuple[int, ...], stub: bool = False
) -> Box:
    shown = (short(lines[0], int((WIDEST - 16) / BOLD)), *map(short, lines[1:]))
    letters = max([BOLD * len(shown[0]), *(LETTER * len(line) for line in shown[1:])])
    width = min(WIDEST, max(76.0, 16 + letters))
    return Box(index, shown, kind, 0.0, 0.0, width, 8 + LINE * len(shown), members, stub)


def short(text: str, limit: int = int((WIDEST - 16) / LETTER)) -> str:
    """Shorten a text so that it fits a box, by leaving out its middle."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}…{text[len(text) - (limit - limit // 2 - 1) :]}"


def family(layer: Layer) -> str:
    """Return the name of the colours of a layer's type; "unknown" for an unknown type."""
    kind = kind_of(layer)
    return "unknown" if kind is None else look_of(kind)


def size(shape: Shape) -> str:
    """Return a shape as text, such as 1x3x8x8."""
    return shape_text(shape, "1 value")


def _type_text(graph: Graph, layer: Layer) -> str:
    """Return the layer's type, with kernel and stride if it has a window."""
    kind = kind_of(layer)
    shapes = [shape for read in layer.reads if (shape := graph.shapes.get(read)) is not None]
    if kind is None or not layer.reads or len(shapes) < len(layer.reads):
        return layer.type
    window = kind.window(layer, shapes)
    if window is None or not window.kernel:
        return layer.type
    kernel = shape_text(window.kernel)
    stride = "x".join(dict.fromkeys(map(str, window.stride)))
    return f"{layer.type} {kernel}" + (f" /{stride}" if stride != "1" else "")


def _title(names: Sequence[str]) -> str:
    """Return the title of a folded part: the common prefix of its names, or first and last name."""
    low, high = min(names), max(names)  # the common prefix of these two is that of all names
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
    prefix = "".join(letter for letter, _ in same).rstrip("/_-. ")
    return prefix if len(prefix) > 2 else f"{names[0]} … {names[-1]}"


def _igraph() -> Any:
    try:
        import igraph
    except ImportError:
        raise missing("igraph, which lays out drawings,", "report") from None
    return igraph
