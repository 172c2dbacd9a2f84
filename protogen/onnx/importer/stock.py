"""Writes the stock layers of a fork layer into an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.layers.writing import NewLayer, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx.importer.context import ImportContext


class StockLayers(Rewriter):
    """Adds the stock layers of a fork layer to an import; the last one produces ``top``."""

    def __init__(self, ctx: ImportContext, role: str, top: str) -> None:
        self._ctx = ctx
        self._role = role
        self._top = top

    def append(self, new: NewLayer) -> str:
        tops = None if new.role else [self._top]
        role = self._named(new.role)
        return self._ctx.add(new.type, new.bottoms, new.params, new.weights, role=role, tops=tops)

    def split(
        self, bottom: str, role: str, axis: int, points: Sequence[int], tops: Sequence[str] = ()
    ) -> list[str]:
        return self._ctx.split(bottom, axis, points, self._named(role))

    def _named(self, role: str) -> str:
        return "_".join(filter(None, (self._role, role)))

    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        raise self._ctx.unsupported(f"cannot import a fork layer as a retyped {type_}")

    def resize(self, sizes: Sequence[int], **sampling: Any) -> None:
        raise self._ctx.unsupported("cannot import a fork layer that resizes")

    def shape(self, blob: str) -> Shape:
        return self._ctx.shape(blob)

    def weights(self) -> list[NDArray[np.floating]] | None:
        return None
