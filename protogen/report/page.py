"""The report of a net as one page that needs nothing else: drawing, data and script."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from protogen.report.drawing import stylesheet, svg
from protogen.report.style import metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.report.diagram import Diagram


def page(
    diagram: Diagram, data: Mapping[str, Any], marks: Mapping[int, str], flaws: Mapping[int, int]
) -> str:
    """The page's HTML. Names of the net are in it as escaped text and as JSON only."""
    parts = {
        "title": escape(str(data["name"])),
        "drawing_style": stylesheet(),
        "style": _own("page.css"),
        "svg": svg(diagram, marks, flaws, page=True),
        "data": harmless_json(data),
        "script": _own("page.js"),
    }
    # One pass: a name that looks like a mark of the page stays a name.
    return re.sub("@(" + "|".join(parts) + ")@", lambda m: parts[m[1]], _own("page.html"))


def harmless_json(data: Any) -> str:
    """JSON that no parser of HTML takes for markup."""
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
    """An array (H, W) or (H, W, 3) of values from 0 to 1 as a PNG's data URI; NaN is white."""
    import numpy as np
    from matplotlib import image

    buffer = io.BytesIO()
    pixels = np.where(np.isnan(sheet), 1.0, sheet)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    image.imsave(buffer, np.clip(pixels, 0, 1), format="png", metadata=metadata("png"))
    return embedded(buffer.getvalue())


def embedded(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _own(name: str) -> str:
    return files("protogen.report").joinpath(name).read_text(encoding="utf-8")
