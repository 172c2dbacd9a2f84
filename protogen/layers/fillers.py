"""Weight fillers: what Caffe writes into a parameter blob before training.

Random values come in chunks of a blob, each from a stream of its own that follows from the seed,
the layer's name, the blob's index and the chunk's: so they are the same whatever the order of
layers, the machine, or how many threads make them. They have Caffe's distributions; its own
streams are those of boost, and differ from machine to machine.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from protogen.errors import InputError, did_you_mean
from protogen.geometry import shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 1 << 18  # values of one stream


@dataclass(frozen=True, slots=True)
class Filler:
    """A FillerParameter: its type, and the numbers that the type reads. ``variance_norm`` says
    which n xavier and msra divide by."""

    type: str = "constant"
    value: float = 0.0
    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    sparse: int = -1
    variance_norm: str = "FAN_IN"

    def numbers(self) -> dict[str, Any]:
        """The fields that differ from Caffe's defaults, the type first: what a text must say."""
        plain = Filler()
        made = {one.name: getattr(self, one.name) for one in fields(self)}
        return {"type": made.pop("type")} | {
            name: value for name, value in made.items() if value != getattr(plain, name)
        }


@dataclass(frozen=True, slots=True)
class Fan:
    """How many inputs meet in an output value, and how many outputs an input value reaches."""

    into: float
    out: float

    def n(self, variance_norm: str) -> float:
        """What a filler of this ``variance_norm`` divides by."""
        if variance_norm == "FAN_OUT":
            return self.out
        return (self.into + self.out) / 2 if variance_norm == "AVERAGE" else self.into


def caffes_fan(shape: Sequence[int]) -> Fan:
    """Caffe's rule: all values over the first axis, and over the second. It is wrong where the
    blob's first axis is not the outputs: Deconvolution, InnerProduct with ``transpose``, Embed."""
    count = math.prod(shape)
    if not shape:
        return Fan(1, 1)
    return Fan(count / shape[0], count / shape[1] if len(shape) > 1 else count)


# Standard deviation of what a random filler draws, by type (Glorot and Bengio 2010 for xavier,
# He et al. 2015 for msra, both with Caffe's constants).
DEVIATIONS: dict[str, Callable[[Filler, Fan], float]] = {
    "constant": lambda filler, fan: 0.0,
    "gaussian": lambda filler, fan: filler.std,
    "uniform": lambda filler, fan: (filler.max - filler.min) / math.sqrt(12),
    "xavier": lambda filler, fan: math.sqrt(1 / fan.n(filler.variance_norm)),
    "msra": lambda filler, fan: math.sqrt(2 / fan.n(filler.variance_norm)),
}
SHAPED = ("bilinear", "positive_unitball")  # they look at the blob as a whole
EXTRAS = ("orthogonal", "identity", "icnr", "lsuv")  # which Caffe does not have
CAFFES = (*DEVIATIONS, *SHAPED)


def chunks(
    filler: Filler, shape: Sequence[int], fan: Fan, stream: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """The values of a blob as chunks of one axis, in order.

    Args:
        fan: n of xavier and msra; see ``caffes_fan``.
        stream: whole numbers that name the blob's own stream; see ``stream_of``.

    Raises:
        InputError: the type is not known, or does not fit the shape.
    """
    import numpy as np

    if filler.type not in CAFFES:
        raise unknown(filler.type)
    if filler.type in SHAPED:
        yield _shaped(filler, shape, stream).reshape(-1)
        return
    count = math.prod(shape)
    lengths = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    if filler.type == "constant":
        full = np.full(min(CHUNK, count), filler.value, np.float32)
        yield from (full[:length] for length in lengths)
        return
    if filler.type in ("xavier", "msra") and not fan.n(filler.variance_norm) > 0:
        raise InputError("has no inputs to count", subject=f"{filler.type} filler")
    keep = filler.sparse / _outputs(shape, fan) if filler.sparse >= 0 else 1.0

    def draw(index: int) -> NDArray[np.float32]:
        return _draw(filler, fan, keep, lengths[index], [*stream, index])

    if len(lengths) == 1:
        yield draw(0)
        return
    yield from _in_threads(draw, len(lengths))


def _outputs(shape: Sequence[int], fan: Fan) -> float:
    """What ``sparse`` is divided by: with Caffe's own fan the first axis, as Caffe does, although
    it means inputs; else the inputs."""
    return shape[0] if fan == caffes_fan(shape) else fan.into


def _in_threads(
    draw: Callable[[int], NDArray[np.float32]], count: int
) -> Iterator[NDArray[np.float32]]:
    """Chunks in order, a few made ahead: numpy draws without Python's lock."""
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[Future[NDArray[np.float32]]] = deque()
        for index in range(count):
            coming.append(pool.submit(draw, index))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _draw(
    filler: Filler, fan: Fan, keep: float, length: int, stream: Sequence[int]
) -> NDArray[np.float32]:
    import numpy as np

    generator = _generator(stream)
    if filler.type in ("uniform", "xavier"):
        if filler.type == "xavier":
            high = math.sqrt(3 / fan.n(filler.variance_norm))
            low = -high
        else:
            low, high = filler.min, filler.max
        made = generator.random(length, np.float32)
        made *= np.float32(high - low)
        made += np.float32(low)
    else:
        made = generator.standard_normal(length, np.float32)
        made *= np.float32(DEVIATIONS[filler.type](filler, fan))
        if filler.type == "gaussian" and filler.mean:
            made += np.float32(filler.mean)
    if keep < 1:
        made *= generator.random(length, np.float32) < keep
    return made


def _shaped(filler: Filler, shape: Sequence[int], stream: Sequence[int]) -> NDArray[np.float32]:
    import numpy as np

    if filler.type == "positive_unitball":
        rows = _generator(stream).random((shape[0], math.prod(shape[1:])), np.float32)
        rows /= rows.sum(axis=1, keepdims=True)
        return rows
    if len(shape) != 4 or shape[2] != shape[3]:
        found = shape_text(shape)
        raise InputError(f"takes square kernels (4 axes), not {found}", subject="bilinear filler")
    made: NDArray[np.float32] = np.broadcast_to(bilinear(shape[2]), tuple(shape))
    return made


def stream_of(seed: int, layer: str, index: int) -> list[int]:
    """The numbers that name the stream of a layer's blob."""
    digest = hashlib.sha256(layer.encode("utf-8", "surrogateescape")).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return [seed, *words, index]


def _generator(stream: Sequence[int]) -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(stream))))


def orthogonal(rows: int, columns: int, stream: Sequence[int]) -> NDArray[np.float32]:
    """A matrix whose rows, or columns where those are fewer, are orthonormal (Saxe et al. 2014):
    the Q of a Gaussian matrix, with signs that make it uniform."""
    import numpy as np

    tall = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(_generator(stream).standard_normal(tall))
    q *= np.sign(np.diag(r))
    made = q if rows >= columns else q.T
    return np.ascontiguousarray(made, np.float32)


def identity(shape: Sequence[int], group: int = 1) -> NDArray[np.float32]:
    """Each output is the input of its number: ones at the kernels' centres."""
    import numpy as np

    made = np.zeros(tuple(shape), np.float32)
    into = shape[1]
    centre = tuple(n // 2 for n in shape[2:])
    for out in range(shape[0]):
        channel = out - out * group // shape[0] * into
        if 0 <= channel < into:
            made[(out, channel, *centre)] = 1
    return made


def unknown(type_: str) -> InputError:
    """An InputError for a filler's type that nobody has."""
    known = (*CAFFES, *EXTRAS)
    advice = did_you_mean(type_, known) or f"Known are {', '.join(known)}."
    return InputError("there is no such filler", subject=f'"{type_}"', advice=advice)


def parse_filler(text: str) -> Filler:
    """``msra``, ``gaussian:0.01``, ``constant:0.5``, ``uniform:-0.1,0.1`` or
    ``xavier:variance_norm=AVERAGE`` as a Filler.

    Raises:
        InputError: the type is not known, or what follows does not fit it.
    """
    type_, _, rest = text.partition(":")
    if type_ not in (*CAFFES, *EXTRAS):
        raise unknown(type_)
    unnamed = {"gaussian": ["std"], "constant": ["value"], "uniform": ["min", "max"]}.get(type_, [])
    found: dict[str, Any] = {}
    for place, word in enumerate(filter(None, rest.split(","))):
        key, equals, value = word.partition("=")
        if not equals:
            key, value = unnamed[place] if place < len(unnamed) else "", word
        found[key] = value
    return Filler(type_, **_numbers(text, found))


def _numbers(text: str, found: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in found.items():
        if key == "variance_norm" and value in ("FAN_IN", "FAN_OUT", "AVERAGE"):
            made[key] = value
            continue
        try:
            made[key] = int(value) if key == "sparse" else float(value)
        except ValueError:
            key = ""
        if key not in ("value", "min", "max", "mean", "std", "sparse"):
            raise InputError(
                "is no filler",
                subject=f'"{text}"',
                advice="Write it like msra, gaussian:0.01, uniform:-0.1,0.1 or "
                "xavier:variance_norm=AVERAGE.",
            )
    return made


def bilinear_profile(
    kernel: int, variant: Literal["bvlc", "classic"] = "bvlc"
) -> NDArray[np.float32]:
    """The one-dimensional profile of Caffe's ``bilinear`` filler: float32, shape (kernel,).

    Weight x is 1 - |x / F - c| with F = ceil(K / 2). Two centres c are in use:

    - ``bvlc``: c = (K - 1) / (2F), Caffe since 2017;
    - ``classic``: c = (2F - 1 - F mod 2) / (2F), Caffe before, and most forks.

    They differ only where K mod 4 is 2 or 3. Arithmetic is Caffe's own in float32.

    Raises:
        InputError: ``kernel`` is below 1, or the variant is unknown.
    """
    import numpy as np

    if kernel < 1:
        raise InputError(f"kernel size {kernel} is below 1", subject="bilinear filler")
    f = -(-kernel // 2)
    if variant == "bvlc":
        c = np.float32((kernel - 1) / (2.0 * f))
    elif variant == "classic":
        c = np.float32((2 * f - 1 - f % 2) / (2.0 * f))
    else:
        raise InputError(f"variant {variant!r} is not bvlc or classic", subject="bilinear filler")
    x = np.arange(kernel, dtype=np.float32)
    profile: NDArray[np.float32] = np.float32(1) - np.abs(x / np.float32(f) - c)
    return profile


def bilinear(
    kernel_h: int, kernel_w: int | None = None, variant: Literal["bvlc", "classic"] = "bvlc"
) -> NDArray[np.float32]:
    """Caffe's ``bilinear`` kernel: float32, shape (kernel_h, kernel_w).

    Caffe itself takes square kernels only; for them the result is Caffe's bit for bit.

    Raises:
        InputError: as ``bilinear_profile``.
    """
    import numpy as np

    rows = bilinear_profile(kernel_h, variant)
    columns = bilinear_profile(kernel_h if kernel_w is None else kernel_w, variant)
    kernel: NDArray[np.float32] = np.multiply.outer(rows, columns)
    return kernel
