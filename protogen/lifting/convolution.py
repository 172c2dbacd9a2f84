"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen import geometry
from protogen.lifting.core import Lifter, lifts
from protogen.lifting.forms import window


@lifts("Conv")
def conv(
    to: Lifter, x: str, w: str, b: str | None = None, *, kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None, group: int = 1, auto_pad: str = "NOTSET",
) -> None:  # fmt: skip
    """Convolution; weights are the same in both, blob for blob. Pads that differ at the two ends
    become a kernel that is extended by zeros at one of them."""
    import numpy as np

    weight = to.wanted(w, "weight")
    axes = weight.ndim - 2
    size = to.shape(x)[2:]
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    low, high = pads_of(pads, auto_pad, size, weight.shape[2:], strides, dilations)
    wide = [max(a, c) for a, c in zip(low, high, strict=True)]
    if wide != low or wide != high:
        weight, wide = asymmetric(to, weight, low, high, strides, dilations, size)
    params = window(weight.shape[2:], strides, wide, dilations)
    params = {"num_output": weight.shape[0], **params, **({"group": group} if group > 1 else {})}
    bias = None if not b else to.wanted(b, "bias")
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] + ([] if bias is None else [np.asarray(bias)])
    to.add("Convolution", [x], {"convolution_param": params}, blobs)


@lifts("ConvTranspose")
def conv_transpose(
    to: Lifter, x: str, w: str, b: str | None = None, *, kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None, group: int = 1, auto_pad: str = "NOTSET",
    output_padding: Sequence[int] | None = None, output_shape: Sequence[int] | None = None,
) -> None:  # fmt: skip
    """Deconvolution; weights are the same in both. Caffe crops both ends by ``pad``: where ONNX
    crops less at the high end (output_padding, uneven pads), zeros extend the kernel there."""
    import numpy as np

    weight = to.wanted(w, "weight")
    axes = weight.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    size, out = to.shape(x)[2:], to.shape(to.out)[2:]
    given = list(pads or [0] * 2 * axes)
    wide, zeros = [], []
    for i in range(axes):
        low = given[i]
        if auto_pad not in ("NOTSET", "VALID") or output_shape:
            full = geometry.deconv_out(size[i], weight.shape[2 + i], strides[i], 0, dilations[i])
            total = full - out[i]
            low = total - total // 2 if auto_pad == "SAME_LOWER" else total // 2
        # out = s (n - 1) + K' - 2 p with the kernel's extent K' and p = low
        extent = out[i] - strides[i] * (size[i] - 1) + 2 * low
        zeros.append(extent - geometry.kernel_extent(weight.shape[2 + i], dilations[i]))
        wide.append(low)
    if min(zeros) < 0 or any(z and d > 1 for z, d in zip(zeros, dilations, strict=True)):
        raise to.refuse("its pads at the two ends differ in a way that no kernel makes up for")
    if any(zeros):
        weight = np.pad(weight, [(0, 0), (0, 0), *((0, z) for z in zeros)])
    params = window(weight.shape[2:], strides, wide, dilations)
    params = {
        "num_output": weight.shape[1] * group,
        **params,
        **({"group": group} if group > 1 else {}),
    }
    bias = None if not b else to.wanted(b, "bias")
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] + ([] if bias is None else [bias])
    to.add("Deconvolution", [x], {"convolution_param": params}, blobs)


def pads_of(
    pads: Sequence[int] | None, auto_pad: str, size: Sequence[int], kernel: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int],
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Pads at the low and the high end of each axis."""
    axes = len(kernel)
    if auto_pad == "NOTSET":
        given = list(pads or [0] * 2 * axes)
        return given[:axes], given[axes:]
    if auto_pad == "VALID":
        return [0] * axes, [0] * axes
    low, high = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + geometry.kernel_extent(k, d) - n)
        small, large = total // 2, total - total // 2
        low.append(large if auto_pad == "SAME_LOWER" else small)
        high.append(small if auto_pad == "SAME_LOWER" else large)
    return low, high


def asymmetric(
    to: Lifter, weight: Any, low: list[int], high: list[int], strides: Sequence[int],
    dilations: Sequence[int], size: Sequence[int],
) -> tuple[Any, list[int]]:  # fmt: skip
    """Kernel and pad of a Convolution whose pads differ: the larger pad on both sides, and zeros
    where the window then begins too early or ends too late."""
    import numpy as np

    wide, zeros = [], []
    for i, (a, c) in enumerate(zip(low, high, strict=True)):
        pad, d, s = max(a, c), dilations[i], strides[i]
        before, behind = pad - a, pad - c  # how much more than wanted at each end
        if before % d or behind % d:
            raise to.refuse(f"pads {a} and {c} with dilation {d} have no form in Caffe")
        kernel = weight.shape[2 + i] + before // d
        wanted = (size[i] + a + c - geometry.kernel_extent(weight.shape[2 + i], d)) // s + 1
        more = 0
        while geometry.conv_out(size[i], kernel + more, s, pad, d) > wanted:
            more += 1
        wide.append(pad)
        zeros.append((before // d, more))
    return np.pad(weight, [(0, 0), (0, 0), *zeros]), wide
