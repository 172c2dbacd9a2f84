"""Weight fillers: what Caffe writes into a parameter blob before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from protogen.errors import InputError, layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        raise InputError(layout(f"kernel size {kernel} is below 1", subject="bilinear filler"))
    f = -(-kernel // 2)
    if variant == "bvlc":
        c = np.float32((kernel - 1) / (2.0 * f))
    elif variant == "classic":
        c = np.float32((2 * f - 1 - f % 2) / (2.0 * f))
    else:
        raise InputError(
            layout(f"variant {variant!r} is not bvlc or classic", subject="bilinear filler")
        )
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
