"""What an upsampling layer is asked to be: one Upsample, checked when it is made."""

from __future__ import annotations

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

LIMIT_BYTES = 2**31 - 1  # what protobuf, and so a caffemodel, can hold


@dataclass(frozen=True, slots=True)
class FillerKind:
    """weight_filler: its type, and its value where it has one."""

    type: str
    value: float | None = None


@dataclass(frozen=True)
class UpsampleSpec:
    """One upsampling layer. Pairs are (height, width).

    Raises:
        InputError: a value is out of range, or its weights pass 2 GiB.
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
                raise InputError(
                    f"{length} is below 1", subject="factor", advice="Upsampling takes 1, 2, 3, ..."
                )
        if self.channels < 1:
            raise InputError(
                f"{self.channels} is below 1", subject="channels", advice="Give 1 or more."
            )
        for key, value, known in (("mode", self.mode, MODES), ("weights", self.weights, KERNELS)):
            if value not in known:
                raise InputError(
                    f"{value!r} is not known", subject=key, advice=f"Choose {' or '.join(known)}."
                )
        for key in ("name", "bottom", "top"):
            _check_text(key, getattr(self, key))
        if self.bottom == self.top:
            raise InputError(
                f"{self.top!r} is the bottom too",
                subject="top",
                advice="A Deconvolution cannot work in place.",
            )
        if self.weight_bytes > LIMIT_BYTES:
            raise InputError(
                f"{self.factor[0]}x{self.factor[1]} with {self.channels} channels needs "
                f"{size_text(self.weight_bytes)} of weights, more than the 2 GiB that Caffe reads",
                subject="factor",
                advice="Use smaller factors, one after the other.",
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
        """Pixels at each border where the layer differs from interpolation."""
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
        """What Caffe can fill the weights with; a constant 0 where only the caffemodel can."""
        if not self.needs_weights:
            return FillerKind("bilinear") if self.mode == "bilinear" else FillerKind("constant", 1)
        return FillerKind("constant", 0)

    @property
    def needs_weights(self) -> bool:
        """Whether no filler of Caffe makes these weights, so that a caffemodel must."""
        return self.group != self.channels or (self.mode == "bilinear" and not self.square)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Caffe's shape: (channels, num_output / group, kernel height, kernel width)."""
        return (self.channels, self.num_output // self.group, *self.kernel)

    @property
    def weight_bytes(self) -> int:
        count = 4
        for length in self.weight_shape:
            count *= length
        return count

    def profiles(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The kernel's vertical and horizontal profile, float32."""
        import numpy as np

        from protogen.layers.fillers import bilinear_profile

        if self.mode == "nearest":
            return np.ones(self.factor[0], np.float32), np.ones(self.factor[1], np.float32)
        return bilinear_profile(self.kernel[0]), bilinear_profile(self.kernel[1])

    def weight(self) -> NDArray[np.float32]:
        """The weights, float32, of ``weight_shape``."""
        import numpy as np

        rows, columns = self.profiles()
        kernel: NDArray[np.float32] = np.multiply.outer(rows, columns)
        if self.group == self.channels:
            return np.broadcast_to(kernel, self.weight_shape)
        made = np.zeros(self.weight_shape, np.float32)
        channel = np.arange(self.channels)
        made[channel, channel] = kernel
        return made

    def matrices(
        self, size: Sequence[int]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For height and width: what the layer computes, and what it should compute."""
        wanted = matrices.linear_matrix if self.mode == "bilinear" else matrices.nearest_matrix
        return [
            (matrices.deconvolution_matrix(profile, n, s, p), wanted(n, f))
            for profile, n, s, p, f in zip(
                self.profiles(), size, self.stride, self.pad, self.factor, strict=True
            )
        ]

    def describe(self) -> dict[str, Any]:
        """Specification and geometry as plain data."""
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
    """(height, width) of a factor: a whole number, two of them, or text such as ``2`` and ``2x4``.

    Raises:
        InputError: it is anything else.
    """
    first, second = pair("factor", value, "Give N or HxW, such as 2x4.")
    return (whole("factor", first), whole("factor", second))


def pair(key: str, value: object, advice: str) -> tuple[Any, Any]:
    """Height's and width's part of a value: one for both, two of them, or text such as ``2x4``.

    Raises:
        InputError: it has more parts; ``advice`` says what to give.
    """
    parts: list[Any]
    if isinstance(value, str):
        parts = list(value.lower().split("x"))
    else:
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
    if len(parts) not in (1, 2):
        raise InputError(f"{value!r} has {len(parts)} parts", subject=key, advice=advice)
    return parts[0], parts[-1]


def parse_shape(value: object, key: str = "input-shape") -> Shape:
    """(N, C, H, W) from four whole numbers or text such as ``1,3,8,8``.

    Raises:
        InputError: it is anything else, or a length is below 1.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (tuple, list)) or len(parts) != 4:
        raise InputError(
            f"{value!r} is no N,C,H,W", subject=key, advice="Give four lengths, such as 1,3,8,8."
        )
    shape = tuple(whole(key, part) for part in parts)
    if min(shape) < 1:
        raise InputError(
            f"{min(shape)} is below 1", subject=key, advice="Every length must be 1 or more."
        )
    return shape


def whole(key: str, value: object) -> int:
    text = str(value).strip()
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        digits = text.removeprefix("-").removeprefix("+")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(text)
        if digits.isascii() and digits.isdigit():
            raise InputError(
                f"{text[:40]} is far too large", subject=key, advice="Give a number such as 2."
            )
    raise InputError(f"{text[:40]!r} is no whole number", subject=key, advice="Give one such as 2.")


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InputError(
            f"{value!r} is no name", subject=key, advice="Give a text of at least one character."
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{value!r} is not valid Unicode", subject=key, advice="Choose another name."
        ) from None


def size_text(count: int) -> str:
    size = float(min(count, 10**40))
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"
