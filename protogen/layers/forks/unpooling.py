"""UnPooling of forks: each value spreads over a window of a larger map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, check_room, fields
from protogen.layers.checking import check_tops
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PARAMS = "out_kernel_size out_kernel_h out_kernel_w out_stride out_stride_h out_stride_w"


class UnPooling(LayerType):
    """Forks (Cambricon, CC4.0): each value at the middle of its window of the top (FIXED), divided by
    the size of the window and repeated in it (DIV), or repeated (REP); a pixel of several windows has
    the mean of what they give it. A second bottom gives the size: window and stride are its size over
    that of the first, rounded up."""

    reads = fields(unpooling_param=f"unpool {_PARAMS} out_pad out_pad_h out_pad_w")

    resizes = True
    stock = False
    source = "Cambricon/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        w = self._read(layer, bottoms)
        out = _out(bottoms[0], w)
        if min(out) < 1:
            raise layer.error(f"the output size would be {shape_text(out)}", "Use a smaller pad.")
        return [(*bottoms[0][:2], *out)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return self._read(layer, bottoms)

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> Window:
        """Return the windows of the top.

        Raises:
            InputError: a setting is missing, given in two forms, or invalid.
        """
        p = layer.params.unpooling_param
        kernel, stride, pad = (
            _pair(layer, p, name, single)
            for name, single in (
                ("out_kernel", "out_kernel_size"),
                ("out_stride", "out_stride"),
                ("out_pad", "out_pad"),
            )
        )
        if len(bottoms) == 2:
            small, large = bottoms[0][2:], bottoms[1][2:]
            kernel = (-(-large[0] // small[0]), -(-large[1] // small[1]))
            stride = tuple(1 if k == n else k for k, n in zip(kernel, large, strict=True))
            axes = zip(small, large, kernel, stride, strict=True)
            pad = tuple(((n - 1) * s + k - m) // 2 for n, m, k, s in axes)
        if min(kernel) < 1:
            raise layer.error("out_kernel_size is missing or 0", "Set it.")
        if min(stride) < 1:
            raise layer.error("out_stride must be at least 1")
        if any(pad) and any(p >= k for k, p in zip(kernel, pad, strict=True)):
            raise layer.error(f"out_pad must be smaller than the window, got {shape_text(pad)}")
        return Window(kernel, stride, pad, (1, 1), transposed=True)

    def lower(self, layer: Layer, e: Emitter) -> None:
        shapes = [e.shape(read) for read in layer.reads]
        w, method = self._read(layer, shapes), str(layer.params.unpooling_param.unpool)
        out = _out(shapes[0], w)
        for n, m in zip(shapes[0][2:], out, strict=True):
            check_room(layer, n * m)
        rows, columns = (
            _matrix(method, n, m, w.kernel[i], w.stride[i], w.pad[i])
            for i, (n, m) in enumerate(zip(shapes[0][2:], out, strict=True))
        )
        x = e.value("MatMul", e.array(rows), layer.reads[0])
        e.op("MatMul", [x, e.array(columns.T)], [layer.writes[0]])


def _out(shape: Shape, w: Window) -> Shape:
    """Return the size of the top: (n - 1) s - 2 p + K."""
    axes = zip(shape[2:], w.stride, w.pad, w.kernel, strict=True)
    return tuple((n - 1) * s - 2 * p + k for n, s, p, k in axes)


def _pair(layer: Layer, p: Message, name: str, single: str) -> tuple[int, ...]:
    """Return a setting along height and width."""
    both = [f"{name}_h", f"{name}_w"]
    present = [one for one in both if p.has(one)]
    if present and (p.has(single) or len(present) == 1):
        raise layer.error(f"set {single}, or both of {both[0]} and {both[1]}")
    if present:
        return tuple(getattr(p, one) for one in both)
    return (getattr(p, single),) * 2


def _matrix(
    method: str, size: int, out: int, kernel: int, stride: int, pad: int
) -> NDArray[np.float32]:
    """Return what each of ``size`` positions gives to each of ``out`` positions, along one axis."""
    import numpy as np

    matrix = np.zeros((out, size), np.float64)
    for i in range(size):
        start = i * stride - pad
        if method == "FIXED":  # the last of several values at one position stays
            middle = int((2 * start + kernel - 1) / 2)
            at = min(max(middle, 0), out - 1)
            matrix[at] = 0
            matrix[at, i] = 1
            continue
        end = min(start + kernel, out + pad)
        share = 1 / (end - start) if method == "DIV" else 1.0
        matrix[max(start, 0) : min(end, out), i] = share
    if method != "FIXED":
        counts = np.maximum((matrix > 0).sum(axis=1, keepdims=True), 1)
        matrix /= counts
    return matrix.astype(np.float32)
