"""Image files as inputs of nets."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.formats.weightfiles import missing
from protogen.geometry import shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape

BILINEAR = 2  # Pillow's code of the bilinear filter
GREY = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's modes without colour
ARRAYS = (".npy", ".npz")
# Not all formats of Pillow: the decoder of one of them starts an external program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 1 << 26


@contextmanager
def open_picture(path: str | Path, decode: bool = True) -> Iterator[Any]:
    """Open an image with Pillow. An image that is not decoded has only its size and mode.

    Raises:
        InputError: the format is not one of ``FORMATS``, or the image is damaged or too large.
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
                f"image has {image.width} x {image.height} pixels, expected at most {MOST_PIXELS}",
                where=str(path),
                advice="Resize it: nets read images of a few hundred pixels a side.",
            )
        yield image


def _opened(path: str | Path, decode: bool) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with ExitStack() as stack:
            image = stack.enter_context(Image.open(files.regular(path), formats=FORMATS))
            if decode and image.width * image.height <= MOST_PIXELS:
                image.load()
            stack.pop_all()
            return image
    except UnidentifiedImageError:
        contents.check_file(path, "picture")
        raise InputError(
            "not an image of a supported format",
            where=str(path),
            advice=f"Supported formats: {', '.join(FORMATS)}.",
        ) from None
    except Image.DecompressionBombError as error:
        raise InputError(str(error), where=str(path)) from None
    except OSError as error:
        raise files.unreadable(path, error) from None
    except (  # errors of Pillow's decoders on damaged files
        ArithmeticError,
        AttributeError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"damaged image ({error})", where=str(path)) from None


def read_pictures(
    paths: Sequence[str | Path], shape: Shape, exact: bool = False
) -> NDArray[np.float32]:
    """Read images as an input of shape (number of images, C, H, W), with values 0 to 255.

    Images are resized to H x W with Pillow's bilinear filter. The channels are blue, green, red as
    in Caffe, or grey if C is 1.

    Args:
        exact: raise InputError for a grey image if the input has three channels. Otherwise the grey
            values are copied to each channel.

    Raises:
        InputError: a file is not a supported image, or the input's shape is not that of images.
        UnsupportedError: Pillow is not installed, or the images need more memory than this machine has.
    """
    import numpy as np

    from protogen.running.runtime import check_inputs

    if len(shape) != 4 or shape[1] not in (1, 3):
        raise InputError(
            f"an input of {shape_text(shape)} cannot take images: expected 4 axes and 1 or 3 channels",
            advice="Give an .npy array.",
        )
    check_inputs({"images": (len(paths), *shape[1:])})
    images = np.empty((len(paths), *shape[1:]), np.float32)
    for i, path in enumerate(paths):
        with open_picture(path) as image:
            if exact and shape[1] == 3 and image.mode in GREY:
                raise InputError(
                    "is grey, but the input has 3 channels, which would all get the same values",
                    where=str(path),
                    advice="Use colour images, or a net with 1 channel.",
                )
            pixels = image.convert("L" if shape[1] == 1 else "RGB").resize(
                (shape[3], shape[2]), BILINEAR
            )
        array = np.asarray(pixels, np.float32)
        images[i] = array[None] if shape[1] == 1 else array.transpose(2, 0, 1)[::-1]
    return images
