"""A picture as SVG, which a notebook shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\b{}=[\"']([\d.]+)(?:pt|px)?[\"']"


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture that a notebook shows.

    Attributes:
        svg: the picture as the text of an SVG element.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        head = self.svg.partition(">")[0]
        sides = (re.search(_NUMBER.format(side), head) for side in ("width", "height"))
        size = "x".join(f"{float(side[1]):.0f}" for side in sides if side)
        return f"<Picture {size}>" if size else "<Picture>"
