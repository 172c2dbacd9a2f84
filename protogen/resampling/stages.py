"""Stages: the linear maps that stock layers compute along one axis, each with its matrix.

A resize along an axis is a chain of stages. A chain for the height and a chain for the width become
layers if they have the same kinds of stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from protogen import geometry
from protogen.resampling.matrices import convolution_matrix, deconvolution_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


class Stage(Protocol):
    """One step along an axis."""

    def out(self, size: int) -> int:
        """Return the output length for an input of ``size`` pixels."""

    def matrix(self, size: int) -> Matrix:
        """Return the matrix for an input of ``size`` pixels: shape (output, size)."""


@dataclass(frozen=True, eq=False)
class Deconv:
    """Deconvolution: kernel, stride s, pad p."""

    kernel: tuple[float, ...]
    stride: int
    pad: int

    def out(self, size: int) -> int:
        return geometry.deconv_out(size, len(self.kernel), self.stride, self.pad)

    def matrix(self, size: int) -> Matrix:
        return deconvolution_matrix(self.kernel, size, self.stride, self.pad)


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution: kernel, stride s, pad p."""

    kernel: tuple[float, ...]
    stride: int
    pad: int

    def out(self, size: int) -> int:
        return geometry.conv_out(size, len(self.kernel), self.stride, self.pad)

    def matrix(self, size: int) -> Matrix:
        return convolution_matrix(self.kernel, size, self.stride, self.pad)


@dataclass(frozen=True, eq=False)
class Pool:
    """AVE Pooling without pad. Caffe clips the last window and divides by its clipped length."""

    window: int
    stride: int

    def out(self, size: int) -> int:
        return geometry.pool_out(size, self.window, self.stride, 0)

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        matrix = np.zeros((self.out(size), size))
        for i in range(len(matrix)):
            window = matrix[i, i * self.stride : i * self.stride + self.window]
            window += 1 / max(1, len(window))
        return matrix


@dataclass(frozen=True, eq=False)
class Border:
    """The edge pixels repeated before and after the axis: Slice and Concat."""

    before: int
    after: int

    def out(self, size: int) -> int:
        return size + self.before + self.after

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        index = np.clip(np.arange(-self.before, size + self.after), 0, size - 1)
        matrix: Matrix = np.eye(size)[index]
        return matrix


@dataclass(frozen=True, eq=False)
class Gain:
    """A factor for each pixel: Scale over height and width."""

    factors: tuple[float, ...]

    def out(self, size: int) -> int:
        return size

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        matrix: Matrix = np.diag(self.factors)
        return matrix


@dataclass(frozen=True, eq=False)
class Mix:
    """Any matrix: a Convolution (or InnerProduct) along the axis."""

    weights: Matrix

    def out(self, size: int) -> int:
        return len(self.weights)

    def matrix(self, size: int) -> Matrix:
        return self.weights


@dataclass(frozen=True, eq=False)
class Chain:
    """A sequence of stages.

    With ``normalised`` the result is divided by the output of the same stages for an input of ones
    (Power, the stages again, Power, Eltwise).
    """

    stages: tuple[Stage, ...]
    normalised: bool = False

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        matrix = product(self.stages, size)
        if self.normalised:
            with np.errstate(all="ignore"):
                matrix = matrix / matrix.sum(axis=1, keepdims=True)
        return matrix

    def out(self, size: int) -> int:
        """Return the output length for an input of ``size`` pixels."""
        for stage in self.stages:
            size = stage.out(size)
        return size

    @property
    def kinds(self) -> tuple[type, ...]:
        return tuple(type(stage) for stage in self.stages)


def product(stages: Sequence[Stage], size: int) -> Matrix:
    """Return the matrix of a sequence of stages."""
    import numpy as np

    if not stages:
        return np.eye(size)
    matrix = stages[0].matrix(size)
    for stage in stages[1:]:
        if isinstance(stage, Gain):
            matrix = np.multiply(np.array(stage.factors)[:, None], matrix)
        else:
            matrix = stage.matrix(len(matrix)) @ matrix
    return matrix
