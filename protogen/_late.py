"""Functions of upper packages that lower packages call without importing them.

``protogen/__init__.py`` assigns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

layer_maker: Callable[[str], Any]  # ``layers.NAME`` of pycaffe: creates a layer of a NetSpec
one_line: Callable[[Any], str] = object.__repr__  # the repr of a result
html: Callable[[Any], str] = object.__repr__  # a result as a notebook shows it
net_picture: Callable[[Any, Any], Any]  # the drawing of a net; see ``Net.draw``
plot: Callable[[Any, Any], Any]  # the picture of an Upsampling or a Plan; see their ``plot``


class Shown:
    """Base of results: ``repr`` is one line, and a notebook shows a table. protogen/notebook/ writes
    both."""

    __slots__ = ()

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return html(self)
