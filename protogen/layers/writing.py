"""Interfaces that a layer type writes to: Emitter for ONNX operators, Rewriter for stock layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from protogen.geometry import Shape
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Emitter(Protocol):
    """Interface that a layer's ``lower`` writes to. ``protogen.onnx`` implements it. ``opset`` is the
    version of ONNX's operator set, 13 or above."""

    opset: int

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        """Add an ONNX operator that writes these values."""

    def value(self, op_type: str, *reads: str, **attrs: Any) -> str:
        """Add an ONNX operator with one output and return the name of that output."""

    def blob(self, layer: Layer, index: int) -> str:
        """Add a layer's parameter blob as a constant of the model and return its name."""

    def weight(self, layer: Layer, index: int) -> NDArray[np.floating]:
        """Return the values of a layer's parameter blob, to compute constants from them."""

    def array(self, values: Any) -> str:
        """Add a constant and return its name: int64 for integers, float32 for other numbers."""

    def constant(self, value: str) -> NDArray[np.floating] | None:
        """Return the values of a value of the net that does not depend on the inputs (the top of
        Parameter, DummyData or ContinuationIndicator, also joined or reshaped); None for others."""

    def scan(
        self,
        states: Sequence[tuple[str, int]],
        rows: Sequence[tuple[str, int]],
        step: Callable[[Emitter, Sequence[str], Sequence[str]], Sequence[str]],
    ) -> list[str]:
        """Add a Scan and return its final states. ``states`` and ``rows`` are values with their element
        types.

        ``step`` is called once. It gets an emitter for the body, the names of the states and those of
        one row of each of ``rows``, and returns the names of the next states. It reads no other
        values. ``rows`` must have at least one row: onnxruntime refuses none.
        """

    def reduce(self, op_type: str, read: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """Add a reduction over axes, as the model's opset defines it, and return its output; without
        axes, ``read`` itself."""

    def reshape(self, read: str, before: Shape, after: Shape) -> str:
        """Add a Reshape and return its output. Leading axes that do not change are copied from the
        input, so they may be dynamic."""

    def overwrite(self, read: str, value: str) -> None:
        """Replace a value of the net by a value of the model, for all operators from here on: for a
        layer that changes its bottom in memory."""

    def shape(self, value: str) -> Shape:
        """Return the shape of a value of the net."""

    def varies(self, value: str) -> bool:
        """Return whether the length of an axis of a value of the net can depend on data."""

    def loop(
        self, count: str, states: Sequence[str], step: Callable[[str, Sequence[str]], Sequence[str]]
    ) -> list[str]:
        """Add a Loop and return the last states.

        Args:
            count: the number of steps, a scalar of int64.
            states: float32 values that the steps change.
            step: emits one step. It gets the number of the step and the states before it, and
                returns the states after it. It reads no other values.
        """


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A stock layer that replaces another layer or a part of it; see ``Rewriter.add``."""

    type: str
    bottoms: Sequence[str]
    role: str
    top: str
    params: Mapping[str, Any]
    weights: Sequence[NDArray[np.floating]] | None
    keeps: Sequence[int] | None


class Rewriter(ABC):
    """Interface that a layer's ``rewrite`` writes to: the stock layers that replace the layer."""

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
        """Add a stock layer and return its top.

        Without a ``role``, the new layer takes the name and the top of the replaced layer.
        ``weights`` are its parameter blobs. ``keeps`` are the indices of the replaced layer's
        ``param`` that apply to these blobs; None if the blobs must not be trained.
        """
        return self.append(NewLayer(type_, bottoms, role, top, params or {}, weights, keeps))

    @abstractmethod
    def append(self, new: NewLayer) -> str:
        """Add a stock layer and return its top."""

    @abstractmethod
    def split(
        self, bottom: str, role: str, axis: int, points: Sequence[int], tops: Sequence[str] = ()
    ) -> list[str]:
        """Add a Slice and return its tops. ``tops`` are their names; an empty name is a new blob."""

    def copy(self, bottoms: Sequence[str], *, role: str = "", name: str = "") -> str:
        """Add the layer itself with other bottoms and return its first top: one of its own with a
        ``role``. ``name`` is another name for the layer."""
        raise NotImplementedError

    def input(self) -> tuple[str, Shape]:
        """Return an input of the net and its shape, for a form that needs any blob."""
        raise NotImplementedError

    def constant(self, blob: str) -> NDArray[np.floating] | None:
        """Return the values of a bottom that is a constant; None if it is computed."""
        raise NotImplementedError

    @abstractmethod
    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        """Change the type and parameters of the layer itself. Use a list for a repeated field, and
        None to remove a field."""

    @abstractmethod
    def resize(self, sizes: Sequence[int], **sampling: Any) -> None:
        """Resize the first bottom to (height, width); ``sampling`` takes the options of
        ``pg.resize``."""

    @abstractmethod
    def shape(self, blob: str) -> Shape:
        """Return the shape of a bottom of the layer.

        Raises:
            UnsupportedError: the shape is unknown.
        """

    @abstractmethod
    def weights(self) -> list[NDArray[np.floating]] | None:
        """Return the layer's parameter blobs; None if the net has no weights."""
