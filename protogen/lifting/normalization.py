"""Normalisation, Softmax, and reductions."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.lifting.core import Lifter, lifts
from protogen.message import Name


@lifts("BatchNormalization")
def batch_normalization(
    to: Lifter, x: str, scale: str, bias: str, mean: str, variance: str, *, epsilon: float = 1e-5,
    momentum: float = 0.9, spatial: int = 1, training_mode: int = 0,
) -> None:  # fmt: skip
    """BatchNorm (mean, variance, and a factor of 1) and Scale."""
    import numpy as np

    if training_mode or not spatial or len([o for o in to.operator.outputs if o]) > 1:
        raise to.refuse("its statistics are those of training")
    gamma, beta = to.wanted(scale, "scale"), to.wanted(bias, "bias")
    blobs = [to.wanted(mean, "mean"), to.wanted(variance, "variance"), np.ones(1, np.float32)]
    params = {"batch_norm_param": {"use_global_stats": True, "eps": epsilon}}
    y = to.add("BatchNorm", [x], params, blobs, role="bn")
    to.add("Scale", [y], {"scale_param": {"bias_term": True}}, [gamma, beta])


@lifts("InstanceNormalization")
def instance_normalization(
    to: Lifter, x: str, scale: str, bias: str, *, epsilon: float = 1e-5
) -> None:
    """ONNX divides by sqrt(variance + epsilon), Caffe's MVN by sqrt(variance) + eps: BatchNorm
    with statistics of its own, on a blob whose samples and channels are one axis, is ONNX's."""
    import numpy as np

    n, c, *rest = to.shape(x)
    pixels = int(np.prod(rest))
    one = (1, n * c, pixels)
    y = to.add("Reshape", [x], {"reshape_param": {"shape": {"dim": list(one)}}}, role="planes",
               shape=one)  # fmt: skip
    y = _normalised(to, y, n * c, epsilon)
    dims = {"reshape_param": {"shape": {"dim": [n, c, *rest]}}}
    y = to.add("Reshape", [y], dims, role="back", shape=(n, c, *rest))
    blobs = [to.wanted(scale, "scale"), to.wanted(bias, "bias")]
    to.add("Scale", [y], {"scale_param": {"bias_term": True}}, blobs)


@lifts("LRN")
def lrn(
    to: Lifter, x: str, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> None:
    """Across channels; Caffe too divides alpha by the size."""
    if size % 2 == 0:
        raise to.refuse(f"its size is {size}, but Caffe takes odd ones only")
    params = {"local_size": size, "alpha": alpha, "beta": beta}
    if bias != 1:
        params["k"] = bias
    to.add("LRN", [x], {"lrn_param": params})


@lifts("Softmax")
def softmax(to: Lifter, x: str, *, axis: int | None = None) -> None:
    """Along one axis since operator set 13; before, over all axes from ``axis`` on as one."""
    _softmax(to, x, axis, "")


@lifts("LogSoftmax")
def log_softmax(to: Lifter, x: str, *, axis: int | None = None) -> None:
    y = _softmax(to, x, axis, "softmax")
    to.add("Log", [y])


def _softmax(to: Lifter, x: str, axis: int | None, role: str) -> str:
    shape = to.shape(x)
    if to.opset >= 13:
        axis = -1 if axis is None else axis
        return _softmax_layer(to, x, axis % len(shape), role)
    axis = (1 if axis is None else axis) % len(shape)
    if all(n == 1 for n in shape[axis + 1 :]) or all(n == 1 for n in shape[axis:-1]):
        longest = axis if all(n == 1 for n in shape[axis + 1 :]) else len(shape) - 1
        return _softmax_layer(to, x, longest, role)
    params = {"flatten_param": {"axis": axis, "end_axis": -1}}
    flat = (*shape[:axis], _product(shape[axis:]))
    y = to.add("Flatten", [x], params, role="flat", shape=flat)
    y = _softmax_layer(to, y, axis, "flat_softmax")
    dims = {"reshape_param": {"shape": {"dim": list(shape)}}}
    return to.add("Reshape", [y], dims, role=role, shape=shape)


def _softmax_layer(to: Lifter, x: str, axis: int, role: str) -> str:
    params = {"softmax_param": {"axis": axis}} if axis != 1 else {}
    return to.add("Softmax", [x], params, role=role)


def _normalised(to: Lifter, x: str, channels: int, epsilon: float) -> str:
    import numpy as np

    params = {"batch_norm_param": {"use_global_stats": False, "eps": epsilon}}
    blobs = [np.zeros(channels, np.float32), np.ones(channels, np.float32), np.ones(1, np.float32)]
    return to.add("BatchNorm", [x], params, blobs, role="normalised")


@lifts("ReduceMean")
def reduce_mean(
    to: Lifter, x: str, names: str | None = None, *, axes: Sequence[int] | None = None,
    keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> None:  # fmt: skip
    _reduced(to, x, names, axes, keepdims, "MEAN")


@lifts("ReduceSum")
def reduce_sum(
    to: Lifter, x: str, names: str | None = None, *, axes: Sequence[int] | None = None,
    keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> None:  # fmt: skip
    _reduced(to, x, names, axes, keepdims, "SUM")


def _reduced(
    to: Lifter, x: str, names: str | None, axes: Sequence[int] | None, keepdims: int, kind: str
) -> None:
    """Reduction over all axes from one on; the mean over height and width is a global Pooling."""
    shape = to.shape(x)
    given = to.numbers(axes, names, "axes")
    chosen = sorted(a % len(shape) for a in given) if given else list(range(len(shape)))
    first = chosen[0]
    if chosen != list(range(first, len(shape))):
        raise to.refuse(f"axes {chosen} are not the last ones, which Caffe's Reduction takes")
    if kind == "MEAN" and keepdims and len(shape) == 4 and first == 2:
        to.add("Pooling", [x], {"pooling_param": {"pool": Name("AVE"), "global_pooling": True}})
        return
    params = {"reduction_param": {"operation": Name(kind), "axis": first}}
    out = to.shape(to.out)
    if out == shape[:first]:
        to.add("Reduction", [x], params)
        return
    y = to.add("Reduction", [x], params, role="reduced", shape=shape[:first])
    to.add("Reshape", [y], {"reshape_param": {"shape": {"dim": list(out)}}})


def _product(values: Sequence[int]) -> int:
    import math

    return math.prod(values)
