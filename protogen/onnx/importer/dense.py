"""Gemm and MatMul: InnerProduct in both orientations of the weights, without copying them."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import floats, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.contraction import Operand, contracted, operand_of
from protogen.onnx.importer.elementwise import paired
from protogen.onnx.importer.forms import along_axis, permuted
from protogen.onnx.importer.registry import NUMBERS, imports

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        operands = (
            operand_of(ctx, a, "ki" if transA else "ik"),
            Operand(b, "jk" if transB else "kj"),
        )
        _computed_gemm(ctx, *operands, c, alpha, beta)
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
    a: Operand,
    b: Operand,
    c: str | None,
    alpha: float,
    beta: float,
) -> None:
    """alpha A B + beta C, where B is computed too."""
    import numpy as np

    if not isinstance(a.value, str):
        a = a._replace(value=a.value * np.float32(alpha))
        alpha = 1.0
    has_bias = bool(c) and beta != 0
    y = contracted(ctx, [a, b], "ij")
    if alpha != 1:
        y = powered(ctx, y, scale=alpha, role="scaled")
    if not c or not has_bias:
        ctx.pass_through(y)
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


@imports("MatMul", takes=NUMBERS)
def matmul(ctx: ImportContext, a: str, b: str) -> None:
    """A constant matrix on the right (Y = X W): InnerProduct over the last axis. A constant matrix
    on the left (Y = W X): a Convolution whose channels are the last axis but one. Otherwise: see
    ``contraction``."""
    left, right = ctx.constant(a), ctx.constant(b)
    ranks = [len(ctx.shape(name)) for name in (a, b)]
    if right is not None and right.ndim == 2 and ranks[0] > 1:
        _inner_product(ctx, a, floats(ctx, right), False, None, "")
    elif left is not None and left.ndim == 2 and ranks[1] > 1:
        along_axis(ctx, b, ranks[1] - 2, floats(ctx, left))
    else:
        batch = ascii_uppercase[: max(*ranks, 2) - 2]
        labels = ["k" if rank == 1 else batch[len(batch) + 2 - rank :] + end
                  for rank, end in zip(ranks, ("ik", "kj"), strict=True)]  # fmt: skip
        out = batch + "i" * (ranks[0] > 1) + "j" * (ranks[1] > 1)
        operands = [operand_of(ctx, *one) for one in zip((a, b), labels, strict=True)]
        ctx.pass_through(contracted(ctx, operands, out))
