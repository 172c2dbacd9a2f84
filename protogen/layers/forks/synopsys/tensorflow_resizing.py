"""Resizing layers of Synopsys' fork, with the positions of TensorFlow and Darknet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.pooling import average
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class UpsampleDarknet(LayerType):
    """Nearest neighbour by the factor ``stride``."""

    reads = fields(upsample_darknet_param="stride")
    stock = False
    source = SYNOPSYS
    resizes = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        stride = layer.params.upsample_darknet_param.stride
        if stride < 1:
            raise layer.error(f"stride must be at least 1, got {stride}")
        n, c, h, w = bottoms[0]
        return [(n, c, h * stride, w * stride)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        stride = float(layer.params.upsample_darknet_param.stride)
        enlarge(e, layer.reads[0], layer.writes[0], [1.0, 1.0, stride, stride])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        r.resize(shape[2:], mode="nearest", align="asymmetric", rounding="floor")


def enlarge(e: Emitter, read: str, write: str, scales: Sequence[float]) -> None:
    """Emit a nearest neighbour Resize by whole factors."""
    e.op(
        "Resize",
        [read, "", e.array([float(scale) for scale in scales])],
        [write],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


class _Resize(LayerType, abstract=True):
    """Base class of ResizeNearestNeighbor and ResizeBilinear: to ``output_height`` and
    ``output_width``, or by ``scale_height`` and ``scale_width``. The axes are N, H, W, C, or N, C, H,
    W if ``data_format`` is not NHWC."""

    stock = False
    source = SYNOPSYS
    resizes = True
    formats: ClassVar[tuple[str, ...]] = ("NHWC", "NCHW")
    exclusive: ClassVar[tuple[str, ...]] = ()  # of these fields at most one may be true

    def block(self, layer: Layer) -> Message:
        """Return the parameter block of the type."""
        value: Message = getattr(layer.params, next(iter(self.reads)))
        return value

    def axes(self, layer: Layer) -> list[int]:
        """Return the axes that are resized."""
        form = self.block(layer).data_format
        if form not in self.formats:
            known = ", ".join(self.formats)
            raise layer.error(f"data_format must be one of {known}, got {form!r}")
        return [1, 2] if form == "NHWC" else list(range(2, len(form)))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        import numpy as np

        check_bottoms(layer, 1, 1)
        p, axes = self.block(layer), self.axes(layer)
        check_rank(layer, bottoms, len(axes) + 2, len(axes) + 2)
        chosen = [name for name in self.exclusive if getattr(p, name)]
        if len(chosen) > 1:
            raise layer.error(f"{' and '.join(chosen)} are both true", "Keep one of them.")
        top = list(bottoms[0])
        for axis, name in zip(axes, ("height", "width", "depth"), strict=False):
            if p.has(f"output_{name}"):
                top[axis] = getattr(p, f"output_{name}")
            else:
                scale = np.float32(getattr(p, f"scale_{name}"))
                top[axis] = int(np.floor(np.float32(top[axis]) * scale))
        if min(top[axis] for axis in axes) < 1:
            raise layer.error(
                f"the output size would be {shape_text([top[axis] for axis in axes])}",
                "Set output_height and output_width.",
            )
        return [tuple(top)]


class ResizeNearestNeighbor(_Resize):
    """Nearest neighbour: pixel i reads floor(i n / m), with ``half_pixel_centers`` floor((i + 0.5) n /
    m), with ``half_pixel_onnx`` floor((i + 0.5) n / m - 0.5), or with ``align_corners`` the rounded
    i (n - 1) / (m - 1). The source computes these in float32."""

    reads = fields(
        resize_nearest_neighbor_param=(
            "align_corners output_height output_width data_format scale_height scale_width "
            "half_pixel_centers half_pixel_onnx"
        )
    )
    exclusive = ("align_corners", "half_pixel_centers", "half_pixel_onnx")

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        axes = self.axes(layer)
        indices = [self._indices(layer, before[axis], after[axis]) for axis in axes]
        if all(_is_repeated(rows, before[a]) for rows, a in zip(indices, axes, strict=True)):
            scales = [b / a for a, b in zip(before, after, strict=True)]
            enlarge(e, layer.reads[0], layer.writes[0], scales)
            return
        x = e.value("Gather", layer.reads[0], e.array(indices[0]), axis=axes[0])
        e.op("Gather", [x, e.array(indices[1])], [layer.writes[0]], axis=axes[1])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        shape = r.shape(layer.bottoms[0])
        out, axes = self.shapes(layer, [shape])[0], self.axes(layer)
        for axis in axes:
            n, m = shape[axis], out[axis]
            rows = self._indices(layer, n, m)
            if axes[0] == 1 or not np.array_equal(rows, np.arange(m) * n // m):
                raise layer.unsupported("no stock layers read these pixels")
        r.resize(out[2:], mode="nearest", align="asymmetric", rounding="floor")

    def _indices(self, layer: Layer, n: int, m: int) -> NDArray[np.int64]:
        """Return the position in an axis of n pixels that each of m pixels reads."""
        import numpy as np

        p = self.block(layer)
        aligned = p.align_corners and m > 1
        scale = np.float32(n - 1) / np.float32(m - 1) if aligned else np.float32(n) / np.float32(m)
        i = np.arange(m, dtype=np.float32)
        if p.half_pixel_onnx:
            x = np.floor(((i + np.float32(0.5)) * scale).astype(np.float64) - 0.5)
        elif p.half_pixel_centers:
            x = np.floor((i + np.float32(0.5)) * scale)
        elif p.align_corners:
            x = np.floor((i * scale).astype(np.float64) + 0.5)  # halves away from 0
        else:
            x = np.floor(i * scale)
        return np.clip(x, 0, n - 1).astype(np.int64)


def _is_repeated(indices: NDArray[np.int64], size: int) -> bool:
    """Return whether the indices repeat each pixel the same number of times."""
    import numpy as np

    count = len(indices)
    return count % size == 0 and np.array_equal(indices, np.arange(count) // (count // size))


class ResizeBilinear(_Resize):
    """Bilinear: pixel i reads the position i n / m, with ``half_pixel_centers`` (i + 0.5) n / m - 0.5,
    with ``pytorch_half_pixel`` the same, but -0.5 if m is 1, or with ``align_corners`` i (n - 1) / (m -
    1). With ``data_format: NCHWD`` it is trilinear over the axes H, W, D."""

    reads = fields(
        resize_bilinear_param=(
            "align_corners output_height output_width data_format scale_height scale_width "
            "half_pixel_centers pytorch_half_pixel output_depth scale_depth"
        )
    )
    formats = ("NHWC", "NCHW", "NCHWD")
    exclusive = ("align_corners", "half_pixel_centers", "pytorch_half_pixel")

    def lower(self, layer: Layer, e: Emitter) -> None:
        after, axes = e.shape(layer.writes[0]), self.axes(layer)
        x, write = layer.reads[0], layer.writes[0]
        if axes[0] == 1:
            x = e.value("Transpose", x, perm=[0, 3, 1, 2])
            after, write = (after[0], after[3], after[1], after[2]), f"{write}@nchw"
        e.op(
            "Resize",
            [x, "", "", e.array(list(after))],
            [write],
            mode="linear",
            coordinate_transformation_mode=self._align(layer),
        )
        if axes[0] == 1:
            e.op("Transpose", [write], [layer.writes[0]], perm=[0, 2, 3, 1])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        if self.axes(layer) != [2, 3]:
            raise layer.unsupported("no stock layers resize other axes than 2 and 3")
        r.resize(shape[2:], align=self._align(layer))

    def _align(self, layer: Layer) -> str:
        """Return the coordinate_transformation_mode of ONNX."""
        p = self.block(layer)
        names = {"align_corners": "align_corners", "half_pixel_centers": "half_pixel"}
        names["pytorch_half_pixel"] = "pytorch_half_pixel"
        return next((name for field, name in names.items() if getattr(p, field)), "asymmetric")


_BRANCHES = (((33, 65), (33, 65)), ((17, 33), (16, 32)), ((13, 25), (10, 20)), ((8, 15), (5, 10)))


class ICNetSubgraph(LayerType):
    """ICNet's pyramid: the bottom, plus four averages of it over fixed windows, each resized to its
    size with aligned corners."""

    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        if bottoms[0][2] < 33 or bottoms[0][3] < 65:
            raise layer.error(
                f"its bottom must have at least 33x65 pixels, got {shape_text(bottoms[0][2:])}"
            )
        return [bottoms[0]]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape, total = e.shape(layer.reads[0]), layer.reads[0]
        for i, (kernel, stride) in enumerate(_BRANCHES):
            w = Window(kernel, stride, (0, 0), (1, 1))
            out = tuple(
                -((k - n) // s) + 1 for n, k, s in zip(shape[2:], kernel, stride, strict=True)
            )
            x = average(layer, e, layer.reads[0], shape, w, out)
            x = e.value(
                "Resize",
                x,
                "",
                "",
                e.array(list(shape)),
                mode="linear",
                coordinate_transformation_mode="align_corners",
            )
            if i < len(_BRANCHES) - 1:
                total = e.value("Add", total, x)
            else:
                e.op("Add", [total, x], [layer.writes[0]])
