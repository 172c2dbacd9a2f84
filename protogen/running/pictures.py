"""Pictures and arrays as inputs of nets."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.weightfiles import missing
from protogen.geometry import shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape

BILINEAR = 2  # Pillow's number of the filter
GREY = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's modes without colours
ARRAYS = (".npy", ".npz")
# Not every form of Pillow's: one of them starts other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 1 << 26


@contextmanager
def open_picture(path: str | Path, decode: bool = True) -> Iterator[Any]:
    """A picture of Pillow's; one that is not decoded has its size and mode.

    Raises:
        InputError: it is none of the forms that training sets have, is damaged, or too large.
        UnsupportedError: Pillow is not installed.
    """
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise missing("Pillow", "picture") from None
    with ExitStack() as stack:
        image = stack.enter_context(_opened(path, decode))
        if image.width * image.height > MOST_PIXELS:
            raise InputError(
                f"{image.width} x {image.height} pixels are more than {MOST_PIXELS}",
                where=str(path),
                advice="Make it smaller: nets see a few hundred a side.",
            )
        yield image


def _opened(path: str | Path, decode: bool) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with ExitStack() as stack:
            image = stack.enter_context(Image.open(path, formats=FORMATS))
            if decode and image.width * image.height <= MOST_PIXELS:
                image.load()
            stack.pop_all()
            return image
    except UnidentifiedImageError:
        raise InputError(
            "is no picture", where=str(path), advice=f"Known are {', '.join(FORMATS)}."
        ) from None
    except Image.DecompressionBombError as error:
        raise InputError(str(error), where=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    except (  # what Pillow's decoders stumble over in damaged files
        ArithmeticError,
        AttributeError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"is a damaged picture ({error})", where=str(path)) from None


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
        found = shape_text(shape)
        raise InputError(f"an input of {found} takes no picture", advice="Give an .npy array.")
    made = np.empty((len(paths), *shape[1:]), np.float32)
    for i, path in enumerate(paths):
        with open_picture(path) as image:
            if exact and shape[1] == 3 and image.mode in GREY:
                raise InputError(
                    "is grey, but the input has 3 channels, which would all show the same",
                    where=str(path),
                    advice="Use colour pictures, or a net with 1 channel.",
                )
            pixels = image.convert("L" if shape[1] == 1 else "RGB").resize(
                (shape[3], shape[2]), BILINEAR
            )
        array = np.asarray(pixels, np.float32)
        made[i] = array[None] if shape[1] == 1 else array.transpose(2, 0, 1)[::-1]
    return made
