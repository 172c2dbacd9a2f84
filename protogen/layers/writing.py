"""What a layer type writes to: an emitter of ONNX operators, a rewriter of stock layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from protogen.geometry import Shape
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Emitter(Protocol):
    """What a layer's ``lower`` writes to; ``protogen.onnx`` has the one that makes ONNX."""

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        """Adds one ONNX operator that writes these values."""

    def value(self, op_type: str, *reads: str, **attrs: Any) -> str:
        """Adds one ONNX operator and gives the name of its one result."""

    def blob(self, layer: Layer, index: int) -> str:
        """A layer's parameter blob as a constant of the model."""

    def weight(self, layer: Layer, index: int) -> NDArray[np.floating]:
        """The values of a layer's parameter blob, for constants that are made of them."""

    def array(self, values: Any) -> str:
        """A constant: float32 of an array or numbers, int64 of whole numbers."""

    def reduce(self, op_type: str, read: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """A reduction over axes, in the form that the model's opset has."""

    def reshape(self, read: str, before: Shape, after: Shape) -> str:
        """The value in another shape; leading axes that stay are copied, so they may be free."""

    def shape(self, value: str) -> Shape:
        """The shape of a value of the net."""


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A stock layer that stands for another layer, or for a part of it; see ``Rewriter.add``."""

    type: str
    bottoms: Sequence[str]
    role: str
    top: str
    params: Mapping[str, Any]
    weights: Sequence[NDArray[np.floating]] | None
    keeps: Sequence[int] | None


class Rewriter(ABC):
    """What a layer's ``rewrite`` writes to: stock layers in its place."""

    def add(
        self,
        type_: str,
        bottoms: Sequence[str],
        *,
        role: str = "",
        top: str = "",
        params: Mapping[str, Any] | None = None,
        weights: Sequence[NDArray[np.floating]] | None = None,
        keeps: Sequence[int] | None = None,
    ) -> str:
        """Adds a stock layer and gives its top.

        Without a ``role`` it takes the layer's own name and top. ``weights`` are its parameter
        blobs; ``keeps`` are the indexes of the layer's ``param`` that go with them, None for
        blobs that are not to be trained.
        """
        return self.append(NewLayer(type_, bottoms, role, top, params or {}, weights, keeps))

    @abstractmethod
    def append(self, new: NewLayer) -> str:
        """Adds a stock layer and gives its top."""

    @abstractmethod
    def split(self, bottom: str, role: str, axis: int, points: Sequence[int]) -> list[str]:
        """Adds a Slice and gives its tops."""

    @abstractmethod
    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        """The layer as it stands, of another type, with other parameters: lists for repeated
        fields, None for a field that is to go."""

    @abstractmethod
    def resize(self, sizes: Sequence[int], **sampling: Any) -> None:
        """The first bottom resized to (height, width), in the words of ``pg.resize``."""

    @abstractmethod
    def shape(self, blob: str) -> Shape:
        """The shape of a bottom of the layer.

        Raises:
            UnsupportedError: it is not known.
        """

    @abstractmethod
    def weights(self) -> list[NDArray[np.floating]] | None:
        """The layer's parameter blobs; None where the net has no weights."""
