"""Weight fillers: the values that Caffe writes into a parameter blob before training.

Random values are generated in chunks of a blob. Each chunk has its own random stream, derived from
the seed, the layer's name, the index of the blob and the index of the chunk. So the values do not
depend on the order of layers, the machine or the number of threads. The distributions are Caffe's.
The streams are not: Caffe uses boost, whose streams differ between machines.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from protogen.errors import InputError, did_you_mean
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

CHUNK = 1 << 18  # values per random stream


@dataclass(frozen=True, slots=True)
class Filler:
    """A FillerParameter: its type, and the numbers that the type reads. ``variance_norm`` selects the
    n that xavier and msra divide by. ``diag_val`` is for the diagonal filler of FlowNet2."""

    type: str = "constant"
    value: float = 0.0
    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    sparse: int = -1
    variance_norm: str = "FAN_IN"
    diag_val: tuple[float, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Return the type, then the fields that differ from Caffe's defaults: what a prototxt sets."""
        defaults = Filler()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"type": values.pop("type")} | {
            name: value for name, value in values.items() if value != getattr(defaults, name)
        }


@dataclass(frozen=True, slots=True)
class Fan:
    """Fan-in and fan-out of a weight blob: how many inputs each output value sums (``fan_in``), and
    how many outputs each input value contributes to (``fan_out``)."""

    fan_in: float
    fan_out: float

    def n(self, variance_norm: str) -> float:
        """Return the n that a filler with this ``variance_norm`` divides by."""
        if variance_norm == "FAN_OUT":
            return self.fan_out
        return (self.fan_in + self.fan_out) / 2 if variance_norm == "AVERAGE" else self.fan_in


def caffes_fan(shape: Sequence[int]) -> Fan:
    """Return fan-in and fan-out by Caffe's rule: the number of values divided by the length of the
    first axis, and of the second. The rule is wrong if the first axis of the blob is not the
    outputs: Deconvolution, InnerProduct with ``transpose``, Embed."""
    count = math.prod(shape)
    if not shape:
        return Fan(1, 1)
    return Fan(count / shape[0], count / shape[1] if len(shape) > 1 else count)


# Standard deviation of each type of random filler (Glorot and Bengio 2010 for xavier, He et al.
# 2015 for msra, both with Caffe's constants).
DEVIATIONS: dict[str, Callable[[Filler, Fan], float]] = {
    "constant": lambda filler, fan: 0.0,
    "gaussian": lambda filler, fan: filler.std,
    "uniform": lambda filler, fan: (filler.max - filler.min) / math.sqrt(12),
    "xavier": lambda filler, fan: math.sqrt(1 / fan.n(filler.variance_norm)),
    "msra": lambda filler, fan: math.sqrt(2 / fan.n(filler.variance_norm)),
}
OF_FORKS = ("diagonal",)  # FlowNet2
SHAPED = ("bilinear", "positive_unitball", *OF_FORKS)  # their values depend on the blob's shape
EXTRAS = ("orthogonal", "identity", "icnr", "lsuv")  # not in Caffe
CAFFES = (*DEVIATIONS, "bilinear", "positive_unitball")
KNOWN = f"Known fillers: {', '.join(CAFFES)}."
NAMED = ("gabor",)  # Intel; protogen does not generate its values


def chunks(
    filler: Filler, shape: Sequence[int], fan: Fan, stream: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """Yield the values of a blob in order, as float32 chunks of one axis.

    Args:
        fan: for the n of xavier and msra; see ``caffes_fan``.
        stream: integers that identify the blob's random stream; see ``stream_of``.

    Raises:
        InputError: the type is unknown, or the shape is invalid for it.
    """
    import numpy as np

    if filler.type not in (*CAFFES, *OF_FORKS):
        raise unknown(filler.type)
    if filler.type in SHAPED:
        yield _shaped(filler, shape, stream).reshape(-1)
        return
    count = math.prod(shape)
    lengths = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    if filler.type == "constant":
        chunk = np.full(min(CHUNK, count), filler.value, np.float32)
        yield from (chunk[:length] for length in lengths)
        return
    if filler.type in ("xavier", "msra") and not fan.n(filler.variance_norm) > 0:
        raise InputError(
            f"{filler.variance_norm} of the blob must be above 0, got {fan.n(filler.variance_norm):g}",
            subject=f"{filler.type} filler",
        )
    density = filler.sparse / _outputs(shape, fan) if filler.sparse >= 0 else 1.0

    def draw(index: int) -> NDArray[np.float32]:
        return _draw(filler, fan, density, lengths[index], [*stream, index])

    if len(lengths) == 1:
        yield draw(0)
        return
    yield from _in_threads(draw, len(lengths))


def _outputs(shape: Sequence[int], fan: Fan) -> float:
    """Return the divisor of ``sparse``: for Caffe's own fan the length of the first axis, as in
    Caffe, although the field means inputs; otherwise the inputs."""
    return shape[0] if fan == caffes_fan(shape) else fan.fan_in


def _in_threads(
    draw: Callable[[int], NDArray[np.float32]], count: int
) -> Iterator[NDArray[np.float32]]:
    """Yield chunks in order and compute a few ahead: NumPy releases Python's lock meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[NDArray[np.float32]]] = deque()
        for index in range(count):
            pending.append(pool.submit(draw, index))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _draw(
    filler: Filler, fan: Fan, density: float, length: int, stream: Sequence[int]
) -> NDArray[np.float32]:
    import numpy as np

    generator = _generator(stream)
    if filler.type in ("uniform", "xavier"):
        if filler.type == "xavier":
            high = math.sqrt(3 / fan.n(filler.variance_norm))
            low = -high
        else:
            low, high = filler.min, filler.max
        values = generator.random(length, np.float32)
        values *= np.float32(high - low)
        values += np.float32(low)
    else:
        values = generator.standard_normal(length, np.float32)
        values *= np.float32(DEVIATIONS[filler.type](filler, fan))
        if filler.type == "gaussian" and filler.mean:
            values += np.float32(filler.mean)
    if density < 1:
        values *= generator.random(length, np.float32) < density
    return values


def _shaped(filler: Filler, shape: Sequence[int], stream: Sequence[int]) -> NDArray[np.float32]:
    import numpy as np

    if filler.type == "positive_unitball":
        rows = _generator(stream).random((shape[0], math.prod(shape[1:])), np.float32)
        rows /= rows.sum(axis=1, keepdims=True)
        return rows
    if filler.type == "diagonal":
        return diagonal(shape, filler.diag_val)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise InputError(
            f"expected square kernels (4 axes), got {shape_text(shape)}", subject="bilinear filler"
        )
    kernels: NDArray[np.float32] = np.broadcast_to(bilinear(shape[2]), tuple(shape))
    return kernels


def diagonal(shape: Sequence[int], values: Sequence[float]) -> NDArray[np.float32]:
    """Return FlowNet2's ``diagonal`` filler: float32 weights with which output i is ``values[i]`` (or 1)
    times the mean of input i over the kernel.

    Raises:
        InputError: the blob has fewer than 2 axes.
    """
    import numpy as np

    if len(shape) < 2:
        raise InputError(
            f"expected a blob of at least 2 axes, got {shape_text(shape)}",
            subject="diagonal filler",
        )
    weights = np.zeros(tuple(shape), np.float32)
    for index in range(min(shape[:2])):
        value = values[index] if index < len(values) else 1.0
        weights[index, index] = np.float32(value) / np.float32(math.prod(shape[2:]))
    return weights


def stream_of(seed: int, layer: str, index: int) -> list[int]:
    """Return the integers that identify the random stream of a layer's blob."""
    import hashlib

    digest = hashlib.sha256(layer.encode("utf-8", "surrogateescape")).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return [seed, *words, index]


def _generator(stream: Sequence[int]) -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(stream))))


def orthogonal(rows: int, columns: int, stream: Sequence[int]) -> NDArray[np.float32]:
    """Return a float32 matrix of orthonormal rows, or columns if there are fewer columns (Saxe et
    al. 2014). It is the Q of a Gaussian matrix; the signs give it a uniform distribution."""
    import numpy as np

    tall = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(_generator(stream).standard_normal(tall))
    q *= np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T, np.float32)


def identity(shape: Sequence[int], group: int = 1) -> NDArray[np.float32]:
    """Return float32 weights with which output i equals input i: ones at the centres of kernels."""
    import numpy as np

    weights = np.zeros(tuple(shape), np.float32)
    inputs = shape[1]  # per group
    centre = tuple(n // 2 for n in shape[2:])
    for output in range(shape[0]):
        channel = output - output * group // shape[0] * inputs
        if 0 <= channel < inputs:
            weights[(output, channel, *centre)] = 1
    return weights


def unknown(type_: str) -> InputError:
    """Return the InputError for an unknown type of filler."""
    known = (*CAFFES, *EXTRAS)
    advice = did_you_mean(type_, known) or f"Known fillers: {', '.join(known)}."
    return InputError("unknown filler", subject=f'"{type_}"', advice=advice)


def parse_filler(text: str) -> Filler:
    """Parse ``msra``, ``gaussian:0.01``, ``constant:0.5``, ``uniform:-0.1,0.1`` or
    ``xavier:variance_norm=AVERAGE`` into a Filler.

    Raises:
        InputError: the type is unknown, or its options are invalid.
    """
    type_, _, rest = text.partition(":")
    if type_ not in (*CAFFES, *EXTRAS):
        raise unknown(type_)
    unnamed = {"gaussian": ["std"], "constant": ["value"], "uniform": ["min", "max"]}.get(type_, [])
    options: dict[str, str] = {}
    for position, word in enumerate(filter(None, rest.split(","))):
        key, equals, value = word.partition("=")
        if not equals:
            key, value = unnamed[position] if position < len(unnamed) else "", word
        options[key] = value
    return Filler(type_, **_numbers(text, options))


def _numbers(text: str, options: Mapping[str, str]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, value in options.items():
        if key == "variance_norm" and value in ("FAN_IN", "FAN_OUT", "AVERAGE"):
            numbers[key] = value
            continue
        try:
            numbers[key] = int(value) if key == "sparse" else float(value)
        except ValueError:
            key = ""
        if key not in ("value", "min", "max", "mean", "std", "sparse"):
            raise InputError(
                "not a valid filler",
                subject=f'"{text}"',
                advice="Write it like msra, gaussian:0.01, uniform:-0.1,0.1 or "
                "xavier:variance_norm=AVERAGE.",
            )
    return numbers


def bilinear_profile(
    kernel: int, variant: Literal["bvlc", "classic"] = "bvlc"
) -> NDArray[np.float32]:
    """Return the one-dimensional profile of Caffe's ``bilinear`` filler: float32, shape (kernel,).

    Weight x is 1 - |x / F - c| with F = ceil(K / 2). Two centres c are in use:

    - ``bvlc``: c = (K - 1) / (2F), Caffe since 2017;
    - ``classic``: c = (2F - 1 - F mod 2) / (2F), earlier versions of Caffe, and most forks.

    They differ only if K mod 4 is 2 or 3. The arithmetic is Caffe's, in float32.

    Raises:
        InputError: ``kernel`` is below 1, or the variant is unknown.
    """
    import numpy as np

    if kernel < 1:
        raise InputError(f"kernel size must be at least 1, got {kernel}", subject="bilinear filler")
    f = -(-kernel // 2)
    if variant == "bvlc":
        c = np.float32((kernel - 1) / (2.0 * f))
    elif variant == "classic":
        c = np.float32((2 * f - 1 - f % 2) / (2.0 * f))
    else:
        raise InputError(
            f"variant must be bvlc or classic, got {variant!r}", subject="bilinear filler"
        )
    x = np.arange(kernel, dtype=np.float32)
    profile: NDArray[np.float32] = np.float32(1) - np.abs(x / np.float32(f) - c)
    return profile


def bilinear(
    kernel_h: int, kernel_w: int | None = None, variant: Literal["bvlc", "classic"] = "bvlc"
) -> NDArray[np.float32]:
    """Return Caffe's ``bilinear`` kernel: float32, shape (kernel_h, kernel_w).

    Caffe supports square kernels only; for these the result equals Caffe's bit for bit.

    Raises:
        InputError: as ``bilinear_profile``.
    """
    import numpy as np

    rows = bilinear_profile(kernel_h, variant)
    columns = bilinear_profile(kernel_h if kernel_w is None else kernel_w, variant)
    kernel: NDArray[np.float32] = np.multiply.outer(rows, columns)
    return kernel
