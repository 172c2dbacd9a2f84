"""Pictures and arrays as inputs of nets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, layout
from protogen.weightfiles import missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.graph import Shape

BILINEAR = 2  # Pillow's number of the filter
GREY = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's modes without colours
ARRAYS = (".npy", ".npz")


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, or the one of an .npy under an empty name.

    Raises:
        InputError: it cannot be read, or holds objects.
    """
    import zipfile

    import numpy as np

    try:
        with Path(path).open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return {"": found}
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise InputError(
            layout(f"cannot be read ({error.strerror or error})", where=str(path))
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(layout(f"is no array file: {error}", where=str(path))) from None


@contextmanager
def open_picture(path: str | Path) -> Iterator[Any]:
    """A picture of Pillow's, not decoded yet.

    Raises:
        InputError: it is none, or cannot be read.
        UnsupportedError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise missing("Pillow", "picture") from None
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError:
        raise InputError(layout("is no picture that Pillow reads", where=str(path))) from None
    except OSError as error:
        raise InputError(
            layout(f"cannot be read ({error.strerror or error})", where=str(path))
        ) from None


def read_pictures(
    paths: Sequence[str | Path], shape: Shape, exact: bool = False
) -> NDArray[np.float32]:
    """Pictures as an input: (number of pictures, C, H, W), values 0 to 255, resized to H x W with
    Pillow's bilinear filter, channels blue, green, red as Caffe has them (or grey for C 1).

    Args:
        exact: a grey picture for an input of three channels is a mistake; else it is shown in each.

    Raises:
        InputError: a file is no picture, or the input is none.
        UnsupportedError: Pillow is not installed.
    """
    import numpy as np

    if len(shape) != 4 or shape[1] not in (1, 3):
        found = "x".join(map(str, shape))
        raise InputError(
            layout(f"an input of {found} takes no picture", advice="Give an .npy array.")
        )
    made = np.empty((len(paths), *shape[1:]), np.float32)
    for i, path in enumerate(paths):
        with open_picture(path) as image:
            if exact and shape[1] == 3 and image.mode in GREY:
                raise InputError(
                    layout("is grey, but the input has 3 channels, which would all show the same",
                           where=str(path), advice="Use colour pictures, or a net with 1 channel.")
                )  # fmt: skip
            pixels = image.convert("L" if shape[1] == 1 else "RGB").resize(
                (shape[3], shape[2]), BILINEAR
            )
        array = np.asarray(pixels, np.float32)
        made[i] = array[None] if shape[1] == 1 else array.transpose(2, 0, 1)[::-1]
    return made
