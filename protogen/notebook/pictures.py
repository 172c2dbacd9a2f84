"""Pictures for notebooks: the drawing of a net, and the plots of upsampling and resizing."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from protogen.errors import InputError
from protogen.formats import files
from protogen.formats.picture import Picture

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.generate.upsampling import Upsampling
    from protogen.net.net import Net

_STYLE = re.compile(r"(<style[^>]*>)(.*?)(</style>)", re.DOTALL)
_ID = re.compile(r'(\bid="|url\(#|href="#)([\w.-]+)')


def net_picture(net: Net, path: str | Path | None = None) -> Picture:
    """Return the drawing of a net, and write it to ``path``; see ``Net.draw``."""
    from protogen.report.diagram import diagram
    from protogen.report.draw import picture

    layout = diagram(net.graph)
    if path is not None:
        raw = picture(layout, _format(path), where=str(path))
        with files.replacing(path) as file:
            file.write(raw)
    return Picture(embeddable(picture(layout, "svg").decode()))


def plot(value: Upsampling | Plan, path: str | Path | None = None) -> Picture:
    """Return the picture of an Upsampling or a Plan, and write it to ``path``; see their ``plot``."""
    form = None if path is None else _format(path)
    if path is not None and form is not None:
        with files.replacing(path) as file:
            _draw(value, file, form)
    buffer = io.BytesIO()
    _draw(value, buffer, "svg")
    return Picture(embeddable(buffer.getvalue().decode("utf-8"), shrinks=True))


def _draw(value: Any, file: BinaryIO, form: Literal["png", "svg"]) -> None:
    from protogen.generate.upsampling import Upsampling

    if isinstance(value, Upsampling):
        from protogen.report import kernel

        kernel.draw(value.pictures(), file, form)
        return
    from protogen.generate.plan_picture import pictures
    from protogen.report import resizing

    resizing.draw(*pictures(value), file, form)


def _format(path: str | Path) -> Literal["png", "svg"]:
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        return "png"
    if suffix == ".svg":
        return "svg"
    raise InputError(
        "unsupported image extension: expected .svg or .png", where=str(path), subject="path"
    )


def embeddable(text: str, shrinks: bool = False) -> str:
    """Return an SVG that does not change the page which contains it.

    A page has one set of styles and of ids. So the style applies only within the picture, and the ids get
    the prefix of the picture.

    Args:
        text: the SVG file.
        shrinks: fit the width of a narrow page. The text of a drawing would become too small to read.
    """
    svg = text[text.index("<svg") :]
    name = "p" + hashlib.blake2b(svg.encode(), digest_size=5).hexdigest()
    svg = _ID.sub(rf"\g<1>{name}-\g<2>", svg)
    svg = _STYLE.sub(lambda style: style[1] + _scoped(style[2], name) + style[3], svg)
    fit = ' style="max-width:100%;height:auto"' if shrinks else ""
    return svg.replace("<svg", f'<svg class="{name}"{fit}', 1)


def _scoped(css: str, name: str) -> str:
    """Return rules that apply only within the element of a class. Each selector gets the class, because
    nested rules are unknown to older browsers and to programs that convert notebooks."""

    def prefixed(match: re.Match[str]) -> str:
        selectors = match[1].strip()
        if selectors.startswith("@"):  # of @media; its rules follow
            return match[0]
        return ",".join(f".{name} {one.strip()}" for one in selectors.split(",")) + "{"

    return re.sub(r"([^{}]+)\{", prefixed, css)
