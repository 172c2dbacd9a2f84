"""Two matrix products along height and width, as convolutions along the channels between Reshapes."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from protogen.geometry import Shape
from protogen.resampling.steps import Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]

_ZERO = {"type": "constant", "value": 0}


def mix_by_channels(writer: Writer, bottom: str, rows: Matrix, columns: Matrix) -> str:
    """Emit rows x columns^T for each channel.

    (N C, H, W, 1) and (N, 1, C H', W) are the bottoms of the two convolutions: the first has the
    rows as channels, the kernel of the second is one row wide. Its top (N, W', C H', 1) has the
    columns as channels; a Permute, or a Deconvolution of a single 1 for each, moves them back.
    """
    n, c, height, width = writer.shapes[bottom]
    out_h, out_w = rows.shape[0], columns.shape[0]
    blob = bottom
    if not _is_identity(rows):
        blob = _reshape(writer, blob, "rows_first", (n * c, height, width, 1))
        weight = rows[:, :, None, None]
        blob = _convolve(writer, blob, "rows", weight, (n * c, out_h, width, 1))
    if _is_identity(columns):
        return _reshape(writer, blob, "rows_back", (n, c, out_h, out_w))
    blob = _reshape(writer, blob, "columns_last", (n, 1, c * out_h, width))
    weight = columns[:, None, None, :]
    blob = _convolve(writer, blob, "columns", weight, (n, out_w, c * out_h, 1))
    if writer.form.mixing == "permute":
        order = {"permute_param": {"order": [0, 2, 3, 1]}}
        after: Shape = (n, c * out_h, 1, out_w)
        blob = writer.add("Permute", "columns_back", [blob], order, after, features=["permute"])
    else:
        blob = _one_hot(writer, blob, (n, 1, c * out_h, out_w))
    return _reshape(writer, blob, "planes", (n, c, out_h, out_w))


def _is_identity(matrix: Matrix) -> bool:
    import numpy as np

    square = matrix.shape[0] == matrix.shape[1]
    return square and bool(np.array_equal(matrix, np.eye(len(matrix))))


def _reshape(writer: Writer, blob: str, role: str, shape: Shape) -> str:
    if writer.shapes[blob] == shape:
        return blob
    params = {"reshape_param": {"shape": {"dim": list(shape)}}}
    return writer.add("Reshape", role, [blob], params, shape, features=["reshape"])


def _convolve(writer: Writer, blob: str, role: str, weight: Matrix, after: Shape) -> str:
    import numpy as np

    kernel_h, kernel_w = weight.shape[2:]
    window: dict[str, Any] = {"kernel_size": 1}
    if kernel_w > 1:
        window = {"kernel_h": int(kernel_h), "kernel_w": int(kernel_w)}
    params = {"num_output": weight.shape[0], **window, "weight_filler": _ZERO, "bias_term": False}
    return writer.add(
        "Convolution",
        role,
        [blob],
        {"convolution_param": params},
        after,
        blob=weight.shape,
        make=lambda: weight.astype(np.float32),
        multiply_adds=math.prod(after) * math.prod(weight.shape[1:]),
    )


def _one_hot(writer: Writer, blob: str, after: Shape) -> str:
    import numpy as np

    channels = after[3]
    params = {
        "num_output": 1, "kernel_h": 1, "kernel_w": channels, "stride_h": 1, "stride_w": channels,
        "weight_filler": _ZERO, "bias_term": False,
    }  # fmt: skip
    shape = (channels, 1, 1, channels)
    return writer.add(
        "Deconvolution",
        "columns_back",
        [blob],
        {"convolution_param": params},
        after,
        blob=shape,
        make=partial(np.reshape, np.eye(channels, dtype=np.float32), shape),
        features=["deconvolution"],
        multiply_adds=math.prod(after) * channels,
    )
