"""Mean files: .binaryproto (one BlobProto), .npy, and 8-bit PNG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError
from protogen.formats import contents, files, wire
from protogen.formats.arrayfiles import read_arrays
from protogen.formats.blobs import parse_blob
from protogen.formats.caffemodel import blob_bytes
from protogen.formats.weightfiles import missing
from protogen.geometry import shape_text
from protogen.running.pictures import open_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (".binaryproto", ".npy", ".png")


def check_suffix(path: str | Path) -> None:
    """Raise InputError if the file's extension is not that of a mean file."""
    if Path(path).suffix not in SUFFIXES:
        raise _unsupported(path)


def read(path: str | Path) -> NDArray[np.floating]:
    """Return the (C, H, W) array of a mean file, channels in Caffe's order (blue, green, red).

    Raises:
        InputError: the file cannot be read, is damaged, or has an unsupported extension.
        UnsupportedError: the file is a PNG, and Pillow is not installed.
    """
    if not os.path.exists(path):
        check_suffix(path)
    kind = contents.checked_kind(path, "mean")
    suffix = {"npy": ".npy", "png": ".png", "mean": ".binaryproto"}.get(kind, Path(path).suffix)
    if kind not in ("npy", "png", "mean"):
        check_suffix(path)
    try:
        if suffix == ".binaryproto":
            return _read_blob(path)
        if suffix == ".npy":
            return _read_npy(path)
        return _read_png(path)
    except OSError as error:
        raise files.unreadable(path, error) from None


def write(file: BinaryIO, mean: NDArray[np.floating], suffix: str) -> None:
    """Write a (C, H, W) array in the format of a file extension.

    Raises:
        InputError: the extension is unsupported, or the values do not fit a PNG.
        UnsupportedError: the format is PNG, and Pillow is not installed.
    """
    import numpy as np

    if suffix == ".binaryproto":
        # Caffe's own mean files have a leading axis of one sample.
        head, values = blob_bytes(mean[None] if mean.ndim == 3 else mean)
        file.write(head)
        file.write(values)
    elif suffix == ".npy":
        np.save(file, np.asarray(mean, np.float32), allow_pickle=False)
    elif suffix == ".png":
        _write_png(file, mean)
    else:
        raise _unsupported(suffix)


def _read_blob(path: str | Path) -> NDArray[np.floating]:
    with files.opened(path) as file:
        raw = file.read()
    data = wire.Bytes(raw, str(path))
    blob = parse_blob(data, wire.Span(0, wire.BYTES, 0, len(raw), 0))
    if not blob.count:
        raise InputError(
            "contains no values",
            where=str(path),
            advice="The file is empty or not a .binaryproto file.",
        )
    return _image(blob.array(), str(path))


def _read_npy(path: str | Path) -> NDArray[np.floating]:
    import numpy as np

    array = read_arrays(path).get("")
    if array is None:
        raise InputError("expected one array, got an archive", where=str(path))
    if array.dtype.kind not in "fiu" or not array.size:
        raise InputError(
            f"expected numbers, got {array.dtype} of shape {array.shape}", where=str(path)
        )
    with np.errstate(over="ignore"):
        return _image(array.astype(np.float32), str(path))


def _image(mean: NDArray[np.floating], where: str) -> NDArray[np.floating]:
    """Return a mean as (C,) or (C, H, W). Caffe's own mean files have a leading axis of one sample; a
    grey image may have no axis for its channel.

    Raises:
        InputError: there are several samples, or another number of axes.
    """
    while mean.ndim > 3 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim == 2:
        mean = mean[None]
    if mean.ndim not in (1, 3):
        raise InputError(
            f"expected a mean of shape C, or C x H x W, got {shape_text(mean.shape, 'a scalar')}",
            where=where,
        )
    return mean


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise missing("Pillow", "picture") from None
    return Image


def _read_png(path: str | Path) -> NDArray[np.floating]:
    import numpy as np

    with open_picture(path) as image:
        array = np.asarray(image if image.mode == "L" else image.convert("RGB"), np.float32)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)[::-1]


def _write_png(file: BinaryIO, mean: NDArray[np.floating]) -> None:
    import numpy as np

    if mean.ndim != 3 or mean.shape[0] not in (1, 3):
        raise InputError(
            f"a PNG must have shape (1, H, W) or (3, H, W), got {mean.shape}",
            advice="Write .npy instead.",
        )
    low, high = float(mean.min()), float(mean.max())
    if not (low >= -0.5 and high < 255.5):
        raise InputError(
            f"values from {low:.4g} to {high:.4g} do not fit an 8-bit PNG",
            advice="Write .npy instead.",
        )
    pixels = np.rint(mean).astype(np.uint8)
    image = pixels[0] if len(pixels) == 1 else pixels[::-1].transpose(1, 2, 0)
    _pillow().fromarray(np.ascontiguousarray(image)).save(file, "PNG")


def _unsupported(path: str | Path) -> InputError:
    return InputError(
        f"unsupported mean file extension: expected {', '.join(SUFFIXES)}", where=str(path)
    )
