"""A net's drawing as SVG or PNG file, and as the foldable SVG of the report page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from protogen.errors import quantity
from protogen.report.boxes import LINE
from protogen.report.colours import Kind, kinds_of, stylesheet
from protogen.report.columns import LEAD, PAGE
from protogen.report.labels import LETTER, labels, printable

if TYPE_CHECKING:
    from protogen.report.boxes import Box, Part, Point
    from protogen.report.diagram import Diagram, Folded

MARGIN = 20.0
FOLDED = (230.0, 38.0)  # pixels: width and height of a folded part
SWATCH = (18.0, 12.0)  # pixels: width and height of a colour in the legend
TITLE_LIMIT = 31  # characters of the title of a folded part at most
TURN = 6.0  # pixels: radius of the corners of straight lines


def heights(part: Part) -> tuple[float, float]:
    """Return the height of a part in pixels, open and folded."""
    return part.height + 2 * LEAD, FOLDED[1] + 2 * LEAD


def extent(diagram: Diagram) -> tuple[float, float]:
    """Return width and height of the whole drawing in pixels, without the legend."""
    return max(FOLDED[0], diagram.width) + 2 * MARGIN, diagram.height + 2 * MARGIN


def size(diagram: Diagram) -> tuple[float, float]:
    """Return width and height of the file in pixels, with the legend."""
    width, height = extent(diagram)
    return width, height + _legend(diagram, width, 0.0)[1]


def kinds(diagram: Diagram) -> list[Kind]:
    """Return the kinds of boxes that are in the drawing, in the order of the legend."""
    boxes = [box for part in diagram.parts for box in part.boxes]
    boxes += [box for block in diagram.repeats for box in block.part.boxes]
    return kinds_of(dict.fromkeys(box.family for box in boxes))


def svg(diagram: Diagram, *, dark: bool | None = None) -> str:
    """Return the drawing as a standalone SVG with its legend.

    Args:
        diagram: the layout.
        dark: dark colours, or light ones; by default those that the reader's system prefers.
    """
    width, height = extent(diagram)
    legend, below = _legend(diagram, width, height - MARGIN)
    height += below
    elements = [
        _head(diagram, width, height),
        f"<style>\n{stylesheet(dark)}</style>\n",
        f'<rect class="paper" x="{-width / 2 - 1:.1f}" y="{-MARGIN - 1}" width="{width + 2:.1f}" '
        f'height="{height + 2:.1f}"/>\n',
        ARROW,
    ]
    elements += [
        _part(part, *place, {}, {}, page=False)
        for part, place in zip(diagram.parts, diagram.places, strict=True)
    ]
    elements += [_lane(link, False) for link in diagram.links]
    return "".join([*elements, legend, "</svg>\n"])


def page_svg(diagram: Diagram, marks: Mapping[int, str], flaws: Mapping[int, int]) -> str:
    """Return the drawing for the report page, whose script folds parts and makes columns.

    Args:
        diagram: the layout.
        marks: CSS class of boxes by the layer's index: "added" or "changed".
        flaws: number of findings by the layer's index.
    """
    wraps = f' data-wraps="{PAGE:.0f}"' if diagram.large else ""
    crowded = ' data-crowded=""' if diagram.crowded else ""
    head = _head(diagram, *extent(diagram), wraps + crowded)
    elements = [head, ARROW, '<g id="links"></g>\n<g id="scene">\n']
    titles = labels((part.title for part in diagram.parts), TITLE_LIMIT)
    block_at = {block.first: i for i, block in enumerate(diagram.repeats)}
    block_of = {
        k: i for i, block in enumerate(diagram.repeats) for k in range(block.first, block.end)
    }
    for i, (part, place) in enumerate(zip(diagram.parts, diagram.places, strict=True)):
        if i in block_at:
            elements.append(_block(diagram.repeats[block_at[i]], block_at[i], place))
        within = f' data-block="{block_of[i]}"' if i in block_of else ""
        again = _refold(diagram.repeats[block_at[i]], part) if i in block_at else ""
        elements.append(
            _part(
                part,
                *place,
                marks,
                flaws,
                page=True,
                title=titles[part.title],
                within=within,
                again=again,
            )
        )
    return "".join([*elements, "</g>\n</svg>\n"])


def legend(diagram: Diagram) -> str:
    """Return the legend of the report page as HTML."""
    items = "".join(
        f'<li><svg class="box {kind.families[0]}" width="20" height="14" aria-hidden="true">'
        f'<rect x="1" y="1" width="{SWATCH[0]}" height="{SWATCH[1]}" rx="3"/></svg> {kind.label}</li>'
        for kind in kinds(diagram)
    )
    return f'<ul id="legend" aria-label="Colours of the layers">{items}</ul>'


ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path class="arrow" d="M0,0 8,4 0,8z"/></marker></defs>\n'
)


def _head(diagram: Diagram, width: float, height: float, attributes: str = "") -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-width / 2:.1f} {-MARGIN:.1f} {width:.1f} {height:.1f}" role="img" '
        f'aria-label="{_safe(diagram.name or "net")}"{attributes}>\n'
    )


def _legend(diagram: Diagram, width: float, y: float) -> tuple[str, float]:
    """Return the legend below y, in lines that fit the width, and its height."""
    left, right = MARGIN - width / 2, width / 2 - MARGIN
    x, line, entries = left, 0, []
    for kind in kinds(diagram):
        needed = SWATCH[0] + 6 + LETTER * len(kind.label)
        if x > left and x + needed > right:
            x, line = left, line + 1
        top = y + 8 + line * (LINE + 4)
        entries.append(
            f'<g class="box {kind.families[0]}"><rect x="{x:.1f}" y="{top:.1f}" width="{SWATCH[0]}" '
            f'height="{SWATCH[1]}" rx="3"/><text x="{x + SWATCH[0] + 6:.1f}" y="{top + 10:.1f}">'
            f"{kind.label}</text></g>\n"
        )
        x += needed + 16
    if not entries:
        return "", 0.0
    return f'<g class="legend">\n{"".join(entries)}</g>\n', 16 + (line + 1) * (LINE + 4)


def png(text: str, font_files: Sequence[str], scale: float) -> bytes:
    """Render an SVG as PNG with the given font files.

    Raises:
        ImportError: resvg_py is not installed.
    """
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=text,
            zoom=scale,
            font_files=list(font_files),
            skip_system_fonts=True,
            font_family="DejaVu Sans",
            sans_serif_family="DejaVu Sans",
        )
    )


def fonts() -> list[str]:
    """Return the font files of matplotlib's DejaVu Sans, regular and bold."""
    from matplotlib.font_manager import FontProperties, findfont

    return [
        str(findfont(FontProperties(family="DejaVu Sans", weight=w))) for w in ("normal", "bold")
    ]


def _part(
    part: Part,
    x: float,
    y: float,
    marks: Mapping[int, str],
    flaws: Mapping[int, int],
    *,
    page: bool,
    title: str = "",
    within: str = "",
    again: str = "",
) -> str:
    elements = [f'<g class="part" transform="translate({x:.1f} {y:.1f})"']
    if page:
        elements.append(_sizes(part) + within)
    elements.append(f'>\n{again}<g class="open">\n')
    if part.foldable() and page:
        left, top = -part.width / 2 - 8, LEAD - 6
        elements.append(
            f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{part.width + 16:.1f}" '
            f'height="{part.height + 12:.1f}" rx="6"/>\n<g class="fold" tabindex="0" role="button" '
            f'aria-label="Fold {_safe(part.title)}"><title>Fold {_safe(part.title)}</title>'
            f'<circle cx="{left + part.width + 16:.1f}" cy="{top:.1f}" r="8"/>'
            f'<text x="{left + part.width + 16:.1f}" y="{top + 4:.1f}">−</text></g>\n'
        )
    if part.entry is not None:
        elements.append(_edge(((0, 0), (part.entry, LEAD)), _enters_box(part)))
    elements += [_lane([(x, y + LEAD) for x, y in line], arrow) for line, arrow in part.lines]
    for edge in part.edges:
        points = [(x, y + LEAD) for x, y in edge]
        ends = any(_meets(box, edge[-1]) for box in part.boxes)
        elements.append(_edge(points, ends))
    if part.exit is not None:
        elements.append(
            _edge(((part.exit, LEAD + part.height), (0, 2 * LEAD + part.height)), False)
        )
    for box in part.boxes:
        elements.append(_box(box, marks.get(box.index, ""), flaws, page))
    elements.append("</g>\n")
    if part.foldable() and page:
        elements.append(_folded(part, title))
    elements.append("</g>\n")
    return "".join(elements)


def _enters_box(part: Part) -> bool:
    return any(_meets(box, (part.entry or 0.0, 0.0)) for box in part.boxes)


def _meets(box: Box, point: Point) -> bool:
    return box.y == point[1] and abs(box.x - point[0]) < 0.5


def _edge(points: Sequence[Point], arrow: bool) -> str:
    """Return the path of an edge, which starts and ends vertically."""
    commands = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (a, b), (x, y) in itertools.pairwise(points):
        if abs(a - x) < 0.05:
            commands.append(f"V{y:.1f}")
        else:
            half = (b + y) / 2
            commands.append(f"C{a:.1f},{half:.1f} {x:.1f},{half:.1f} {x:.1f},{y:.1f}")
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path class="edge" d="{"".join(commands)}"{end}/>\n'


def _lane(points: Sequence[Point], arrow: bool) -> str:
    """Return the path of a line at right angles, with round corners."""
    commands = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for before, (x, y), after in zip(points, points[1:], points[2:], strict=False):
        a, b = _toward((x, y), before), _toward((x, y), after)
        commands.append(f"L{a[0]:.1f},{a[1]:.1f}Q{x:.1f},{y:.1f} {b[0]:.1f},{b[1]:.1f}")
    commands.append(f"L{points[-1][0]:.1f},{points[-1][1]:.1f}")
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path class="edge" d="{"".join(commands)}"{end}/>\n'


def _toward(corner: Point, other: Point) -> Point:
    """Return the point where the round part of a corner begins, on the line to another point."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    share = min(TURN, length / 2) / length if length else 0.0
    return corner[0] + dx * share, corner[1] + dy * share


def _box(box: Box, mark: str, flaws: Mapping[int, int], page: bool) -> str:
    top = box.y + LEAD
    place = (
        f' id="{"s" if box.stub else "n"}{box.index}" tabindex="0" role="button"' if page else ""
    )
    names = ["box", box.family, *([mark] if mark else [])]
    lines = "".join(
        f'<text class="{"name" if i < box.bold else "line"}" x="{box.x:.1f}" '
        f'y="{top + 4 + LINE * (i + 0.75):.1f}">{_safe(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    count = 0 if box.stub else sum(flaws.get(member, 0) for member in box.members)
    flag = (
        f'<circle class="flaw" cx="{box.x + box.width / 2:.1f}" cy="{top:.1f}" r="5">'
        f"<title>{quantity(count, 'finding')}</title></circle>"
        if count
        else ""
    )
    layer = f' data-layer="{box.index}"' if page else ""
    behind = "".join(
        f'<rect x="{box.x - box.width / 2 + far:.1f}" y="{top + far:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="4"/>'
        for far in ((6, 3) if box.family == "repeat" else ())
    )
    return (
        f'<g class="{" ".join(names)}"{place}{layer}>{behind}<rect x="{box.x - box.width / 2:.1f}" '
        f'y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"/>{lines}{flag}</g>\n'
    )


def _sizes(part: Part) -> str:
    """Return the attributes of a part that the page's script reads to place it."""
    is_open, folded = heights(part)
    chained = ' data-chained=""' if part.entry is not None else ""
    return f' data-open="{is_open:.1f}" data-folded="{folded:.1f}" data-width="{part.width:.1f}"{chained}'


def _block(block: Folded, number: int, place: Point) -> str:
    """Return the part that replaces a repeated block while the page shows the block folded."""
    part = block.part
    box = _box(part.boxes[0], "", {}, False).replace('class="box', 'class="box whole', 1)
    title = _safe(f"{part.title}, repeated")
    into = _edge(((0, 0), (0, LEAD)), True) if part.entry is not None else ""
    end = LEAD + part.height
    out = _edge(((0, end), (0, end + LEAD)), False) if part.exit is not None else ""
    return (
        f'<g class="part repeated" hidden="" data-repeats="{number}" '
        f'transform="translate({place[0]:.1f} {place[1]:.1f})"{_sizes(part)}>\n<g class="open">\n'
        f'{into}{out}<g class="unrepeat" tabindex="0" role="button" aria-label="Unfold {title}">'
        f"<title>Unfold {title}</title>{box}</g></g>\n</g>\n"
    )


def _refold(block: Folded, part: Part) -> str:
    """Return the button at the first part of a repeated block that folds the block."""
    title = _safe(f"Fold the repeated block {block.part.title}")
    x, y = -part.width / 2 - 12, LEAD - 6
    return (
        f'<g class="fold refold" tabindex="0" role="button" aria-label="{title}">'
        f'<title>{title}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">−</text></g>\n'
    )


def _folded(part: Part, name: str) -> str:
    width, height = FOLDED
    count = sum(len(box.members) for box in part.boxes if not box.stub)
    into = _edge(((0, 0), (0, LEAD)), True) if part.entry is not None else ""
    out = (
        _edge(((0, LEAD + height), (0, 2 * LEAD + height)), False) if part.exit is not None else ""
    )
    return (
        f'<g class="folded" hidden="">{into}{out}<g class="box block" tabindex="0" role="button" '
        f'aria-label="Unfold {_safe(part.title)}"><rect x="{-width / 2}" y="{LEAD}" width="{width}" '
        f'height="{height}" rx="4"/><rect x="{-width / 2 + 4}" y="{LEAD + 4}" width="{width - 8}" '
        f'height="{height - 8}" rx="2"/><text class="name" y="{LEAD + 17}">{_safe(name)}</text>'
        f'<text y="{LEAD + 31}">{quantity(count, "layer")}</text></g></g>\n'
    )


def _safe(text: str) -> str:
    """Escape a name of the net for XML, and replace characters that XML does not allow."""
    return escape(printable(text))
