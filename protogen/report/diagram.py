"""Layout of a net's drawing: a layered graph layout, part by part.

The net is cut at each place where all later layers depend on a single value, as after a residual
block or an Inception module. Each part is laid out separately. The parts are stacked from top to
bottom, so that folding one part does not change the layout of others.

A drawing that would be too large for a page is laid out in another way: parallel branches are in
rows, a part with very many ranks is cut into several, repeated blocks are one box, and the stack of
parts is wrapped into columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from protogen.layers.graph import Graph, Layer
from protogen.report import branches, columns
from protogen.report.beside import widened, with_stubs
from protogen.report.boxes import Box, BoxTexts, Part, Point, port
from protogen.report.cuts import Run, nodes_of, pieces_of, runs_of
from protogen.report.labels import common_prefix
from protogen.report.layering import GAP, arranged, ranks_of
from protogen.report.repeats import Repeat, repeats

TALLEST = 4000.0  # pixels: a taller stack is wrapped into columns, a taller part is cut
WIDEST_PART = 2600.0  # pixels: the branches of a wider part are in rows
MANY_STUBS = 3  # a part of a large drawing with so many stubs has them beside their readers
READABLE = 4.5e6  # pixels: the area of a drawing that is readable without folding
MOST_PASSES = 4000  # ranks that the edges of a part pass at most, before the part is cut


@dataclass(frozen=True, slots=True)
class Folded:
    """A repeated block: the parts ``first`` to ``end - 1`` of a diagram, and the part that replaces them."""

    first: int
    end: int
    part: Part


@dataclass(frozen=True, slots=True)
class Diagram:
    """The drawing of a net.

    Attributes:
        parts: the parts in order.
        places: x of the middle and y of the upper edge of each part, in pixels.
        links: lines from the bottom of a column to the top of the next one.
        width: width in pixels.
        height: height in pixels.
        repeats: repeated blocks that the parts show in full, for a page that folds them.
        large: whether the drawing is too large for a single stack.
        crowded: whether a page folds the repeated blocks at first, as the drawing is too large.
    """

    name: str
    parts: tuple[Part, ...]
    places: tuple[Point, ...]
    links: tuple[tuple[Point, ...], ...]
    width: float
    height: float
    repeats: tuple[Folded, ...] = ()
    large: bool = False
    crowded: bool = False

    @property
    def boxes(self) -> list[Box]:
        """The boxes of layers, without those that represent layers elsewhere."""
        return [box for part in self.parts for box in part.boxes if not box.stub]


@dataclass(slots=True)
class _Sketch:
    """Boxes and edges of a run, before they have positions, and the size they need at least."""

    boxes: list[Box]
    edges: list[tuple[int, int]]
    entry: int | None
    exit: int | None
    width: float
    height: float
    passes: int  # ranks that edges pass
    beside: dict[int, tuple[Box, list[Box]]]  # boxes with stubs at their side, by index in the net

    @property
    def stubs(self) -> int:
        """The number of stubs above their readers."""
        return sum(box.stub for box in self.boxes)


def diagram(graph: Graph, fold: bool | None = None) -> Diagram:
    """Lay out the drawing of a net.

    Args:
        graph: the net.
        fold: draw a repeated block as one box; by default only if the drawing is not readable
            without it.

    Raises:
        UnsupportedError: igraph is not installed.
    """
    return _Layout(graph).drawn(fold)


def foldable_diagram(graph: Graph) -> Diagram:
    """Lay out the drawing of a net as a stack of parts with its repeated blocks, which a page can fold.

    Raises:
        UnsupportedError: igraph is not installed.
    """
    return _Layout(graph).stacked()


class _Layout:
    """The layout of one net."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.texts = BoxTexts(graph)
        self.nodes = nodes_of(graph)
        self.node_boxes = [self.texts.box(node.layers) for node in self.nodes]
        runs = list(runs_of(self.nodes))
        sketches = [self.sketch(run) for run in runs]
        self.large = sum(one.height for one in sketches) > TALLEST or any(
            one.width > WIDEST_PART or one.passes > MOST_PASSES for one in sketches
        )
        if self.large:
            pieces = [
                piece
                for run, sketch in zip(runs, sketches, strict=True)
                for piece in self.pieces(run, sketch)
            ]
            runs = [run for run, _ in pieces]
            sketches = [
                self.sketch(run, beside=True) if sketch.stubs >= MANY_STUBS else sketch
                for run, sketch in pieces
            ]
        self.runs, self.sketches = runs, sketches

    @cached_property
    def parts(self) -> list[Part]:
        """All parts with positions, nothing folded."""
        return [self.part(i) for i in range(len(self.runs))]

    @cached_property
    def crowded(self) -> bool:
        """Whether the drawing is too large to be readable without folding."""
        where = self.where(self.parts)
        return self.large and where.width * where.height > READABLE

    def where(self, parts: Sequence[Part]) -> columns.Columns:
        """Return the places of parts in a file: in columns if they are too high."""
        height = sum(part.height + 2 * columns.LEAD for part in parts)
        tall = self.large and height > columns.PAGE
        return columns.wrapped(parts) if tall else columns.stacked(parts)

    def drawn(self, fold: bool | None) -> Diagram:
        """Return the diagram for a file."""
        if not (self.crowded if fold is None else fold):
            return self.diagram(self.parts, self.where(self.parts))
        parts: list[Part] = []
        at = 0
        for block in self.repeats():
            parts += [self.part(i) for i in range(at, block.start)]
            parts.append(self.folded(block))
            at = block.end
        parts += [self.part(i) for i in range(at, len(self.runs))]
        return self.diagram(parts, self.where(parts))

    def stacked(self) -> Diagram:
        """Return the diagram for a page that folds parts and repeated blocks."""
        blocks = [Folded(one.start, one.end, self.folded(one)) for one in self.repeats()]
        drawn = self.diagram(self.parts, columns.stacked(self.parts), blocks)
        return replace(drawn, crowded=self.crowded)

    def diagram(
        self, parts: Sequence[Part], where: columns.Columns, blocks: Sequence[Folded] = ()
    ) -> Diagram:
        """Return the diagram of parts at their places."""
        return Diagram(
            self.graph.name,
            tuple(parts),
            tuple(where.places),
            tuple(where.links),
            where.width,
            where.height,
            tuple(blocks),
            self.large,
        )

    def pieces(self, run: Run, sketch: _Sketch) -> Iterable[tuple[Run, _Sketch]]:
        """Cut a run that is too tall, or too wide and not made of branches, into several."""
        few = sketch.height <= TALLEST and sketch.passes <= MOST_PASSES
        if few and (
            sketch.width <= WIDEST_PART
            or branches.parallel(len(sketch.boxes), sketch.edges, sketch.entry, sketch.exit)
        ):
            yield run, sketch
            return
        for piece in pieces_of(self.nodes, run):
            yield piece, self.sketch(piece)

    def repeats(self) -> list[Repeat]:
        """Return the repeated blocks of the runs."""
        outside = [self.outside(run) for run in self.runs]
        shown = {read for reads in outside for read in reads}
        # A part that reads from elsewhere, or is read elsewhere, is unique: its box shows names.
        looks: list[Hashable] = [
            i if outside[i] or not shown.isdisjoint(run.nodes) else self.look(run)
            for i, run in enumerate(self.runs)
        ]
        return repeats(looks, [len(run.nodes) for run in self.runs])

    def outside(self, run: Run) -> set[int]:
        """Return the nodes, except data layers, that a run reads from elsewhere in the drawing."""
        reads = {read for i in run.nodes for read in self.nodes[i].reads}
        return reads.difference(run.nodes, [] if run.into is None else [run.into])

    def look(self, run: Run) -> Hashable:
        """Return what two runs have in common that look the same: types, parameters and edges."""
        index = {node: i for i, node in enumerate(run.nodes)}
        out = len(index) - 1 if run.out is None else index.get(run.out, -1)
        rows: list[Hashable] = [run.into is None, out]
        for i in run.nodes:
            node = self.nodes[i]
            types = tuple(_signature(self.graph.layers[k]) for k in node.layers)
            reads = tuple(index.get(read, -1) for read in node.reads)
            rows.append((types, reads, len(node.sources)))
        return tuple(rows)

    def folded(self, block: Repeat) -> Part:
        """Return the part that shows a repeated block as one box."""
        runs = self.runs[block.start : block.end]
        members = [self.nodes[i].layers for run in runs for i in run.nodes]
        box = self.texts.repeated(members, block.times)
        entry = None if runs[0].into is None else 0.0
        exit_ = None if runs[-1].out is None else 0.0
        return Part(
            (box,), (), box.width, box.height, entry, exit_, " ".join(box.lines[: box.bold])
        )

    def sketch(self, run: Run, beside: bool = False) -> _Sketch:
        """Return boxes and edges of a run, and the size that they need at least.

        ``beside``: stubs are at the side of their readers, not above them.
        """
        boxes = [self.node_boxes[i] for i in run.nodes]
        index = {node: i for i, node in enumerate(run.nodes)}
        edges: list[tuple[int, int]] = []
        entry = exit_ = None
        if run.into is not None:
            entry = len(boxes)
            boxes.append(port())
        sides: dict[int, tuple[Box, list[Box]]] = {}
        for i in run.nodes:
            stubs = [self.texts.stub(self.nodes[read].layers[0]) for read in self.nodes[i].sources]
            for read in self.nodes[i].reads:
                before = index.get(read, entry if read == run.into else None)
                if before is not None:
                    edges.append((before, index[i]))
                else:
                    stubs.append(self.texts.stub(self.nodes[read].layers[0]))
            if stubs and beside:
                box = boxes[index[i]]
                sides[box.index] = (box, stubs)
                boxes[index[i]] = widened(box, stubs)
            else:
                edges += [(len(boxes) + k, index[i]) for k in range(len(stubs))]
                boxes += stubs
        if run.out is not None:
            before = index.get(run.out, entry if run.out == run.into else None)
            if before is None:
                before = len(boxes)
                boxes.append(self.texts.stub(self.nodes[run.out].layers[0]))
            exit_ = len(boxes)
            boxes.append(port())
            edges.append((before, exit_))
        ranks = ranks_of(len(boxes), edges, entry, exit_)
        widths = [0.0] * (max(ranks) + 1)
        heights = [0.0] * len(widths)
        for box, rank in zip(boxes, ranks, strict=True):
            widths[rank] += box.width + GAP
            heights[rank] = max(heights[rank], box.height)
        passes = sum(ranks[b] - ranks[a] - 1 for a, b in edges)
        height = sum(heights) + GAP * (sum(1 for one in heights if one) - 1) + 2 * columns.LEAD
        return _Sketch(boxes, edges, entry, exit_, max(widths), height, passes, sides)

    def part(self, i: int) -> Part:
        """Return a run with positions."""
        sketch = self.sketches[i]
        title = _title(
            [self.graph.layers[self.nodes[k].layers[0]].name for k in self.runs[i].nodes]
        )
        parts = sketch.boxes, sketch.edges, sketch.entry, sketch.exit
        if sketch.width > WIDEST_PART and (rows := branches.in_rows(*parts)) is not None:
            entry = None if sketch.entry is None else 0.0
            exit_ = None if sketch.exit is None else 0.0
            part = Part(
                tuple(rows.boxes),
                tuple(rows.edges),
                rows.width,
                rows.height,
                entry,
                exit_,
                title,
                tuple(rows.lines),
            )
            return with_stubs(part, sketch.beside)
        positions, routes, width, height = arranged(*parts)
        part = Part(
            tuple(box for box in positions if box.width),
            tuple(routes),
            width,
            height,
            None if sketch.entry is None else positions[sketch.entry].x,
            None if sketch.exit is None else positions[sketch.exit].x,
            title,
        )
        return with_stubs(part, sketch.beside)


def _signature(layer: Layer) -> str:
    """Return type and parameters of a layer as text, without names."""
    plain = layer.params.plain()
    for name in ("name", "bottom", "top", "param", "blobs", "include", "exclude"):
        plain.pop(name, None)
    return repr(plain)


def _title(names: Sequence[str]) -> str:
    """Return the title of a folded part: the common prefix of its names, or first and last name."""
    prefix = common_prefix(names).rstrip("/_-. ")
    return prefix if len(prefix) > 2 else f"{names[0]} … {names[-1]}"
