"""What float16 and int8 do to the values of an array: range, rounding errors, values that become 0."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from protogen.formats.mapped import pieces
from protogen.onnx.passes.half import LARGEST  # 65504

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HALF = np.finfo(np.float16)
NORMAL = float(_HALF.smallest_normal)  # 6.1e-5: smaller values have fewer digits
TINY = float(_HALF.smallest_subnormal)  # 6e-8: values up to half of it become 0
LIMITS = (TINY, NORMAL, LARGEST)
LEVELS = 127  # positive values of a symmetric int8
EXACT = 20 * math.log10(2**24)  # dB: the precision of float32; larger ratios count as this one
# When a row gets a remark. The limits are protogen's own choice.
_LOST = 0.01  # share of the nonzero values that become 0 in float16
_MOSTLY = 0.5  # share of the nonzero values that become 0 in int8
_FEW_DIGITS = 2**-10  # relative error: twice the largest one of a normal float16
NARROW = 20.0  # dB: the error of int8 is a tenth of the signal
_LEAST = -149  # exponent of the smallest float32


@dataclass(frozen=True, slots=True)
class Range:
    """Statistics of an array's values. All but ``nan`` and ``infinite`` are of the finite values.

    Attributes:
        count: number of values.
        low, high: the smallest and the largest value; 0 if there are none.
        smallest: the smallest magnitude that is not 0; 0 if there is none.
        nan, infinite: numbers of values that are NaN, or infinite.
        overflow: number of values beyond 65504, float16's largest number.
        half_zero: share of the nonzero values that become 0 in float16.
        half_subnormal: share of the nonzero values below 2^-14, which lose digits in float16.
        half_error: relative error in float16, ||x - half(x)|| / ||x||, of the values up to 65504.
        integers: whether all values are whole numbers.
        scale: scale of a symmetric int8 with one scale for all values: max|x| / 127.
        int8_zero: share of the nonzero values that become 0 in int8.
        int8_snr: 10 log10(sum x^2 / sum (x - scale round(x / scale))^2) in dB, at most 144.5, the
            precision of float32; None if all values are 0.
        exponents: pairs of floor(log2 |x|) and the number of such values.
    """

    count: int
    low: float
    high: float
    smallest: float
    nan: int
    infinite: int
    overflow: int
    half_zero: float
    half_subnormal: float
    half_error: float
    integers: bool
    scale: float
    int8_zero: float
    int8_snr: float | None
    exponents: tuple[tuple[int, int], ...] = ()

    @property
    def broken(self) -> bool:
        """Whether a value is NaN, infinite, or beyond the range of float16."""
        return bool(self.nan or self.infinite or self.overflow)

    @property
    def wide(self) -> bool:
        """Whether the values span too much for one int8 scale: the signal-to-noise ratio is below 20 dB. Whole
        numbers, such as labels, do not count."""
        return self.int8_snr is not None and self.int8_snr < NARROW and not self.integers

    @property
    def half_remarks(self) -> list[str]:
        """What float16 does to the values, in words; the most serious first."""
        texts = []
        if self.nan:
            texts.append("NaN")
        if self.infinite:
            texts.append("infinite")
        if self.overflow:
            texts.append("overflows float16")
        if self.half_zero > _LOST:
            texts.append(f"{100 * self.half_zero:.3g}% become 0 in float16")
        if self.half_error > _FEW_DIGITS:
            texts.append("loses float16 digits")
        return texts

    @property
    def remarks(self) -> list[str]:
        """What float16 and int8 do to the values, in words."""
        return [*self.half_remarks, *self.int8_remarks("too wide for int8")]

    def int8_remarks(self, wide: str) -> list[str]:
        """What int8 does to the values, in words; ``wide`` is the text for a large error."""
        texts = [wide] if self.wide else []
        if self.int8_zero > _MOSTLY and not self.integers:
            texts.append(f"{100 * self.int8_zero:.3g}% become 0 in int8")
        return texts

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON, without the exponents."""
        fields = asdict(self)
        del fields["exponents"]
        return fields | {"remarks": self.remarks}


def range_of(array: NDArray[Any]) -> Range:
    """Return the statistics of an array of any shape."""
    sums = Sums()
    sums.add(array)
    sums.quantise(array)
    return sums.range()


def decibels(signal: float, noise: float) -> float | None:
    """Return the ratio of two powers in dB, at most EXACT; None without a signal."""
    if not signal:
        return None
    return min(10 * math.log10(signal / noise), EXACT) if noise else EXACT


class Sums:
    """Sums over arrays, of which ``range`` computes the statistics. Every array is first passed to
    ``add``, then again to ``quantise``, which needs the largest magnitude of all of them."""

    def __init__(self) -> None:
        self.count = self.nan = self.infinite = self.overflow = 0
        self.nonzero = self.half_zero = self.half_subnormal = self.int8_zero = 0
        self.low, self.high, self.smallest = math.inf, -math.inf, math.inf
        self.integers = True
        self.half_signal = self.half_noise = self.int8_signal = self.int8_noise = 0.0
        self.exponents = np.zeros(128 - _LEAST, np.int64)

    def add(self, array: NDArray[Any]) -> None:
        """Add what does not depend on the scale of int8."""
        for piece in pieces(array):
            x = self._finite(piece)
            if not x.size:
                continue
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
            self.integers = self.integers and bool((x == np.rint(x)).all())
            size = np.abs(x)
            fits = size <= LARGEST
            self.overflow += int(x.size - fits.sum())
            wide = x[fits].astype(np.float64)
            half = x[fits].astype(np.float16).astype(np.float64)
            self.half_zero += int(((half == 0) & (wide != 0)).sum())
            self.half_signal += float(np.square(wide).sum())
            self.half_noise += float(np.square(wide - half).sum())
            size = size[size > 0]
            if size.size:
                self.nonzero += size.size
                self.smallest = min(self.smallest, float(size.min()))
                self.half_subnormal += int((size < NORMAL).sum())
                exponents = np.frexp(size)[1] - 1  # frexp: x = m 2^e with m from 0.5 to 1
                self.exponents += np.bincount(exponents - _LEAST, minlength=self.exponents.size)

    def _finite(self, piece: NDArray[Any]) -> NDArray[np.float32]:
        """Count the values of a piece, and return those that are finite."""
        x = np.asarray(piece, np.float32)
        finite = np.isfinite(x)
        self.count += x.size
        if finite.all():
            return x
        self.nan += int(np.isnan(x).sum())
        self.infinite += int(np.isinf(x).sum())
        return x[finite]

    @property
    def scale(self) -> float:
        """The scale of int8; 0 if all values are 0."""
        return max(abs(self.low), abs(self.high)) / LEVELS if self.low <= self.high else 0.0

    def quantise(self, array: NDArray[Any]) -> None:
        """Add the errors of int8."""
        scale = self.scale
        for piece in pieces(array) if scale else ():
            x = np.asarray(piece, np.float64)
            x = x[np.isfinite(x)]
            whole = np.rint(x / scale)
            self.int8_zero += int(((whole == 0) & (x != 0)).sum())
            self.int8_signal += float(np.square(x).sum())
            self.int8_noise += float(np.square(x - whole * scale).sum())

    def range(self) -> Range:
        """Return the statistics of all arrays."""
        nonzero = max(self.nonzero, 1)
        any_finite = self.low <= self.high
        filled = np.flatnonzero(self.exponents)
        return Range(
            count=self.count,
            low=self.low if any_finite else 0.0,
            high=self.high if any_finite else 0.0,
            smallest=self.smallest if self.nonzero else 0.0,
            nan=self.nan,
            infinite=self.infinite,
            overflow=self.overflow,
            half_zero=self.half_zero / nonzero,
            half_subnormal=self.half_subnormal / nonzero,
            half_error=math.sqrt(self.half_noise / self.half_signal) if self.half_signal else 0.0,
            integers=any_finite and self.integers,
            scale=self.scale,
            int8_zero=self.int8_zero / nonzero,
            int8_snr=decibels(self.int8_signal, self.int8_noise),
            exponents=tuple((int(i) + _LEAST, int(self.exponents[i])) for i in filled),
        )
