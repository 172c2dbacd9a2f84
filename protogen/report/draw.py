"""``pg.draw``: the drawing of a net as SVG or PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Unpack

from protogen.errors import InputError
from protogen.formats import files
from protogen.formats.weightfiles import missing
from protogen.geometry import Shape
from protogen.net.build import Reading
from protogen.report import drawing
from protogen.report.diagram import Diagram, diagram
from protogen.report.write import loaded_with_phase

SCALE = 1.5  # pixels of a PNG per pixel of the drawing at most
SMALLEST = 1.0  # pixels of a PNG per pixel of the drawing at least
USUAL = 24_000_000  # pixels of a PNG, above which the scale becomes smaller
LONGEST = 16_000  # pixels of a side of a PNG at most
MOST = 100_000_000  # pixels of a PNG at most


def draw(
    path: str | Path,
    output: str | Path,
    *,
    fold: bool | None = None,
    dark: bool | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    **reading: Unpack[Reading],
) -> Diagram:
    """Draw a net from top to bottom as SVG or PNG, depending on the extension of ``output``.

    A box shows a layer and the in-place layers on its top. A data layer that is far from its reader
    is repeated as a dashed box next to the reader. A net that is too large for a page is drawn in
    columns, its parallel branches in rows. A legend below explains the colours.

    Args:
        path: the prototxt.
        output: the file, .svg or .png.
        fold: draw a block of layers that the net repeats as one box. By default only where the
            drawing would otherwise be too large to read.
        dark: dark colours instead of light ones. By default an SVG has both, and shows those that
            the reader's system prefers; a PNG is light.
        input_shapes: shapes of inputs by name, instead of those of the prototxt.
        reading: phase (TEST by default, or TRAIN if the net is valid only in that phase), level,
            stages, dialect and so on, as for ``pg.load``.

    Raises:
        InputError: the net is invalid, the extension is neither .svg nor .png, or a PNG would have
            more than 16,000 pixels on a side or 100 million in all.
        UnsupportedError: igraph or resvg-py is not installed.
    """
    files.distinct([("--output", output)], [path])
    extension = ".svg" if str(output) == files.STDOUT else Path(output).suffix.lower()
    if extension not in (".svg", ".png"):
        raise InputError("unsupported image extension: expected .svg or .png", where=str(output))
    layout = diagram(loaded_with_phase(path, None, input_shapes, reading)[0].graph, fold)
    raw = picture(layout, "svg" if extension == ".svg" else "png", dark=dark, where=str(output))
    with files.replacing(output) as file:
        file.write(raw)
    return layout


def picture(
    layout: Diagram, form: Literal["svg", "png"], *, dark: bool | None = None, where: str = ""
) -> bytes:
    """Return a drawing as the bytes of an SVG or PNG file.

    Args:
        layout: the layout of the drawing.
        form: the kind of file.
        dark: as for ``draw``.
        where: the file's name for messages.

    Raises:
        InputError: a PNG would be too large.
        UnsupportedError: resvg-py is not installed.
    """
    if form == "svg":
        return drawing.svg(layout, dark=dark).encode()
    scale = _scale(*drawing.size(layout), where)
    try:
        return drawing.png(drawing.svg(layout, dark=bool(dark)), drawing.fonts(), scale)
    except ImportError:
        raise missing("resvg-py, which draws PNG,", "report") from None


def _scale(width: float, height: float, where: str) -> float:
    """Return the pixels of a PNG per pixel of the drawing.

    Raises:
        InputError: the picture would be too large.
    """
    limit = min(LONGEST / max(width, height), math.sqrt(MOST / (width * height)))
    if limit < SMALLEST:
        raise InputError(
            f"the drawing is too large for a PNG: it has {width:,.0f} x {height:,.0f} pixels, and a "
            f"PNG has at most {LONGEST:,} on a side and {MOST // 1_000_000} million in all",
            where=where,
            advice="Write an .svg file, or fold repeated blocks (--fold).",
        )
    return min(limit, max(SMALLEST, min(SCALE, math.sqrt(USUAL / (width * height)))))
