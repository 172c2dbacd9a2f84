"""Folders of images as data, with one image in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.preprocessing.transforms import transform_of
from protogen.running.pictures import read_pictures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.net.net import Net

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
BATCH = 64  # images


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """Return the named image files, and all image files in the named folders, sorted by name.

    Raises:
        InputError: a path does not exist, or there are no images.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(one for one in path.rglob("*") if one.suffix.lower() in EXTENSIONS)
        elif path.exists():
            files.append(path)
        else:
            raise InputError("does not exist", where=str(path), advice="Check the path.")
    if not files:
        raise InputError(
            "contains no images",
            where=", ".join(map(str, paths)),
            advice=f"Supported file extensions: {' '.join(EXTENSIONS)}.",
        )
    return files


def read_each(paths: Sequence[Path], shape: Shape) -> Iterator[NDArray[np.float32]]:
    """Read images one at a time, each as (C, H, W): see ``pictures.read_pictures``."""
    for path in paths:
        yield read_pictures([path], shape, exact=True)[0]


def batch_of_pictures(net: Net, folder: str | Path, shape: Shape) -> NDArray[np.float32]:
    """Read the first 64 images of a folder, with the ``transform_param`` of the net's data layer.

    Args:
        shape: the shape of the net's input (N, C, H, W).

    Raises:
        InputError: there are no images, or they do not fit the input.
    """
    files = find_pictures([folder])[:BATCH]
    pictures = read_pictures(files, (len(files), *shape[1:]), exact=True)
    transform = transform_of(net.message)
    return transform.apply(pictures) if transform is not None else pictures
