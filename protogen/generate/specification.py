"""Specification of one upsampling layer, and parsers for its values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from protogen import geometry
from protogen.errors import InputError
from protogen.resampling import matrices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape

Mode = Literal["bilinear", "nearest"]
Kernels = Literal["channelwise", "full"]
MODES = ("bilinear", "nearest")
KERNELS = ("channelwise", "full")

LIMIT_BYTES = 2**31 - 1  # the largest protobuf message, and so the largest caffemodel


@dataclass(frozen=True, slots=True)
class FillerKind:
    """Type of a weight_filler, and its value (None for a filler without a value)."""

    type: str
    value: float | None = None


@dataclass(frozen=True)
class UpsampleSpec:
    """Specification of one upsampling layer. Pairs are (height, width).

    Raises:
        InputError: a value is out of range, or the weights need more than 2 GiB.
    """

    factor: tuple[int, int]
    channels: int = 3
    name: str = "upsample"
    bottom: str = "data"
    top: str = "upsample"
    mode: Mode = "bilinear"
    trainable: bool = False
    weights: Kernels = "channelwise"

    def __post_init__(self) -> None:
        for length in self.factor:
            if length < 1:
                raise InputError(f"must be at least 1, got {length}", subject="factor")
        if self.channels < 1:
            raise InputError(f"must be at least 1, got {self.channels}", subject="channels")
        for key, value, known in (("mode", self.mode, MODES), ("weights", self.weights, KERNELS)):
            if value not in known:
                raise InputError(
                    f"unknown value {value!r}", subject=key, advice=f"Choose {' or '.join(known)}."
                )
        for key in ("name", "bottom", "top"):
            _check_name(key, getattr(self, key))
        if self.bottom == self.top:
            raise InputError(
                f"must differ from the bottom, but both are {self.top!r}",
                subject="top",
                advice="A Deconvolution cannot run in place.",
            )
        if self.weight_bytes > LIMIT_BYTES:
            raise InputError(
                f"{self.factor[0]}x{self.factor[1]} with {self.channels} channels needs "
                f"{size_text(self.weight_bytes)} of weights, but Caffe reads at most 2 GiB",
                subject="factor",
                advice="Use several layers with smaller factors.",
            )

    @property
    def square(self) -> bool:
        return self.factor[0] == self.factor[1]

    @property
    def kernel(self) -> tuple[int, int]:
        if self.mode == "nearest":
            return self.factor
        return (
            geometry.upsample_kernel(self.factor[0]),
            geometry.upsample_kernel(self.factor[1]),
        )

    @property
    def stride(self) -> tuple[int, int]:
        return (geometry.upsample_stride(self.factor[0]), geometry.upsample_stride(self.factor[1]))

    @property
    def pad(self) -> tuple[int, int]:
        if self.mode == "nearest":
            return (0, 0)
        return (geometry.upsample_pad(self.factor[0]), geometry.upsample_pad(self.factor[1]))

    @property
    def ring(self) -> tuple[int, int]:
        """Width (height, width) of the border, in output pixels, where the layer differs from
        interpolation."""
        if self.mode == "nearest":
            return (0, 0)
        return (geometry.border_ring(self.factor[0]), geometry.border_ring(self.factor[1]))

    @property
    def num_output(self) -> int:
        return self.channels

    @property
    def group(self) -> int:
        return 1 if self.weights == "full" else self.channels

    @property
    def lr_mult(self) -> int:
        return int(self.trainable)

    @property
    def decay_mult(self) -> int:
        return int(self.trainable)

    @property
    def filler(self) -> FillerKind:
        """The filler that produces the weights; a constant 0 where no filler of Caffe does."""
        if not self.needs_weights:
            return FillerKind("bilinear") if self.mode == "bilinear" else FillerKind("constant", 1)
        return FillerKind("constant", 0)

    @property
    def needs_weights(self) -> bool:
        """Whether only a caffemodel can provide the weights: no filler of Caffe produces them."""
        return self.group != self.channels or (self.mode == "bilinear" and not self.square)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weight blob: (channels, num_output / group, kernel height, kernel width)."""
        return (self.channels, self.num_output // self.group, *self.kernel)

    @property
    def weight_bytes(self) -> int:
        count = 4
        for length in self.weight_shape:
            count *= length
        return count

    def profiles(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vertical and the horizontal profile of the kernel, float32."""
        import numpy as np

        from protogen.layers.fillers import bilinear_profile

        if self.mode == "nearest":
            return np.ones(self.factor[0], np.float32), np.ones(self.factor[1], np.float32)
        return bilinear_profile(self.kernel[0]), bilinear_profile(self.kernel[1])

    def weight(self) -> NDArray[np.float32]:
        """Return the weights, float32, with the shape ``weight_shape``."""
        import numpy as np

        rows, columns = self.profiles()
        kernel: NDArray[np.float32] = np.multiply.outer(rows, columns)
        if self.group == self.channels:
            return np.broadcast_to(kernel, self.weight_shape)
        weight = np.zeros(self.weight_shape, np.float32)
        channel = np.arange(self.channels)
        weight[channel, channel] = kernel
        return weight

    def matrices(
        self, size: Sequence[int]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return a pair of matrices for the height and one for the width.

        The first matrix of a pair is what the layer computes, the second is the interpolation.
        """
        expected = matrices.linear_matrix if self.mode == "bilinear" else matrices.nearest_matrix
        return [
            (matrices.deconvolution_matrix(profile, n, s, p), expected(n, f))
            for profile, n, s, p, f in zip(
                self.profiles(), size, self.stride, self.pad, self.factor, strict=True
            )
        ]

    def describe(self) -> dict[str, Any]:
        """Return the specification and the geometry as plain data."""
        return {
            "name": self.name,
            "bottom": self.bottom,
            "top": self.top,
            "mode": self.mode,
            "factor": list(self.factor),
            "channels": self.channels,
            "trainable": self.trainable,
            "weights": self.weights,
            "kernel": list(self.kernel),
            "stride": list(self.stride),
            "pad": list(self.pad),
            "group": self.group,
        }


def parse_factor(value: object) -> tuple[int, int]:
    """Return the factor (height, width) of an integer, two integers, or text such as ``2x4``.

    Raises:
        InputError: the value has another form.
    """
    first, second = parse_pair("factor", value, "Give N or HxW, such as 2x4.")
    return (parse_integer("factor", first), parse_integer("factor", second))


def parse_pair(key: str, value: object, advice: str) -> tuple[Any, Any]:
    """Return the parts (height, width) of one value for both, two values, or text such as ``2x4``.

    Raises:
        InputError: the value has more than two parts. The message ends with ``advice``.
    """
    parts: list[Any]
    if isinstance(value, str):
        parts = list(value.lower().split("x"))
    else:
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
    if isinstance(value, str) and "" in parts:
        raise InputError(f"expected a number, got {value!r}", subject=key, advice=advice)
    if len(parts) not in (1, 2):
        problem = f"expected 1 or 2 values, got {len(parts)}: {value!r}"
        raise InputError(problem, subject=key, advice=advice)
    return parts[0], parts[-1]


def parse_shape(value: object, key: str = "--input-shape") -> Shape:
    """Return the shape (N, C, H, W) of four integers, or of text such as ``1,3,8,8``.

    Raises:
        InputError: the value has another form, or a length is below 1.
    """
    parts = re.split("[,x]", value) if isinstance(value, str) else value
    if not isinstance(parts, (tuple, list)) or len(parts) != 4:
        raise InputError(
            f"expected N,C,H,W, got {value!r}",
            subject=key,
            advice="Give four lengths, such as 1,3,8,8.",
        )
    shape = tuple(parse_integer(key, part) for part in parts)
    if min(shape) < 1:
        raise InputError(f"every length must be at least 1, got {min(shape)}", subject=key)
    return shape


def parse_integer(key: str, value: object) -> int:
    """Return an integer, or the integer that a text holds.

    Raises:
        InputError: the value has another form, or more than 19 digits.
    """
    text = str(value).strip()
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        digits = text.removeprefix("-").removeprefix("+")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(text)
        if digits.isascii() and digits.isdigit():
            raise InputError(
                f"number too large: {text[:40]}", subject=key, advice="Give a number such as 2."
            )
    raise InputError(
        f"expected an integer, got {text[:40]!r}", subject=key, advice="Give a number such as 2."
    )


def _check_name(key: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InputError(
            f"expected a non-empty string, got {value!r}", subject=key, advice="Give a name."
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"not valid Unicode: {value!r}", subject=key, advice="Choose another name."
        ) from None


def size_text(count: int) -> str:
    """Return a number of bytes with its unit, such as ``1.5 MiB``."""
    size = float(min(count, 10**40))
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"
