"""Where the output pixels of an axis read the input, exactly and as other software computes it.

Software computes positions with rounding errors. They matter where a position decides between two
pixels: in mode nearest, at the ends of a crop, and in a table of weights. There ``rounded`` repeats
the arithmetic of the software step by step. Elsewhere a rounding error of a position only causes an
error of the same size, and the exact ``positions`` are used. Sources:

- onnxruntime: upsamplebase.h and upsample.cc of its CPU provider
- torch: aten/src/ATen/native/UpSample.h and cpu/UpSampleKernel.cpp
- tensorflow: core/util/image_resizer_state.h
- opencv: modules/imgproc/src/resize.cpp
- pillow: src/libImaging/Geometry.c and Resample.c
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from protogen.resampling.sampling import LINEAR, OPSET_10, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_SNAP_TOLERANCE = 1e-9  # a position is a sum of a few float64 quotients
_TIE = 1e-6  # onnxruntime 1.32: so close to the middle of two pixels is a tie; in 1.26 it is 0
_KEEPS_FACTOR = ("", "onnxruntime", "torch", "opencv")  # the others resize to a size


def output_length(size: int, factor: float, software: str = "") -> int:
    """Return the number of output pixels that ``software`` makes of ``size`` pixels.

    Without a name it is floor(factor * size). onnxruntime multiplies in float32, PyTorch in
    float64, and OpenCV rounds to the nearest integer, to the even one of two.
    """
    if software == "torch":
        return int(factor * size)
    if software == "opencv":
        return round(factor * size)
    if software == "onnxruntime":
        return int(_float32_product(factor, size))
    return math.floor(snap_integer(factor * size))


def aspect_length(size: int, factor: float, software: str = "") -> int:
    """Return floor(factor * size + 1/2): the length that ONNX's keep_aspect_ratio_policy gives."""
    if software == "onnxruntime":
        return math.floor(_float32_product(factor, size) + 0.5)
    return math.floor(snap_integer(factor * size + 0.5))


def used_scale(size: int, out: int, factor: float | None, sampling: Sampling) -> float:
    """Return the scale that defines the positions: the factor, or out / size.

    TensorFlow and Pillow resize to a size. PyTorch's area ignores the factor.
    """
    keeps = sampling.software in _KEEPS_FACTOR and sampling.mode != "adaptive"
    return factor if factor is not None and keeps else out / size


@dataclass(frozen=True)
class AxisPositions:
    """One axis of a resize: from ``size`` to ``out`` pixels.

    ``scale`` is out / size, unless the user gave a scale that does not lead to a whole number of
    pixels. ``roi`` is the part that tf_crop_and_resize reads, as fractions of the input.
    """

    size: int
    out: int
    scale: float
    sampling: Sampling = LINEAR
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def copies(self) -> bool:
        """Whether the software copies this axis, whatever its positions are."""
        s = self.sampling
        if s.software == "onnxruntime" and s.align != "tf_crop_and_resize":
            return self.scale == 1 or (s.antialias and self.out == self.size)
        if s.software == "torch" and self.out == self.size:
            linear = s.mode == "bilinear" or s.antialias
            return linear or (s.mode == "nearest" and s.align == "asymmetric")
        return False

    @cached_property
    def positions(self) -> Vector:
        """The position where each output pixel reads the input, in input pixels."""
        import numpy as np

        i, size, out = np.arange(self.out, dtype=np.float64), self.size, self.out
        if self.copies:
            return i
        align = self.sampling.align
        if align == "align_corners":
            x = i * 0 if out == 1 else i * (size - 1) / (out - 1)
        elif align == "asymmetric":
            x = i / self.scale
        elif align == "tf_crop_and_resize":
            low, high = self.roi
            middle = (high - low) * (size - 1) / 2
            x = i * 0 + middle if out == 1 else i * (high - low) * (size - 1) / (out - 1)
            x = x + low * (size - 1)
        elif align == "tf_half_pixel_for_nn":
            x = (i + 0.5) / self.scale
        elif align == "opencv_area":
            left = np.floor(_opencv(self))
            share = ((i + 1) - (left + 1) * self.scale).astype(np.float32)
            return left + np.where(share <= 0, 0, share - np.floor(share))
        else:
            x = (i + 0.5) / self.scale - 0.5
            if align == "pytorch_half_pixel" and out == 1:
                # ONNX's specification. Its reference has -0.5, and PyTorch has no such rule.
                x = i * 0
            elif align == "half_pixel_symmetric":
                x = x + size / 2 * (1 - out / (self.scale * size))
        if steps := self.sampling.steps:
            near = _ARITHMETIC.get(self.sampling.software)
            x = x if near is None else near(self)
            x = np.floor(x) + np.round((x - np.floor(x)) * steps) / steps
        return snap_half(x)

    @cached_property
    def rounded(self) -> Vector:
        """The positions with the rounding errors of the software; the exact ones without one."""
        arithmetic = _ARITHMETIC.get(self.sampling.software)
        return self.positions if arithmetic is None or self.copies else arithmetic(self)

    @cached_property
    def outside(self) -> NDArray[np.bool_]:
        """Mask of the output pixels that tf_crop_and_resize fills with the extrapolation value."""
        x = self.rounded
        crops = self.sampling.align == "tf_crop_and_resize"
        outside: NDArray[np.bool_] = ((x < 0) | (x > self.size - 1)) & crops
        return outside

    @cached_property
    def nearest(self) -> NDArray[np.int64]:
        """The nearest pixel of each output pixel, by the rounding rule; it may lie outside."""
        import numpy as np

        rule = self.sampling.rounding
        if rule == OPSET_10:
            rule = "ceil" if self.scale < 1 else "floor"
        x = self.rounded
        if self.sampling.software == "onnxruntime" and rule.startswith("round"):
            low = np.floor(x)
            x = np.where(np.abs(x - low - 0.5) <= _TIE, low + 0.5, x)
        return _pixel(x, rule).astype(np.int64)

    @property
    def by_size(self) -> bool:
        """Whether the scale is the ratio of the lengths."""
        return self.scale == self.out / self.size


def copies_blob(axes: Sequence[AxisPositions]) -> bool:
    """Whether the software copies a blob with these axes: no axis has another length after it."""
    rule = axes[0].sampling
    copies = rule.software in ("onnxruntime", "opencv") and rule.align != "tf_crop_and_resize"
    return copies and all(axis.out == axis.size for axis in axes)


def _onnxruntime(axis: AxisPositions) -> Vector:
    """float32; two of the rules compute partly in float64 (a C++ literal without f)."""
    import numpy as np

    one = np.float32
    i, size, out = np.arange(axis.out, dtype=one), one(axis.size), one(axis.out)
    scale = out / size if axis.by_size else one(axis.scale)
    low, high = map(one, axis.roi)
    align = axis.sampling.align
    if align == "align_corners":
        x = i * 0 if axis.out == 1 else i * (size - one(1)) / (out - one(1))
    elif align == "asymmetric":
        x = i / scale
    elif align == "tf_half_pixel_for_nn":
        x = (i + one(0.5)) / scale
    elif align == "tf_crop_and_resize" and axis.out > 1:
        x = low * (size - one(1)) + i * (high - low) * (size - one(1)) / (out - one(1))
    elif align == "tf_crop_and_resize":
        x = i + one(0.5 * float(low + high) * float(size - one(1)))
    elif align == "half_pixel_symmetric":
        offset = size / one(2) * (one(1) - out / (scale * size))
        x = (float(offset) + (i.astype(np.float64) + 0.5) / float(scale) - 0.5).astype(one)
    elif align == "pytorch_half_pixel" and axis.out == 1:
        x = i * 0
    else:
        x = (i + one(0.5)) / scale - one(0.5)
    return x.astype(np.float64)


def _torch(axis: AxisPositions) -> Vector:
    """float32 products with the reciprocal of the scale; enlarging by two is a shift of bits."""
    import numpy as np

    one = np.float32
    i = np.arange(axis.out, dtype=one)
    step = one(axis.size) / one(axis.out) if axis.by_size else one(1 / axis.scale)
    if axis.sampling.align == "tf_half_pixel_for_nn":
        return ((i + one(0.5)) * step).astype(np.float64)
    return (i / one(2) if axis.out == 2 * axis.size else i * step).astype(np.float64)


def _tensorflow(axis: AxisPositions) -> Vector:
    import numpy as np

    one = np.float32
    i, step = np.arange(axis.out, dtype=one), one(axis.size) / one(axis.out)
    if axis.sampling.align == "asymmetric":
        return (i * step).astype(np.float64)
    x = (i + one(0.5)) * step
    return (x if axis.sampling.align == "tf_half_pixel_for_nn" else x - one(0.5)).astype(np.float64)


def _opencv(axis: AxisPositions) -> Vector:
    import numpy as np

    return np.arange(axis.out, dtype=np.float64) * (1 / axis.scale)


def _pillow(axis: AxisPositions) -> Vector:
    """A sum in float64: each pixel adds the step to the position of the pixel before."""
    import numpy as np

    step = axis.size / axis.out
    steps = np.full(axis.out, step)
    steps[0] = step * 0.5
    return np.cumsum(steps)


_ARITHMETIC: dict[str, Callable[[AxisPositions], Vector]] = {
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "tensorflow": _tensorflow,
    "opencv": _opencv,
    "pillow": _pillow,
}


def _pixel(x: Vector, rule: str) -> Vector:
    import numpy as np

    if rule == "round_prefer_floor":
        return np.ceil(x - 0.5)
    if rule == "round_prefer_ceil":
        return np.floor(x + 0.5)
    return np.ceil(x) if rule == "ceil" else np.floor(x)


def _float32_product(factor: float, size: int) -> float:
    import numpy as np

    return float(np.float32(factor) * np.float32(size))


def snap_integer(value: float) -> float:
    """Return the nearest integer if the value differs from it only by rounding, else the value."""
    nearest = round(value)
    return (
        float(nearest) if abs(value - nearest) < _SNAP_TOLERANCE * max(1.0, abs(value)) else value
    )


def snap_half(x: Vector) -> Vector:
    """Snap positions to integers and halves from which they differ only by rounding.

    The rounding rule then decides ties, and not the rounding error.
    """
    import numpy as np

    nearest = np.round(2 * x) / 2
    return np.where(np.abs(x - nearest) < _SNAP_TOLERANCE * np.maximum(1, np.abs(x)), nearest, x)
