"""Forms of Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen import geometry
from protogen.layers.base import kind_of
from protogen.layers.forms.blocks import depthwise, image, only, window
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.layers.base import Window


def _window(layer: Layer, r: Rewriter) -> tuple[Window, tuple[int, int], tuple[int, int]]:
    """Return the window of a Pooling of images, and the height and width of bottom and top."""
    shape = image(layer, r)
    kind = kind_of(layer)
    assert kind is not None
    w = kind.window(layer, [shape])
    only(layer, w is not None and len(w.kernel) == 2, "it does not have two spatial axes")
    only(layer, len(layer.tops) == 1, "it has a second top")
    assert w is not None
    only(layer, not w.end, "its pads differ between the ends")
    top = kind.shapes(layer, [shape])[0]
    assert top is not None
    return w, (shape[2], shape[3]), (top[2], top[3])


def _pool(layer: Layer, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int]) -> Any:
    params = {"pool": layer.params.pooling_param.pool, **window(kernel, stride, pad)}
    return {"pooling_param": params}


def _is(layer: Layer, kind: str) -> None:
    pool = str(layer.params.pooling_param.pool)
    only(layer, pool == kind, f"it is not a Pooling {kind}")


@form("Pooling", text="Pooling that rounds up, and a depthwise convolution that crops")
def floor_by_crop(layer: Layer, r: Rewriter) -> None:
    """Caffe's Pooling rounds up; a kernel with one 1 drops the last row and column."""
    import numpy as np

    w, size, out = _window(layer, r)
    more = geometry.pool_windows(size, w.kernel, w.stride, w.pad, True)
    only(layer, tuple(more) != out, "rounding up gives the same windows")
    extra = [a - b for a, b in zip(more, out, strict=True)]
    x = r.add(
        "Pooling", layer.bottoms, role="rounded_up", params=_pool(layer, w.kernel, w.stride, w.pad)
    )
    kernel = np.zeros((extra[0] + 1, extra[1] + 1), np.float32)
    kernel[0, 0] = 1
    depthwise(r, x, kernel, channels=r.shape(layer.bottoms[0])[1])


@form("Pooling", text="Pooling that rounds up, and Slices that crop")
def floor_by_slices(layer: Layer, r: Rewriter) -> None:
    w, size, out = _window(layer, r)
    more = geometry.pool_windows(size, w.kernel, w.stride, w.pad, True)
    only(layer, tuple(more) != out, "rounding up gives the same windows")
    x = r.add(
        "Pooling", layer.bottoms, role="rounded_up", params=_pool(layer, w.kernel, w.stride, w.pad)
    )
    cut = [axis for axis in (0, 1) if more[axis] != out[axis]]
    for axis in cut:
        tops = r.split(x, f"crop{axis}", 2 + axis, [out[axis]])
        x = tops[0]
    r.add("Power", [x])


@form("Pooling", text="maximum with stride 1, and a depthwise convolution with the stride")
def maximum_then_stride(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    w, size, out = _window(layer, r)
    _is(layer, "MAX")
    only(layer, max(w.stride) > 1, "its stride is 1")
    dense = geometry.pool_windows(size, w.kernel, (1, 1), w.pad, True)
    strided = [-(-n // s) for n, s in zip(dense, w.stride, strict=True)]
    only(layer, tuple(strided) == out, "the windows differ")
    params = _pool(layer, w.kernel, (1, 1), w.pad)
    x = r.add("Pooling", layer.bottoms, role="dense", params=params)
    kernel = np.ones((1, 1), np.float32)
    depthwise(r, x, kernel, stride=w.stride, channels=r.shape(layer.bottoms[0])[1])


@form("Pooling", text="depthwise convolution")
def average_by_convolution(layer: Layer, r: Rewriter) -> None:
    """Equal weights 1 / (kernel area). It fits where each window lies inside the padded bottom."""
    import numpy as np

    w, size, out = _window(layer, r)
    _is(layer, "AVE")
    whole = [
        (o - 1) * s + k <= n + 2 * p and (n + 2 * p - k) // s + 1 == o
        for o, s, k, n, p in zip(out, w.stride, w.kernel, size, w.pad, strict=True)
    ]
    only(layer, all(whole), "its last windows are cut off")
    kernel = np.full(w.kernel, 1 / (w.kernel[0] * w.kernel[1]), np.float32)
    channels = r.shape(layer.bottoms[0])[1]
    depthwise(r, layer.bottoms[0], kernel, stride=w.stride, pad=w.pad, channels=channels)


@form("Pooling", text="depthwise convolution of a larger pad, cropped and scaled")
def cut_average_by_convolution(layer: Layer, r: Rewriter) -> None:
    """Sums by a depthwise convolution, times one factor for each window: Caffe divides a window
    that is cut off by the pixels inside of the padded bottom."""
    import numpy as np

    w, size, out = _window(layer, r)
    _is(layer, "AVE")
    channels = r.shape(layer.bottoms[0])[1]
    counts, pads = [], []
    for o, s, k, n, p in zip(out, w.stride, w.kernel, size, w.pad, strict=True):
        begins = np.arange(o) * s - p
        counts.append(np.minimum(begins + k, n + p) - begins)
        pads.append(max(p, (o - 1) * s + k - n - p))
    only(layer, tuple(pads) != tuple(w.pad), "no window is cut off")
    only(layer, all(pad < k for pad, k in zip(pads, w.kernel, strict=True)), "its pad is too large")
    # A larger pad begins earlier: zeros before the kernel move it back.
    kernel = np.ones(w.kernel, np.float32)
    before = [pad - p for pad, p in zip(pads, w.pad, strict=True)]
    kernel = np.pad(kernel, [(b, 0) for b in before])
    x = depthwise(
        r, layer.bottoms[0], kernel, stride=w.stride, pad=pads, channels=channels, role="sums"
    )
    sizes = [
        (n + 2 * pad - k - b) // s + 1
        for n, pad, k, b, s in zip(size, pads, w.kernel, before, w.stride, strict=True)
    ]
    only(layer, tuple(sizes) == out, "the windows differ")
    factors = (1 / np.outer(*counts)).astype(np.float32)
    r.add("Scale", [x], params={"scale_param": {"axis": 2, "num_axes": 2}}, weights=[factors])


@form("Pooling", text="global Pooling as a Pooling of the whole bottom")
def global_by_kernel(layer: Layer, r: Rewriter) -> None:
    p = layer.params.pooling_param
    only(layer, p.global_pooling, "it is not global")
    _, _, height, width = image(layer, r)
    r.add("Pooling", layer.bottoms, params=_pool(layer, (height, width), (1, 1), (0, 0)))


@form("Pooling", text="global_pooling")
def kernel_by_global(layer: Layer, r: Rewriter) -> None:
    w, size, out = _window(layer, r)
    p = layer.params.pooling_param
    only(layer, not p.global_pooling and out == (1, 1), "it does not pool the whole bottom")
    only(layer, tuple(w.kernel) == size and max(w.pad) == 0, "it does not pool the whole bottom")
    params = {"pool": p.pool, "global_pooling": True}
    r.add("Pooling", layer.bottoms, params={"pooling_param": params})


@form("Pooling", text="a chain of maxima with kernel 3")
def maximum_in_steps(layer: Layer, r: Rewriter) -> None:
    """A maximum of k pixels is (k - 1) / 2 maxima of 3, one after the other, because padding is never
    the maximum."""
    w, _, _ = _window(layer, r)
    _is(layer, "MAX")
    k = w.kernel[0]
    same = w.kernel == (k, k) and w.stride == (1, 1) and w.pad == (k // 2, k // 2)
    only(
        layer, same and k % 2 == 1 and 3 < k < 32, "it is not a maximum of 5 or more, with its pad"
    )
    x = layer.bottoms[0]
    step = _pool(layer, (3, 3), (1, 1), (1, 1))
    for i in range(k // 2 - 1):
        x = r.add("Pooling", [x], role=f"step{i}", params=step)
    r.add("Pooling", [x], params=step)


@form("Pooling", text="depthwise convolution of 1 with the stride")
def strided_copy(layer: Layer, r: Rewriter) -> None:
    """A window of one pixel copies this pixel."""
    import numpy as np

    w, size, out = _window(layer, r)
    only(layer, w.kernel == (1, 1) and max(w.pad) == 0, "its window has more than one pixel")
    fits = [(n - 1) // s + 1 == o for n, s, o in zip(size, w.stride, out, strict=True)]
    only(layer, all(fits), "the last window is outside")
    channels = r.shape(layer.bottoms[0])[1]
    depthwise(r, layer.bottoms[0], np.ones((1, 1), np.float32), stride=w.stride, channels=channels)
