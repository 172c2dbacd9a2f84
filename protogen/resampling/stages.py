"""What stock layers do along one axis: each stage is a small linear map with a matrix.

A resize along an axis is a chain of stages; a chain for the height and one for the width with the
same kinds of stages are layers.
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
        """How many pixels it makes of ``size``."""

    def matrix(self, size: int) -> Matrix:
        """What it computes of ``size`` pixels: shape (output, size)."""


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
    """AVE Pooling without pad; Caffe clips the last window and divides by what is left of it."""

    window: int
    stride: int

    def out(self, size: int) -> int:
        return geometry.pool_out(size, self.window, self.stride, 0)

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        made = np.zeros((self.out(size), size))
        for i in range(len(made)):
            window = made[i, i * self.stride : i * self.stride + self.window]
            window += 1 / max(1, len(window))
        return made


@dataclass(frozen=True, eq=False)
class Border:
    """The edge pixel repeated before and behind the axis: Slice and Concat."""

    before: int
    behind: int

    def out(self, size: int) -> int:
        return size + self.before + self.behind

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        index = np.clip(np.arange(-self.before, size + self.behind), 0, size - 1)
        made: Matrix = np.eye(size)[index]
        return made


@dataclass(frozen=True, eq=False)
class Gain:
    """A factor for each pixel: Scale over height and width."""

    factors: tuple[float, ...]

    def out(self, size: int) -> int:
        return size

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        made: Matrix = np.diag(self.factors)
        return made


@dataclass(frozen=True, eq=False)
class Mix:
    """Any matrix: a Convolution (or InnerProduct) whose channels are the axis."""

    weights: Matrix

    def out(self, size: int) -> int:
        return len(self.weights)

    def matrix(self, size: int) -> Matrix:
        return self.weights


@dataclass(frozen=True, eq=False)
class Chain:
    """Stages in their order. ``normalised``: the result is divided by what the same stages make
    of ones (Power, the stages again, Power, Eltwise)."""

    stages: tuple[Stage, ...]
    normalised: bool = False

    def matrix(self, size: int) -> Matrix:
        import numpy as np

        made = product(self.stages, size)
        if self.normalised:
            with np.errstate(all="ignore"):
                made = made / made.sum(axis=1, keepdims=True)
        return made

    def out(self, size: int) -> int:
        """How many pixels it makes of ``size``."""
        for stage in self.stages:
            size = stage.out(size)
        return size

    @property
    def kinds(self) -> tuple[type, ...]:
        return tuple(type(stage) for stage in self.stages)


def product(stages: Sequence[Stage], size: int) -> Matrix:
    """The matrix of stages one after the other."""
    import numpy as np

    if not stages:
        return np.eye(size)
    made = stages[0].matrix(size)
    for stage in stages[1:]:
        if isinstance(stage, Gain):
            made = np.multiply(np.array(stage.factors)[:, None], made)
        else:
            made = stage.matrix(len(made)) @ made
    return made
