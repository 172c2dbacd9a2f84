"""Number formats of quantised forks: rounding of weights with NumPy, and of data with ONNX operators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

LARGEST_SHIFT = 126  # 2 ** 126 and its inverse are normal numbers of float32


class Format(ABC):
    """A number format. ``of_array`` and ``of_value`` round to its nearest number; halves go to the even
    one, as in the forks' GPU code and in ONNX's Round."""

    @abstractmethod
    def of_array(self, values: Array) -> Array:
        """Return the rounded values of an array."""

    @abstractmethod
    def of_value(self, e: Emitter, x: str) -> str:
        """Emit the rounded values of a blob."""


@dataclass(frozen=True)
class FixedPoint(Format):
    """Integers of ``bits`` bits times 2 ** -``fraction``, with saturation."""

    bits: int
    fraction: int

    def check(self, layer: Layer) -> None:
        """Check that float32 can express the format.

        Raises:
            InputError: bits is below 1.
            UnsupportedError: fraction is out of range.
        """
        if self.bits < 1:
            raise layer.error(f"a width of {self.bits} bits is invalid", "Use at least 1.")
        if abs(self.fraction) > LARGEST_SHIFT or self.bits > LARGEST_SHIFT:
            raise layer.unsupported(
                f"{self.bits} bits with the fraction {self.fraction} are beyond the range of float32"
            )

    def limits(self) -> tuple[float, float]:
        """Return the least and the largest number, in the forks' float32."""
        import numpy as np

        step = np.float32(2.0**-self.fraction)
        half = np.float32(2.0 ** (self.bits - 1))
        return float(-half * step), float((half - np.float32(1)) * step)

    def of_array(self, values: Array) -> Array:
        import numpy as np

        step = np.float32(2.0**-self.fraction)
        low, high = self.limits()
        rounded: Array = np.rint(np.clip(values, np.float32(low), np.float32(high)) / step) * step
        return rounded

    def of_value(self, e: Emitter, x: str) -> str:
        low, high = self.limits()
        x = e.value("Clip", x, e.array(low), e.array(high))
        x = e.value("Round", e.value("Mul", x, e.array(2.0**self.fraction)))
        return e.value("Mul", x, e.array(2.0**-self.fraction))


@dataclass(frozen=True)
class MiniFloat(Format):
    """Floating-point numbers with ``mantissa`` and ``exponent`` bits, with saturation. Numbers below the
    smallest exponent become 0; no exponent is reserved for infinity."""

    mantissa: int
    exponent: int

    def check(self, layer: Layer) -> None:
        """Raises InputError if float32 has fewer bits."""
        if self.mantissa > 23 or not 1 <= self.exponent <= 8:
            raise layer.error(
                f"mant_bits {self.mantissa} and exp_bits {self.exponent} are invalid",
                "Use at most 23, and 1 to 8.",
            )

    @property
    def _bias(self) -> int:
        return int(2 ** (self.exponent - 1)) - 1

    @property
    def _last(self) -> int:
        """The largest power of 2."""
        return int(2**self.exponent) - 1 - self._bias

    def _least(self) -> float:
        """Return the number below which values become 0."""
        return float(max(2.0**-self._bias, 2.0**-126))  # inputs that are not normal become 0 too

    def _largest(self) -> float:
        return float((2 - 2.0**-self.mantissa) * 2.0**self._last)

    def of_array(self, values: Array) -> Array:
        import numpy as np

        size = np.abs(values.astype(np.float64))
        power = np.ldexp(1.0, np.frexp(size)[1] - 1)
        digits = np.rint((size / power - 1) * 2.0**self.mantissa)  # without the leading 1
        rounded = (1 + digits / 2.0**self.mantissa) * power
        rounded = np.where(size >= 2.0 ** (self._last + 1), self._largest(), rounded)
        rounded = np.where(size < self._least(), 0.0, rounded)
        with np.errstate(over="ignore"):  # a rounded number may be infinite, as in the fork
            signed: Array = np.copysign(rounded, values).astype(np.float32)
        return signed

    def of_value(self, e: Emitter, x: str) -> str:
        size = e.value("Max", e.value("Abs", x), e.array(2.0**-126))
        logarithm = e.value("Mul", e.value("Log", size), e.array(1 / math.log(2)))
        power = e.value("Pow", e.array(2.0), e.value("Floor", logarithm))
        # The logarithm is not exact, so the power may be the one below or above.
        half, twice = (e.value("Mul", power, e.array(f)) for f in (0.5, 2.0))
        power = e.value(
            "Where",
            e.value("Less", size, power),
            half,
            e.value("Where", e.value("Less", size, twice), power, twice),
        )
        one, scale = e.array(1.0), 2.0**self.mantissa
        digits = e.value("Sub", e.value("Div", size, power), one)  # without the leading 1
        digits = e.value("Round", e.value("Mul", digits, e.array(scale)))
        digits = e.value("Add", e.value("Mul", digits, e.array(1 / scale)), one)
        rounded = e.value("Mul", digits, power)
        if self._last < 127:
            within = e.value("Less", size, e.array(2.0 ** (self._last + 1)))
            rounded = e.value("Where", within, rounded, e.array(self._largest()))
        is_zero = e.value("Less", e.value("Abs", x), e.array(self._least()))
        rounded = e.value("Where", is_zero, e.array(0.0), rounded)
        return e.value("Mul", rounded, e.value("Sign", x))


def powers_of_2(values: Array, least: int, most: int) -> Array:
    """Return weights as plus or minus 2 ** n with n from ``least`` to ``most``: the nearest exponent.
    0 becomes 2 ** ``least``."""
    import numpy as np

    with np.errstate(divide="ignore"):
        exponent = np.rint(np.log2(np.abs(values)))
    exponent = np.maximum(np.minimum(exponent, most), least)
    power: Array = np.where(values >= 0, 1, -1) * np.ldexp(np.float32(1), exponent.astype(np.int32))
    return power.astype(np.float32)
