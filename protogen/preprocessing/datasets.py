"""Folders of pictures as data, one picture in memory at a time."""

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

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
BATCH = 64


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """Picture files: those named, and all below the folders named, by name.

    Raises:
        InputError: a path does not exist, or there are no pictures.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS)
        elif path.exists():
            found.append(path)
        else:
            raise InputError("is not there", where=str(path), advice="Check the path.")
    if not found:
        shown = ", ".join(map(str, paths))
        raise InputError(
            "holds no pictures", where=shown, advice=f"Known endings: {' '.join(ENDINGS)}."
        )
    return found


def read_each(paths: Sequence[Path], shape: Shape) -> Iterator[NDArray[np.float32]]:
    """Each picture as (C, H, W): see ``pictures.read_pictures``."""
    for path in paths:
        yield read_pictures([path], shape, exact=True)[0]


def batch_of_pictures(net: Net, folder: str | Path, shape: Shape) -> NDArray[np.float32]:
    """The first pictures of a folder as a net eats them: what the ``transform_param`` of its data
    layer says is done to them.

    Raises:
        InputError: there are no pictures, or the input takes none.
    """
    found = find_pictures([folder])[: max(BATCH, 1)]
    pictures = read_pictures(found, (len(found), *shape[1:]), exact=True)
    transform = transform_of(net.message)
    return transform.apply(pictures) if transform is not None else pictures
