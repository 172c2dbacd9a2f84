"""Matrix products and normalisation of whole samples in Synopsys' fork, and its YOLO boxes."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Window,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.elementwise import _Same
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


class Gemm(LayerType):
    """alpha A B + beta C; A and B are transposed with ``transA`` and ``transB``. C has the shape (M, N),
    (M, 1), (1, N) or (1,)."""

    reads = fields(gemm_param="alpha beta transA transB")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_rank(layer, bottoms[:2], 2, 2)
        p = layer.params.gemm_param
        if max(p.transA, p.transB) > 1:
            raise layer.error(f"transA and transB must be 0 or 1, got {p.transA} and {p.transB}")
        m, k = reversed(bottoms[0]) if p.transA else bottoms[0]
        k2, n = reversed(bottoms[1]) if p.transB else bottoms[1]
        if k != k2:
            raise layer.error(
                f"cannot multiply {shape_text((m, k))} by {shape_text((k2, n))}: {k} is not {k2}"
            )
        if bottoms[2] not in ((m, n), (m, 1), (1, n), (1,)):
            raise layer.error(
                f"its third bottom must have the shape {m}x{n}, {m}x1, 1x{n} or 1, got "
                f"{shape_text(bottoms[2])}"
            )
        return [(m, n)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.gemm_param
        attrs = {"alpha": p.alpha, "beta": p.beta, "transA": p.transA, "transB": p.transB}
        e.op("Gemm", list(layer.reads), [layer.writes[0]], **attrs)


class LayerNorm(_Same):
    """(x - mean) / sqrt(variance + eps) of each sample, times a scale and plus a shift for each of its
    values (``elementwise_affine``)."""

    reads = fields(layer_norm_param="eps elementwise_affine")
    stock = False
    source = SYNOPSYS
    passes_signal = True
    blob_names = ("scale", "shift")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0][1:]] * (2 if layer.params.layer_norm_param.elementwise_affine else 0)

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling(value=1.0, neutral=1.0), Filling()][: len(blobs)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, x = layer.params.layer_norm_param, layer.reads[0]
        axes = list(range(1, len(e.shape(x))))
        if axes:
            centred = e.value("Sub", x, e.reduce("ReduceMean", x, axes))
            variance = e.reduce("ReduceMean", e.value("Mul", centred, centred), axes)
        else:
            centred = e.value("Sub", x, x)
            variance = e.value("Mul", centred, centred)
        root = e.value("Sqrt", e.value("Add", variance, e.array(p.eps)))
        x = e.value("Div", centred, root)
        if p.elementwise_affine:
            x = e.value("Add", e.value("Mul", x, e.blob(layer, 0)), e.blob(layer, 1))
        e.op("Identity", [x], [layer.writes[0]])


class LpNormalization(_Same):
    """x divided by (sum |x|^p)^(1/p) over the axes ``axis``; without an axis, by |x|."""

    reads = fields(lp_normalization_param="axis p")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        if layer.params.lp_normalization_param.p < 1:
            raise layer.error("p must be at least 1, got 0")
        self._axes(layer, bottoms[0])
        return tops

    def in_place(self, layer: Layer) -> bool:
        return False

    def _axes(self, layer: Layer, shape: Shape) -> list[int]:
        listed = list(layer.params.lp_normalization_param.axis)
        axes = sorted(axis_of(layer, axis, len(shape)) for axis in listed)
        if len(set(axes)) < len(axes):
            raise layer.error(f"an axis is repeated in {listed}")
        return axes

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return (
            super().window(layer, bottoms) if self._axes(layer, bottoms[0]) in ([], [1]) else None
        )

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, x = layer.params.lp_normalization_param.p, layer.reads[0]
        axes, size = self._axes(layer, e.shape(x)), e.value("Abs", x)
        if axes:
            if p == 1:
                size = e.reduce("ReduceSum", size, axes)
            else:
                power = e.value("Pow", size, e.array(float(p)))
                size = e.value("Pow", e.reduce("ReduceSum", power, axes), e.array(1.0 / p))
        e.op("Div", [x, size], [layer.writes[0]])


class Tensor2Box(LayerType):
    """YOLO v3's boxes of one scale: (N, anchors (5 + classes), H, W) becomes (N, boxes, 5 + classes):
    x and y ((sigmoid(t) + place) stride), width and height (exp(t) anchor), and sigmoids."""

    reads = fields(tensor2box_param="num_classes img_dim_h img_dim_w anchors_x anchors_y")
    required = (
        "tensor2box_param.num_classes",
        "tensor2box_param.img_dim_h",
        "tensor2box_param.img_dim_w",
    )
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p, (n, c, h, w) = layer.params.tensor2box_param, bottoms[0]
        anchors, values = len(p.anchors_x), 5 + p.num_classes
        if anchors != len(p.anchors_y) or not anchors or c != anchors * values:
            raise layer.error(
                f"{anchors} anchors_x, {len(p.anchors_y)} anchors_y and {values} values per box do not "
                f"fit {c} channels"
            )
        return [(n, anchors * h * w, values)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, (n, _, h, w) = layer.params.tensor2box_param, e.shape(layer.reads[0])
        count, values = len(p.anchors_x), 5 + p.num_classes
        stride = np.array([p.img_dim_w // w, p.img_dim_h // h], np.float32)
        x = e.value("Reshape", layer.reads[0], e.array([n, count, values, h, w]))
        x = e.value("Transpose", x, perm=[0, 1, 3, 4, 2])
        axis = e.array([4])
        middle, size, rest = (
            e.value("Slice", x, e.array([a]), e.array([b]), axis)
            for a, b in ((0, 2), (2, 4), (4, values))
        )
        columns, rows = np.meshgrid(np.arange(w), np.arange(h))
        places = np.stack([columns, rows], -1).astype(np.float32).reshape(1, 1, h, w, 2)
        middle = e.value("Add", e.value("Sigmoid", middle), e.array(places))
        middle = e.value("Mul", middle, e.array(stride))
        sizes = np.array([list(p.anchors_x), list(p.anchors_y)], np.float32).T
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = sizes / stride * stride
        anchors = scaled.reshape(1, count, 1, 1, 2)
        size = e.value("Mul", e.value("Exp", size), e.array(anchors))
        x = e.value("Concat", middle, size, e.value("Sigmoid", rest), axis=4)
        e.op("Reshape", [x, e.array([n, count * h * w, values])], [layer.writes[0]])
