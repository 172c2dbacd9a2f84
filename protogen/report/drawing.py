"""A net's drawing as SVG or PNG file, and as the foldable SVG of the report page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.report.diagram import Box, Diagram, Part, Point

LEAD = 13.0  # pixels above and below each part, for the edge to the next part
MARGIN = 20.0
LINE = 15.0
FOLDED = (230.0, 38.0)  # pixels: width and height of a folded part

# Family of layers: (fill, edge). Any other family has the colours of an unknown type.
COLOURS = {
    "activation": ("#f6e6d2", "#b5742a"),
    "combining": ("#f6e6d2", "#b5742a"),
    "convolution": ("#d7e6f0", "#2a6f97"),
    "dense": ("#e5dcef", "#7a5196"),
    "pooling": ("#dcead3", "#4f772d"),
    "elementwise": ("#f6e6d2", "#b5742a"),
    "normalization": ("#e9ecd0", "#7d8433"),
    "scaling": ("#e9ecd0", "#7d8433"),
    "shaping": ("#e6e9ec", "#5c6b73"),
    "ordering": ("#e6e9ec", "#5c6b73"),
    "endpoints": ("#ffffff", "#1f2933"),
    "loss": ("#f3d9da", "#a8474d"),
    "softmax": ("#f3d9da", "#a8474d"),
    "measuring": ("#f3d9da", "#a8474d"),
    "recurrent": ("#e5dcef", "#7a5196"),
    "reduction": ("#e6e9ec", "#5c6b73"),
    "detection": ("#f3dfea", "#a04f7c"),
    "regions": ("#f3dfea", "#a04f7c"),
    "flow": ("#d3ece8", "#2b8074"),
    "sequences": ("#e5dcef", "#7a5196"),
    "synopsys": ("#e3e8f4", "#4a5f9e"),
    "forks": ("#e3e8f4", "#4a5f9e"),
    "im2col": ("#d7e6f0", "#2a6f97"),
    "resizing": ("#d3ece8", "#2b8074"),
    "exact_resize": ("#d3ece8", "#2b8074"),
    "unknown": ("#fff3b0", "#9a7d0a"),
    "stub": ("#ffffff", "#8a949c"),
}


def stylesheet() -> str:
    """Return the CSS of a drawing."""
    fill, edge = COLOURS["unknown"]
    families = "".join(
        f".{name} rect{{fill:{inner};stroke:{outer}}}\n" for name, (inner, outer) in COLOURS.items()
    )
    return (
        "text{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:#1f2933;text-anchor:middle}\n"
        f".box rect{{fill:{fill};stroke:{edge};stroke-width:1.1}}\n"
        ".box .name{font-weight:bold}\n"
        ".stub rect{stroke-dasharray:3 2}\n"
        f"{families}"
        ".edge{fill:none;stroke:#7b8794;stroke-width:1.2}\n"
        ".frame{fill:none;stroke:#c3ccd4;stroke-dasharray:4 3}\n"
        ".flaw{fill:#c1666b}\n.added rect{stroke:#2b8a3e;stroke-width:3}\n"
        ".changed rect{stroke:#e8590c;stroke-width:3}\n"
    )


def heights(part: Part) -> tuple[float, float]:
    """Return the height of a part in pixels, open and folded."""
    return part.height + 2 * LEAD, FOLDED[1] + 2 * LEAD


def extent(diagram: Diagram) -> tuple[float, float]:
    """Return width and height of the whole drawing in pixels."""
    width = max([FOLDED[0], *(part.width for part in diagram.parts)]) + 2 * MARGIN
    return width, sum(heights(part)[0] for part in diagram.parts) + 2 * MARGIN


def svg(
    diagram: Diagram,
    marks: Mapping[int, str] | None = None,
    flaws: Mapping[int, int] | None = None,
    *,
    page: bool = False,
) -> str:
    """Return the drawing as SVG.

    Args:
        diagram: the layout.
        marks: CSS class of boxes by the layer's index: "added" or "changed".
        flaws: number of findings by the layer's index.
        page: draw for the report page, whose script folds parts; by default a standalone file.
    """
    width, height = extent(diagram)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-width / 2:.1f} {-MARGIN:.1f} {width:.1f} {height:.1f}" role="img" '
        f'aria-label="{_safe(diagram.name or "net")}">\n'
    )
    elements = [head]
    if not page:
        elements.append(f"<style>\n{stylesheet()}</style>\n")
        elements.append(
            f'<rect x="{-width / 2:.1f}" y="{-MARGIN}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="#ffffff"/>\n'
        )
    elements.append(
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 8,4 0,8z" fill="#7b8794"/></marker></defs>\n'
    )
    if page:
        elements.append('<g id="scene">\n')
    y = 0.0
    for part in diagram.parts:
        elements.append(_part(part, y, marks or {}, flaws or {}, page))
        y += heights(part)[0]
    if page:
        elements.append("</g>\n")
    elements.append("</svg>\n")
    return "".join(elements)


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
    part: Part, y: float, marks: Mapping[int, str], flaws: Mapping[int, int], page: bool
) -> str:
    is_open, folded = heights(part)
    elements = [f'<g class="part" transform="translate(0 {y:.1f})"']
    if page:
        elements.append(f' data-open="{is_open:.1f}" data-folded="{folded:.1f}"')
    elements.append('>\n<g class="open">\n')
    if part.foldable and page:
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
    if part.foldable and page:
        elements.append(_folded(part))
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


def _box(box: Box, mark: str, flaws: Mapping[int, int], page: bool) -> str:
    top = box.y + LEAD
    place = (
        f' id="{"s" if box.stub else "n"}{box.index}" tabindex="0" role="button"' if page else ""
    )
    names = ["box", box.family, *([mark] if mark else [])]
    lines = "".join(
        f'<text class="{"name" if i == 0 else "line"}" x="{box.x:.1f}" '
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
    return (
        f'<g class="{" ".join(names)}"{place}{layer}><rect x="{box.x - box.width / 2:.1f}" '
        f'y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"/>{lines}{flag}</g>\n'
    )


def _folded(part: Part) -> str:
    width, height = FOLDED
    count = sum(len(box.members) for box in part.boxes if not box.stub)
    name = part.title if len(part.title) < 32 else f"{part.title[:15]}…{part.title[-15:]}"
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
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))
