"""Gemm and MatMul: InnerProduct in both orientations of the weights, without copying them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import eltwise, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import paired, widened
from protogen.onnx.importer.forms import permuted, reshaped, tiled
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_PRODUCT = (
    2**24
)  # limit for the values of a product of two computed matrices, before summing


@imports("Gemm")
def gemm(
    ctx: ImportContext,
    a: str,
    b: str,
    c: str | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's names)
    transB: int = 0,  # noqa: N803 (ONNX's names)
) -> None:
    """InnerProduct. Caffe's weights are (N, K) for Y = X W^T, which is transB = 1. With
    ``transpose`` they are (K, N) for Y = X W, which is transB = 0. In both cases the weights are
    not copied."""
    import numpy as np

    weight = ctx.constant(b)
    if weight is None:
        _computed_gemm(ctx, a, b, c, alpha, beta, bool(transA), bool(transB))
        return
    if alpha != 1:
        weight = weight * np.float32(alpha)
    if transA:
        a = permuted(ctx, a, (1, 0), "transposed")
    n = weight.shape[0] if transB else weight.shape[1]
    bias = ctx.constant(c)
    if bias is not None and beta != 1:
        bias = bias * np.float32(beta)
    if c and bias is None and beta not in (0, 1):
        c = powered(ctx, c, scale=beta, role="beta")
    needs_sum = bias is None or bias.size not in (1, n) or (bias.ndim > 1 and bias.shape[0] != 1)
    if not c or beta == 0:
        _inner_product(ctx, a, weight, bool(transB), None, "")
    elif needs_sum:  # one term for each row too, or a computed bias
        y = _inner_product(ctx, a, weight, bool(transB), None, "product")
        if bias is None:
            paired(ctx, y, c, "SUM")
        else:
            with_constant(ctx, y, bias, "Bias")
    elif bias is not None:
        bias = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (n,)))
        _inner_product(ctx, a, weight, bool(transB), bias, "")


def _computed_gemm(
    ctx: ImportContext,
    a: str,
    b: str,
    c: str | None,
    alpha: float,
    beta: float,
    transpose_a: bool,
    transpose_b: bool,
) -> None:
    """alpha A B + beta C, where B is computed too."""
    import numpy as np

    if transpose_a:
        a = permuted(ctx, widened(ctx, a, ctx.shape(a)), (1, 0), "transposed")
    if transpose_b:
        b = permuted(ctx, b, (1, 0), "transposed_b")
    has_bias = bool(c) and beta != 0
    y = _products(ctx, a, b, "product" if has_bias or alpha != 1 else "")
    if alpha != 1:
        y = powered(ctx, y, scale=alpha, role="scaled" if has_bias else "")
    if not c or not has_bias:
        return
    bias = ctx.constant(c)
    if bias is not None:
        with_constant(ctx, y, bias * np.float32(beta), "Bias")
    else:
        paired(ctx, y, powered(ctx, c, scale=beta, role="beta") if beta != 1 else c, "SUM")


def _inner_product(
    ctx: ImportContext,
    x: str,
    weight: NDArray[Any],
    rows: bool,
    bias: NDArray[Any] | None,
    role: str,
) -> str:
    """Add an InnerProduct over the last axis. With ``rows`` the weights are (N, K), else (K, N)."""
    params: dict[str, Any] = {"num_output": weight.shape[0 if rows else 1]}
    axis = len(ctx.shape(x)) - 1
    if axis != 1:
        params["axis"] = axis
    if not rows:
        params["transpose"] = True
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] if bias is None else [weight, bias]
    return ctx.add("InnerProduct", [x], {"inner_product_param": params}, blobs, role=role)


@imports("protogen:InnerProduct")
def inner_product(ctx: ImportContext, x: str, w: str, b: str) -> None:
    """A matrix product with its bias (see ``fusion``)."""
    weight = ctx.require_constant(w, "weight")
    _inner_product(ctx, x, weight, False, ctx.require_constant(b, "bias").reshape(-1), "")


@imports("MatMul")
def matmul(ctx: ImportContext, a: str, b: str) -> None:
    """A constant matrix on the right (Y = X W): InnerProduct over the last axis. A constant matrix
    on the left (Y = W X): a Convolution whose channels are the last axis but one. Otherwise:
    products and their sums."""
    left, right = ctx.constant(a), ctx.constant(b)
    if left is None and right is not None and right.ndim == 2:
        if len(ctx.shape(a)) == 1:
            y = reshaped(ctx, a, (1, *ctx.shape(a)), "row")
            reshaped(ctx, _inner_product(ctx, y, right, False, None, "product"), ctx.shape(ctx.out))
        else:
            _inner_product(ctx, a, right, False, None, "")
    elif right is None and left is not None and left.ndim == 2 and len(ctx.shape(b)) >= 2:
        _from_left(ctx, left, b)
    else:
        _products(ctx, a, b, "")


def _from_left(ctx: ImportContext, matrix: NDArray[Any], b: str) -> None:
    shape = ctx.shape(b)
    flat = (prod(shape[:-2]), *shape[-2:], 1)
    y = reshaped(ctx, b, flat, "columns")
    params = {"num_output": matrix.shape[0], "kernel_size": 1, "bias_term": False}
    y = ctx.add(
        "Convolution",
        [y],
        {"convolution_param": params},
        [matrix.reshape(*matrix.shape, 1, 1)],
        role="product",
    )
    reshaped(ctx, y, ctx.shape(ctx.out))


def _products(ctx: ImportContext, a: str, b: str, role: str) -> str:
    """Multiply two matrices: C[.., i, j] = sum over k of A[.., i, k] B[.., k, j].

    Both are tiled to [.., i, j, k], multiplied, and summed along the last axis, because Caffe has
    no layer for the matrix product of two blobs.
    """
    left_shape, right_shape = ctx.shape(a), ctx.shape(b)
    if len(left_shape) == 1:
        a = reshaped(ctx, widened(ctx, a, left_shape), (1, *left_shape), "row")
    if len(right_shape) == 1:
        b = reshaped(ctx, widened(ctx, b, right_shape), (*right_shape, 1), "column")
    left_shape, right_shape = (
        (1, *left_shape) if len(left_shape) == 1 else left_shape,
        (*right_shape, 1) if len(right_shape) == 1 else right_shape,
    )
    rank = max(len(left_shape), len(right_shape))
    left_shape, right_shape = (
        (1,) * (rank - len(shape)) + shape for shape in (left_shape, right_shape)
    )
    batch = tuple(max(m, n) for m, n in zip(left_shape[:-2], right_shape[:-2], strict=True))
    i, k, j = left_shape[-2], left_shape[-1], right_shape[-1]
    full = (*batch, i, j, k)
    if prod(full) > LARGEST_PRODUCT:
        raise ctx.unsupported(
            f"the product of two computed matrices takes {prod(full)} multiplications, but the "
            f"limit is {LARGEST_PRODUCT}"
        )
    left = reshaped(ctx, widened(ctx, a, ctx.shape(a)), (*left_shape[:-1], 1, k), "left")
    right = reshaped(ctx, widened(ctx, b, ctx.shape(b)), right_shape, "right")
    order = [*range(rank - 2), rank - 1, rank - 2]
    right = permuted(ctx, right, order, "turned")
    right = reshaped(ctx, right, (*right_shape[:-2], 1, j, k), "right_rows")
    operands = [tiled(ctx, left, full, "left_tiled"), tiled(ctx, right, full, "right_tiled")]
    y = reduced(ctx, eltwise(ctx, "PROD", operands, "products"), [rank], "SUM", "summed")
    return reshaped(ctx, y, (i, j) if role else ctx.shape(ctx.out), role)
