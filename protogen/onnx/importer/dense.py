"""Gemm and MatMul: dense layers in both orientations, without copying the weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import eltwise, powered, with_constant
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.elementwise import paired, widened
from protogen.onnx.importer.forms import permuted, reshaped, tiled
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_PRODUCT = 2**24  # values of all products of two computed matrices, before they are summed


@lifts("Gemm")
def gemm(
    to: Lifter,
    a: str,
    b: str,
    c: str | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's names)
    transB: int = 0,  # noqa: N803 (ONNX's names)
) -> None:
    """InnerProduct. Caffe's weights are (N, K), Y = X W^T: transB = 1. With ``transpose`` they are
    (K, N), Y = X W: transB = 0. Either way they stay as they are in memory."""
    import numpy as np

    weight = to.constant(b)
    if weight is None:
        _computed(to, a, b, c, alpha, beta, bool(transA), bool(transB))
        return
    if alpha != 1:
        weight = weight * np.float32(alpha)
    if transA:
        a = permuted(to, a, (1, 0), "transposed")
    n = weight.shape[0] if transB else weight.shape[1]
    bias = to.constant(c)
    if bias is not None and beta != 1:
        bias = bias * np.float32(beta)
    if c and bias is None and beta not in (0, 1):
        c = powered(to, c, scale=beta, role="beta")
    whole = bias is None or bias.size not in (1, n) or (bias.ndim > 1 and bias.shape[0] != 1)
    if not c or beta == 0:
        _inner_product(to, a, weight, bool(transB), None, "")
    elif whole:  # a term for each row too, or a computed one
        y = _inner_product(to, a, weight, bool(transB), None, "product")
        if bias is None:
            paired(to, y, c, "SUM")
        else:
            with_constant(to, y, bias, "Bias")
    elif bias is not None:
        bias = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (n,)))
        _inner_product(to, a, weight, bool(transB), bias, "")


def _computed(
    to: Lifter, a: str, b: str, c: str | None, alpha: float, beta: float, turn_a: bool, turn_b: bool
) -> None:
    """alpha A B + beta C where B is computed as well."""
    import numpy as np

    if turn_a:
        a = permuted(to, widened(to, a, to.shape(a)), (1, 0), "transposed")
    if turn_b:
        b = permuted(to, b, (1, 0), "transposed_b")
    more = bool(c) and beta != 0
    y = _products(to, a, b, "product" if more or alpha != 1 else "")
    if alpha != 1:
        y = powered(to, y, scale=alpha, role="scaled" if more else "")
    if not c or not more:
        return
    bias = to.constant(c)
    if bias is not None:
        with_constant(to, y, bias * np.float32(beta), "Bias")
    else:
        paired(to, y, powered(to, c, scale=beta, role="beta") if beta != 1 else c, "SUM")


def _inner_product(
    to: Lifter, x: str, weight: NDArray[Any], rows: bool, bias: NDArray[Any] | None, role: str
) -> str:
    """Over the last axis; ``rows``: the weights are (N, K)."""
    params: dict[str, Any] = {"num_output": weight.shape[0 if rows else 1]}
    axis = len(to.shape(x)) - 1
    if axis != 1:
        params["axis"] = axis
    if not rows:
        params["transpose"] = True
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] if bias is None else [weight, bias]
    return to.add("InnerProduct", [x], {"inner_product_param": params}, blobs, role=role)


@lifts("protogen:InnerProduct")
def inner_product(to: Lifter, x: str, w: str, b: str) -> None:
    """A product and its bias (see ``fusion``)."""
    weight = to.wanted(w, "weight")
    _inner_product(to, x, weight, False, to.wanted(b, "bias").reshape(-1), "")


@lifts("MatMul")
def matmul(to: Lifter, a: str, b: str) -> None:
    """With a constant matrix on the right (Y = X W) InnerProduct over the last axis; with one on
    the left (Y = W X) a Convolution whose channels are the axis before the last; else products and
    their sums."""
    left, right = to.constant(a), to.constant(b)
    if left is None and right is not None and right.ndim == 2:
        if len(to.shape(a)) == 1:
            y = reshaped(to, a, (1, *to.shape(a)), "row")
            reshaped(to, _inner_product(to, y, right, False, None, "product"), to.shape(to.out))
        else:
            _inner_product(to, a, right, False, None, "")
    elif right is None and left is not None and left.ndim == 2 and len(to.shape(b)) >= 2:
        _from_left(to, left, b)
    else:
        _products(to, a, b, "")


def _from_left(to: Lifter, matrix: NDArray[Any], b: str) -> None:
    shape = to.shape(b)
    flat = (prod(shape[:-2]), *shape[-2:], 1)
    y = reshaped(to, b, flat, "columns")
    params = {"num_output": matrix.shape[0], "kernel_size": 1, "bias_term": False}
    y = to.add(
        "Convolution",
        [y],
        {"convolution_param": params},
        [matrix.reshape(*matrix.shape, 1, 1)],
        role="product",
    )
    reshaped(to, y, to.shape(to.out))


def _products(to: Lifter, a: str, b: str, role: str) -> str:
    """C[.., i, j] = sum over k of A[.., i, k] B[.., k, j]: both tiled to [.., i, j, k], multiplied,
    and summed along the last axis. Caffe has no product of two blobs."""
    one, other = to.shape(a), to.shape(b)
    if len(one) == 1:
        a = reshaped(to, widened(to, a, one), (1, *one), "row")
    if len(other) == 1:
        b = reshaped(to, widened(to, b, other), (*other, 1), "column")
    one, other = (1, *one) if len(one) == 1 else one, (*other, 1) if len(other) == 1 else other
    rank = max(len(one), len(other))
    one, other = ((1,) * (rank - len(shape)) + shape for shape in (one, other))
    batch = tuple(max(m, n) for m, n in zip(one[:-2], other[:-2], strict=True))
    i, k, j = one[-2], one[-1], other[-1]
    full = (*batch, i, j, k)
    if prod(full) > LARGEST_PRODUCT:
        raise to.refuse(
            f"Caffe multiplies by constant matrices, and the {prod(full)} products of two computed "
            "ones are too many to be summed as they are"
        )
    left = reshaped(to, widened(to, a, to.shape(a)), (*one[:-1], 1, k), "left")
    right = reshaped(to, widened(to, b, to.shape(b)), other, "right")
    order = [*range(rank - 2), rank - 1, rank - 2]
    right = permuted(to, right, order, "turned")
    right = reshaped(to, right, (*other[:-2], 1, j, k), "right_rows")
    wide = [tiled(to, left, full, "left_tiled"), tiled(to, right, full, "right_tiled")]
    y = reduced(to, eltwise(to, "PROD", wide, "products"), [rank], "SUM", "summed")
    return reshaped(to, y, (i, j) if role else to.shape(to.out), role)
