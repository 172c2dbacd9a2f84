"""Mean, deviation and covariance of a folder of pictures, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.preprocessing.datasets import find_pictures, read_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEPT = 20_000  # pixels that are kept for a plot


@dataclass(frozen=True)
class Statistics:
    """Of ``count`` pictures: ``mean`` (C, H, W) is the mean picture; ``channel_mean``, ``channel_std``
    and ``covariance`` (C, C) are over all pixels. Channels are blue, green, red, or grey; values
    0 to 255. ``pixels`` (n, C) are a sample."""

    count: int
    mean: NDArray[np.float64]
    channel_mean: NDArray[np.float64]
    channel_std: NDArray[np.float64]
    covariance: NDArray[np.float64]
    pixels: NDArray[np.float32]

    def plain(self) -> dict[str, Any]:
        """As data for JSON, without the mean picture."""
        return {
            "pictures": self.count,
            "shape": list(self.mean.shape),
            "mean": self.channel_mean.tolist(),
            "std": self.channel_std.tolist(),
            "covariance": self.covariance.tolist(),
        }


def picture_statistics(
    paths: Sequence[str | Path],
    size: tuple[int, int] | None = None,
    grey: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Statistics:
    """The statistics of pictures, read one after the other.

    Args:
        paths: files and folders.
        size: height and width that all are resized to; else all must have one size.
        progress: is told how many are done, and how many there are.

    Raises:
        InputError: there are none, one cannot be read, or sizes differ.
    """
    found = find_pictures(paths)
    first = size or _size(found[0])
    shape = (1, 1 if grey else 3, *first)

    def checked() -> Iterable[NDArray[np.float32]]:
        for i, path in enumerate(found):
            if size is None and (own := _size(path)) != first:
                raise InputError(
                    f"is {own[0]}x{own[1]}, but {found[0].name} is {first[0]}x{first[1]}",
                    where=str(path),
                    advice="Give one size for all: --size 256,256.",
                )
            yield from read_each([path], shape)
            if progress:
                progress(i + 1, len(found))

    return gather(checked())


def gather(pictures: Iterable[NDArray[np.floating]]) -> Statistics:
    """The same of arrays (C, H, W) of one shape; sums are float64."""
    import numpy as np

    generator = np.random.default_rng(0)
    total: Any = None
    products: Any = None
    kept: list[NDArray[np.float32]] = []
    count = 0
    for picture in pictures:
        wide = picture.astype(np.float64)
        rows = wide.reshape(len(wide), -1)
        if total is None:
            total, products = np.zeros_like(wide), np.zeros((len(wide),) * 2)
        total += wide
        products += rows @ rows.T
        count += 1
        if sum(len(one) for one in kept) < _KEPT:
            chosen = generator.integers(0, rows.shape[1], min(rows.shape[1], 500))
            kept.append(rows[:, chosen].T.astype(np.float32))
    if not count:
        raise InputError("there are no pictures")
    mean = total / count
    channels = mean.reshape(len(mean), -1).mean(axis=1)
    pixels = count * mean[0].size
    covariance = products / pixels - np.outer(channels, channels)
    return Statistics(
        count,
        mean,
        channels,
        np.sqrt(np.maximum(np.diag(covariance), 0)),
        covariance,
        np.concatenate(kept)[:_KEPT],
    )


def _size(path: Path) -> tuple[int, int]:
    """Height and width, without decoding the picture."""
    from protogen.running.pictures import open_picture

    with open_picture(path, decode=False) as picture:
        return picture.height, picture.width


def whitening(covariance: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """The matrix that decorrelates channels: ``rotate`` turns them into principal components
    (largest first), ``pca`` gives these deviation 1 as well, ``zca`` turns them back, so that
    colours stay as near to what they were as white data can (Bell and Sejnowski 1997).

    Raises:
        InputError: the kind is not known, or the data does not vary in some direction.
    """
    import numpy as np

    if kind not in ("rotate", "pca", "zca"):
        raise InputError(f"{kind!r} is not zca, pca or rotate", subject="whiten")
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.where(
        vectors.sum(axis=0) < 0, -1, 1
    )  # the sign is free: mostly positive
    turned: NDArray[np.float64] = vectors.T
    if kind == "rotate":
        return turned
    if values[-1] <= 1e-9 * max(values[0], 1e-30):
        raise InputError(
            "the channels depend on each other, so that they cannot be whitened",
            advice="Grey pictures in colour have one direction only: use --std.",
        )
    made: NDArray[np.float64] = turned / np.sqrt(values)[:, None]
    return made if kind == "pca" else vectors @ made
