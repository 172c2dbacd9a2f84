"""Mean, deviation and covariance of image folders, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.errors import InputError
from protogen.geometry import shape_text
from protogen.preprocessing.datasets import find_pictures, read_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLED = 20_000  # maximum number of pixels for a plot


@dataclass(frozen=True, repr=False)
class Statistics(Shown):
    """Statistics of images. Channels are blue, green, red, or grey; values are from 0 to 255.

    Attributes:
        count: the number of images.
        mean: the mean image (C, H, W).
        channel_mean, channel_std: of each channel over all pixels (C,).
        covariance: of the channels over all pixels (C, C).
        pixels: a random sample of pixels (n, C).
    """

    count: int
    mean: NDArray[np.float64]
    channel_mean: NDArray[np.float64]
    channel_std: NDArray[np.float64]
    covariance: NDArray[np.float64]
    pixels: NDArray[np.float32]

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON, without the mean image."""
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
    """Compute the statistics of images; one image is in memory at a time.

    Args:
        paths: files and folders.
        size: height and width to resize all images to; by default all must have the same size.
        grey: convert all images to grey.
        progress: callback with the number of images that are read, and of all images.

    Raises:
        InputError: there are no images, one cannot be read, or sizes differ.
    """
    files = find_pictures(paths)
    height, width = size or _size(files[0])
    shape = (1, 1 if grey else 3, height, width)

    def checked() -> Iterable[NDArray[np.float32]]:
        for i, path in enumerate(files):
            if size is None and (actual := _size(path)) != (height, width):
                raise InputError(
                    f"expected {height}x{width}, the size of {files[0].name}, got "
                    f"{actual[0]}x{actual[1]}",
                    where=str(path),
                    advice="Resize all images: --size 256,256.",
                )
            yield from read_each([path], shape)
            if progress:
                progress(i + 1, len(files))

    return gather(checked())


def gather(pictures: Iterable[NDArray[np.floating]]) -> Statistics:
    """Compute the statistics of arrays (C, H, W) of the same shape; sums are float64.

    Raises:
        InputError: there are no arrays.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    total: Any = None
    products: Any = None
    samples: list[NDArray[np.float32]] = []
    count = 0
    for picture in pictures:
        values = picture.astype(np.float64)
        rows = values.reshape(len(values), -1)
        if total is None:
            total, products = np.zeros_like(values), np.zeros((len(values),) * 2)
        total += values
        products += rows @ rows.T
        count += 1
        if sum(len(sample) for sample in samples) < _SAMPLED:
            indices = generator.integers(0, rows.shape[1], min(rows.shape[1], 500))
            samples.append(rows[:, indices].T.astype(np.float32))
    if not count:
        raise InputError("there are no images")
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
        np.concatenate(samples)[:_SAMPLED],
    )


def _size(path: Path) -> tuple[int, int]:
    """Return height and width of an image without decoding it."""
    from protogen.running.pictures import open_picture

    with open_picture(path, decode=False) as picture:
        return picture.height, picture.width


def whitening(covariance: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the matrix that decorrelates channels.

    Args:
        covariance: the covariance of the channels (C, C).
        kind: ``rotate`` converts to principal components, the largest first. ``pca`` also scales
            them to deviation 1. ``zca`` also rotates back; of all whitened data the result is
            nearest to the original colours (Bell and Sejnowski 1997).

    Raises:
        InputError: the kind is unknown, or the data does not vary in some direction.
    """
    import numpy as np

    if kind not in ("rotate", "pca", "zca"):
        raise InputError(f"expected zca, pca or rotate, got {kind!r}", subject="whiten")
    covariance = np.asarray(covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise InputError(
            f"expected a square matrix, got shape {shape_text(covariance.shape, 'scalar')}",
            subject="covariance",
        )
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    # The sign of an eigenvector is arbitrary: this choice makes its sum positive.
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)
    rotation: NDArray[np.float64] = vectors.T
    if kind == "rotate":
        return rotation
    if values[-1] <= 1e-9 * max(values[0], 1e-30):
        raise InputError(
            "the channels are linearly dependent and cannot be whitened",
            advice="Grey images that are stored in colour have equal channels: use --std.",
        )
    scaled: NDArray[np.float64] = rotation / np.sqrt(values)[:, None]
    return scaled if kind == "pca" else vectors @ scaled
