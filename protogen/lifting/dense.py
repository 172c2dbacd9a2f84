"""Gemm and MatMul: dense layers in both orientations, without copying the weights."""

from __future__ import annotations

from protogen.lifting.core import Lifter, lifts


@lifts("Gemm")
def gemm(
    to: Lifter, a: str, b: str, c: str | None = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0, broadcast: int = 1,  # noqa: N803 (ONNX's names)
) -> None:  # fmt: skip
    """InnerProduct. Caffe's weights are (N, K), Y = X W^T: transB = 1. With ``transpose`` they are
    (K, N), Y = X W: transB = 0. Either way they stay as they are in memory."""
    import numpy as np

    if transA:
        raise to.refuse("transA has no form in Caffe")
    weight = to.wanted(b, "matrix B")
    if alpha != 1:
        weight = weight * np.float32(alpha)
    n = weight.shape[0] if transB else weight.shape[1]
    params = {"num_output": n}
    if not transB:
        params["transpose"] = True
    blobs = [weight]
    bias = to.constant(c)
    if c and bias is None:
        raise to.refuse(f'its matrix C "{c}" is computed')
    if bias is not None and beta != 0:
        if bias.size not in (1, n) or (bias.ndim > 1 and bias.shape[0] != 1):
            raise to.refuse(f"its C is {'x'.join(map(str, bias.shape))}, no bias of {n} values")
        scaled = bias.reshape(-1) if beta == 1 else bias.reshape(-1) * np.float32(beta)
        blobs.append(np.ascontiguousarray(np.broadcast_to(scaled, (n,))))
    else:
        params["bias_term"] = False
    to.add("InnerProduct", [a], {"inner_product_param": params}, blobs)


@lifts("MatMul")
def matmul(to: Lifter, a: str, b: str) -> None:
    """InnerProduct over the last axis where the second factor is a constant matrix (Y = X W)."""
    import numpy as np

    left, right = to.constant(a), to.constant(b)
    if right is not None and right.ndim == 2:
        axis = len(to.shape(a)) - 1
        if axis < 1:
            raise to.refuse("its first factor is a vector")
        params = {"num_output": right.shape[1], "bias_term": False, "transpose": True}
        if axis != 1:
            params["axis"] = axis
        to.add("InnerProduct", [a], {"inner_product_param": params}, [right])
        return
    if left is not None and left.ndim == 2 and len(to.shape(b)) >= 3:
        # Y = W X along the axis before the last: a Convolution whose channels are that axis.
        axis = len(to.shape(b)) - 2
        params = {"num_output": left.shape[0], "kernel_size": 1, "bias_term": False}
        if axis != 1:
            params["axis"] = axis
        weight = np.reshape(left, (*left.shape, 1))
        to.add("Convolution", [b], {"convolution_param": params}, [weight])
        return
    raise to.refuse("neither factor is a constant matrix")
