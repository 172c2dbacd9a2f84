"""MatMul of forks: the product of two bottoms, or of a bottom and a stored matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, Window, check_bottoms, fields
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


class _Sizes(NamedTuple):
    """Sizes of a product of ``batch`` pairs of matrices, (m, k) and (k, n)."""

    batch: int
    m: int
    k: int
    n: int


class MatMul(LayerType):
    """Forks. TPU-MLIR (``dim_1``, ``dim_2``, ``dim_3``): A B^T, where the values of the first bottom are
    the matrix A (dim_1, dim_2), and those of the second B (dim_3, dim_2). Synopsys: A B for the last
    two axes of the bottoms, each transposed first with ``transpose_a`` or ``transpose_b``; with one
    bottom, B is a parameter blob of the shape ``blob_shape``."""

    reads = fields(matmul_param="dim_1 dim_2 dim_3 transpose_a transpose_b blob_shape")

    stock = False
    source = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"
    limits = "bottoms with at least as many values as dim_1, dim_2 and dim_3 need"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.matmul_param
        if _has_dims(layer, p):
            check_bottoms(layer, 2, 2)
            sizes = _Sizes(1, p.dim_1, p.dim_2, p.dim_3)
            if min(sizes) < 1:
                raise layer.error(
                    f"dim_1, dim_2 and dim_3 must be at least 1, got {shape_text(sizes[1:])}"
                )
            for name, shape, count in (
                (layer.bottoms[0], bottoms[0], sizes.m * sizes.k),
                (layer.bottoms[1], bottoms[1], sizes.n * sizes.k),
            ):
                if math.prod(shape) < count:
                    raise layer.error(
                        f'"{name}" must have at least {count} values, got {shape_text(shape)}'
                    )
            return [(sizes.m, sizes.n)]
        second = self._second(layer, bottoms)
        sizes = self._sizes(layer, bottoms[0], second)
        head = bottoms[0][:-2] if len(second) == len(bottoms[0]) else bottoms[0][:-1]
        rows = (sizes.m,) if len(second) == len(bottoms[0]) else ()
        return [(*head, *rows, sizes.n)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._second(layer, bottoms)] if len(layer.bottoms) == 1 else []

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling() for _ in blobs]  # the fork has no filler for it: zeros

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(self._sizes(layer, bottoms[0], blobs[0])) if blobs else 0

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.matmul_param
        first = e.shape(layer.reads[0])
        if _has_dims(layer, p):
            second = e.shape(layer.reads[1])
            a = _matrix(e, layer.reads[0], first, (p.dim_1, p.dim_2))
            b = _matrix(e, layer.reads[1], second, (p.dim_3, p.dim_2))
            e.op("Gemm", [a, b], [layer.writes[0]], transB=1)
            return
        stored = len(layer.reads) == 1
        shapes = [first] if stored else [first, e.shape(layer.reads[1])]
        second = self._second(layer, shapes)
        sizes = self._sizes(layer, first, second)
        a, b = layer.reads[0], e.blob(layer, 0) if stored else layer.reads[1]
        if len(second) < len(first):  # the source reads the values of both in one product
            rows = (sizes.k, sizes.m) if p.transpose_a else (sizes.m, sizes.k)
            a = _matrix(e, a, first, rows)
            b = _matrix(e, b, second, (sizes.n, sizes.k) if p.transpose_b else (sizes.k, sizes.n))
            product = e.value("Gemm", a, b, transA=int(p.transpose_a), transB=int(p.transpose_b))
            top = e.reshape(product, (sizes.m, sizes.n), e.shape(layer.writes[0]))
            e.op("Identity", [top], [layer.writes[0]])
            return
        swapped = [*range(len(first) - 2), len(first) - 1, len(first) - 2]
        a = e.value("Transpose", a, perm=swapped) if p.transpose_a else a
        b = e.value("Transpose", b, perm=swapped) if p.transpose_b else b
        e.op("MatMul", [a, b], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.matmul_param
        first = r.shape(layer.bottoms[0])
        if len(layer.bottoms) == 2 or p.transpose_a:
            raise layer.unsupported("no stock layer multiplies two bottoms as matrices")
        second = self._second(layer, [first])
        sizes = self._sizes(layer, first, second)
        if sizes.batch > 1 or math.prod(second) != sizes.k * sizes.n:
            raise layer.unsupported("no stock layer multiplies each sample by a matrix of its own")
        blobs, weights = r.weights(), None
        if blobs is not None:
            matrix = blobs[0].reshape(-1)
            rows = (sizes.n, sizes.k) if p.transpose_b else (sizes.k, sizes.n)
            weights = [matrix.reshape(rows) if p.transpose_b else matrix.reshape(rows).T]
        params = {"num_output": sizes.n, "bias_term": False, "axis": len(first) - 1}
        r.add(
            "InnerProduct",
            layer.bottoms,
            params={"inner_product_param": params},
            weights=weights,
            keeps=[0],
        )

    def _second(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        """Return the shape of the second matrix: of the second bottom, or of the blob."""
        if len(layer.bottoms) == 2:
            return bottoms[1]
        shape = tuple(layer.params.matmul_param.blob_shape)
        if not shape:
            raise layer.error("blob_shape is missing", "Set it, or give the layer two bottoms.")
        return shape

    def _sizes(self, layer: Layer, first: Shape, second: Shape) -> _Sizes:
        """Return the sizes of the product in Synopsys' form.

        Raises:
            InputError: the shapes do not match.
        """
        p = layer.params.matmul_param
        matches = 2 <= len(second) <= len(first)
        if matches and len(second) == len(first):
            m, k = first[-2:] if not p.transpose_a else first[:-3:-1]
            other, n = second[-2:] if not p.transpose_b else second[:-3:-1]
            matches = k == other and first[:-2] == second[:-2]
            sizes = _Sizes(math.prod(first[:-2]), m, k, n)
        elif matches:
            k, n = first[-1], second[-1]
            matches = k == second[-2]
            sizes = _Sizes(1, math.prod(first[:-1]), k, n)
        if not matches:
            raise layer.error(
                f"cannot multiply {shape_text(first)} by {shape_text(second)} as matrices"
            )
        return sizes


def _has_dims(layer: Layer, p: Message) -> bool:
    """Return whether the sizes are those of dim_1, dim_2 and dim_3."""
    dims = any(p.has(name) for name in ("dim_1", "dim_2", "dim_3"))
    return dims or layer.dialect == "tpumlir"


def _matrix(e: Emitter, x: str, shape: Shape, matrix: Shape) -> str:
    """Emit the first values of a blob as a matrix."""
    count = math.prod(matrix)
    if math.prod(shape) == count:
        return e.reshape(x, shape, matrix)
    flat = e.value("Reshape", x, e.array([-1]))
    part = e.value("Slice", flat, e.array([0]), e.array([count]), e.array([0]))
    return e.value("Reshape", part, e.array(list(matrix)))
