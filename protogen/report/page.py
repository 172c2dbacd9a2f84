"""The HTML report of a net: one self-contained page with drawing, data and script."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from protogen.report.colours import stylesheet
from protogen.report.drawing import legend, page_svg
from protogen.report.style import metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.report.diagram import Diagram


def page(
    diagram: Diagram, data: Mapping[str, Any], marks: Mapping[int, str], flaws: Mapping[int, int]
) -> str:
    """Return the page as HTML. It contains names of the net only as escaped text and as JSON.

    Args:
        diagram: the drawing of the net.
        data: what the script shows; see ``write_report``.
        marks: CSS class of changed layers by index.
        flaws: number of findings of layers by index.
    """
    parts = {
        "title": escape(str(data["name"])),
        "drawing_style": stylesheet(),
        "style": _resource("page.css"),
        "legend": legend(diagram),
        "svg": page_svg(diagram, marks, flaws),
        "data": html_safe_json(data),
        "script": _resource("page.js"),
    }
    # A single pass, so that a name of the net that looks like a placeholder is not replaced.
    return re.sub("@(" + "|".join(parts) + ")@", lambda m: parts[m[1]], _resource("page.html"))


def html_safe_json(data: Any) -> str:
    """Return JSON that contains no HTML markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.encode("utf-8", "replace").decode()
    return (
        text.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def picture_of(sheet: NDArray[np.floating]) -> str:
    """Return an array (H, W) or (H, W, 3) of values 0 to 1 as the data URI of a PNG; NaN is white."""
    import numpy as np
    from matplotlib import image

    buffer = io.BytesIO()
    pixels = np.where(np.isnan(sheet), 1.0, sheet)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    image.imsave(buffer, np.clip(pixels, 0, 1), format="png", metadata=metadata("png"))
    return embedded(buffer.getvalue())


def embedded(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _resource(name: str) -> str:
    """Read a file of this package."""
    return files("protogen.report").joinpath(name).read_text(encoding="utf-8")
