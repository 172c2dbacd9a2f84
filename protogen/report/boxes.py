"""Boxes of a drawing: the text and the size of each layer, before it has a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protogen.errors import quantity
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer
from protogen.report.labels import BOLD, LETTER, labels, printable, short, text_width
from protogen.report.looks import look_of

Point = tuple[float, float]

LINE = 15.0  # pixels: height of a line of text
WIDEST = 210.0  # pixels: largest width of a box
NARROWEST = 76.0  # pixels: smallest width of a box
NAME_LIMIT = int((WIDEST - 16) / BOLD)  # characters of a name at most
TEXT_LIMIT = int((WIDEST - 16) / LETTER)  # characters of another line at most
TYPE_LINES = 3  # lines for the types of a repeated block at most


@dataclass(frozen=True, slots=True)
class Box:
    """The box of a layer and of the in-place layers on its top, or of a repeated block.

    ``x`` is the middle of the box and ``y`` its upper edge, in pixels. ``index`` is that of the first
    layer in the net. A ``stub`` represents a layer that is drawn elsewhere, whose top is read here.
    The first ``bold`` lines are names.
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
    bold: int = 1

    def at(self, x: float, y: float) -> Box:
        """Return the box at another position."""
        return replace(self, x=x, y=y)


@dataclass(frozen=True, slots=True)
class Part:
    """The boxes and edges between two cuts.

    ``entry`` and ``exit`` are the x positions at which the single value enters at the top and leaves
    at the bottom. x is relative to the middle of the part, y to its upper edge. ``edges`` are curves.
    ``lines`` are straight lines at right angles; the flag tells whether they end with an arrow.
    """

    boxes: tuple[Box, ...]
    edges: tuple[tuple[Point, ...], ...]
    width: float
    height: float
    entry: float | None
    exit: float | None
    title: str
    lines: tuple[tuple[tuple[Point, ...], bool], ...] = ()

    def foldable(self, least: int = 3) -> bool:
        """Return whether the part has enough boxes to be folded."""
        return sum(not box.stub for box in self.boxes) >= least


class BoxTexts:
    """Makes the boxes of a net. Different layers have different names in their boxes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._labels = labels((layer.name for layer in graph.layers), NAME_LIMIT)

    def box(self, members: Sequence[int]) -> Box:
        """Return the box of a layer and of the in-place layers on its top."""
        layers = [self.graph.layers[i] for i in members]
        first = layers[0]
        lines = [type_text(self.graph, first)]
        if len(members) > 1:
            lines.append("+ " + ", ".join(layer.type for layer in layers[1:]))
        shape = self.graph.shapes.get(layers[-1].writes[0]) if first.writes else None
        if shape:
            lines.append(size(shape))
        return _sized(members[0], self._labels[first.name], lines, family(first), tuple(members))

    def stub(self, index: int) -> Box:
        """Return the box that represents a layer elsewhere in the drawing."""
        label = self._labels[self.graph.layers[index].name]
        return replace(_sized(index, label, [], "stub", (index,)), stub=True)

    def repeated(self, blocks: Sequence[Sequence[int]], times: int) -> Box:
        """Return the box of a block that is repeated.

        Args:
            blocks: the layers of each box of the block, in all its repetitions.
            times: the number of repetitions.
        """
        period = blocks[: len(blocks) // times]
        members = tuple(i for box in blocks for i in box)
        first, last = (self.graph.layers[box[0]] for box in (blocks[0], blocks[-1]))
        names = [f"{self._labels[first.name]} … {self._labels[last.name]}"]
        if len(names[0]) > NAME_LIMIT:
            names = [self._labels[first.name], f"… {self._labels[last.name]}"]
        types = [type_text(self.graph, self.graph.layers[i]) for box in period for i in box]
        lines = [f"{times} x {quantity(len(types), 'layer')}", *_wrapped(types)]
        out = self.graph.layers[blocks[-1][-1]]
        shape = self.graph.shapes.get(out.writes[0]) if out.writes else None
        if shape:
            lines.append(size(shape))
        box = _sized(members[0], names[0], [*names[1:], *lines], "repeat", members)
        return replace(box, bold=len(names), width=WIDEST) if len(names) > 1 else box


def port() -> Box:
    """Return a point at which a value enters or leaves."""
    return Box(-1, (), "port", 0.0, 0.0, 0.0, 0.0)


def _sized(index: int, name: str, lines: Sequence[str], kind: str, members: tuple[int, ...]) -> Box:
    texts = [name, *(short(printable(line), TEXT_LIMIT) for line in lines)]
    shown = tuple(text for text in texts if text) or ("?",)
    letters = max(
        [BOLD * len(shown[0]), text_width(shown[0]), *(LETTER * len(line) for line in shown[1:])]
    )
    width = min(WIDEST, max(NARROWEST, 16 + letters))
    return Box(index, shown, kind, 0.0, 0.0, width, 8 + LINE * len(shown), members)


def _wrapped(types: Sequence[str]) -> list[str]:
    """Return the types of a block in a few lines; equal types in a row are counted."""
    texts: list[tuple[str, int]] = []
    for text in types:
        if texts and texts[-1][0] == text:
            texts[-1] = (text, texts[-1][1] + 1)
        else:
            texts.append((text, 1))
    lines: list[str] = []
    for i, (text, count) in enumerate(texts):
        word = (f"{count} {text}" if count > 1 else text) + ("," if i + 1 < len(texts) else "")
        if lines and len(lines[-1]) + 1 + len(word) <= TEXT_LIMIT:
            lines[-1] += f" {word}"
        elif len(lines) < TYPE_LINES:
            lines.append(word)
        else:
            lines[-1] = lines[-1][: TEXT_LIMIT - 2] + " …"
            break
    return lines


def family(layer: Layer) -> str:
    """Return the name of the colours of a layer's type; "unknown" for an unknown type."""
    kind = kind_of(layer)
    return "unknown" if kind is None else look_of(kind)


def size(shape: Shape) -> str:
    """Return a shape as text, such as 1x3x8x8."""
    return shape_text(shape, "1 value")


def type_text(graph: Graph, layer: Layer) -> str:
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
