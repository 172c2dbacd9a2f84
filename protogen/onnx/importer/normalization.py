"""Normalisation and Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import eltwise, powered, with_constant
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.elementwise import DIFFERENCE
from protogen.onnx.importer.forms import reshaped, tiled
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@lifts("BatchNormalization")
def batch_normalization(
    to: Lifter,
    x: str,
    scale: str,
    bias: str,
    mean: str,
    variance: str,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> None:
    """BatchNorm (mean, variance, and a factor of 1), and Scale unless it does nothing."""
    import numpy as np

    if training_mode or not spatial or len([o for o in to.operator.outputs if o]) > 1:
        raise to.refuse("its statistics are those of training")
    gamma, beta = to.wanted(scale, "scale"), to.wanted(bias, "bias")
    blobs = [to.wanted(mean, "mean"), to.wanted(variance, "variance"), np.ones(1, np.float32)]
    params = {"batch_norm_param": _eps({"use_global_stats": True}, epsilon)}
    if (gamma == 1).all() and not beta.any():
        to.add("BatchNorm", [x], params, blobs)
        return
    y = to.add("BatchNorm", [x], params, blobs, tops=[to.value("bn")])
    scale_ = {"scale_param": {"bias_term": True}}
    to.add("Scale", [y], scale_, [gamma, beta], role="scale", tops=[to.out])


@lifts("InstanceNormalization")
def instance_normalization(
    to: Lifter, x: str, scale: str, bias: str, *, epsilon: float = 1e-5
) -> None:
    shape = to.shape(x)
    y = _normalised(to, x, shape[0] * shape[1], epsilon)
    _scale_and_bias(to, y, to.wanted(scale, "scale"), to.wanted(bias, "bias"), 1)


@lifts("GroupNormalization")
def group_normalization(
    to: Lifter,
    x: str,
    scale: str,
    bias: str,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> None:
    """Scale and bias are one a group before operator set 21, and one a channel since."""
    import numpy as np

    shape = to.shape(x)
    factors, terms = to.wanted(scale, "scale"), to.wanted(bias, "bias")
    if to.opset < 21:
        factors, terms = (np.repeat(one, shape[1] // num_groups) for one in (factors, terms))
    y = _normalised(to, x, shape[0] * num_groups, epsilon)
    _scale_and_bias(to, y, factors, terms, 1)


@lifts("LayerNormalization")
def layer_normalization(
    to: Lifter,
    x: str,
    scale: str,
    bias: str | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> None:
    import numpy as np

    shape = to.shape(x)
    axis %= len(shape)
    _layer_statistics(to, x, range(axis, len(shape)), epsilon)
    y = _normalised(to, x, prod(shape[:axis]), epsilon)
    factors = np.broadcast_to(to.wanted(scale, "scale"), shape[axis:])
    terms = np.broadcast_to(to.wanted(bias, "bias"), shape[axis:]) if bias else None
    _scale_and_bias(to, y, factors, terms, axis)


def _layer_statistics(to: Lifter, x: str, axes: Sequence[int], epsilon: float) -> None:
    """The second and third output, mean and 1 / sqrt(variance + epsilon), where they are read."""
    names = (*to.operator.outputs[1:], "", "")[:2]
    if not any(map(to.is_read, names)):
        return
    mean = reduced(to, x, axes, "MEAN", "mean")
    wide = tiled(to, mean, to.shape(x), "wide_mean")
    below = to.add("Eltwise", [x, wide], DIFFERENCE, role="centred")
    squares = powered(to, below, power=2.0, role="squares")
    variance = reduced(to, squares, axes, "MEAN", "variance")
    if to.is_read(names[0]):
        to.add("Split", [mean], role="mean_out", tops=[names[0]])
    if to.is_read(names[1]):
        params = {"power_param": {"shift": epsilon, "power": -0.5}}
        to.add("Power", [variance], params, role="inverse", tops=[names[1]])


@lifts("MeanVarianceNormalization")
def mean_variance_normalization(to: Lifter, x: str, *, axes: Sequence[int] = (0, 2, 3)) -> None:
    """MVN where each channel of each sample is by itself: both add 1e-9 to the deviation. Over the
    batch as well it is a BatchNorm with the statistics of its input."""
    rank = len(to.shape(x))
    chosen = sorted(axis % rank for axis in axes)
    if chosen == list(range(2, rank)):
        to.add("MVN", [x], {"mvn_param": {"eps": 1e-9}})
    elif chosen == [0, *range(2, rank)]:
        _statistics(to, x, to.shape(x)[1], 1e-18, "")
    else:
        raise to.refuse(f"axes {chosen} are not those of Caffe's MVN or BatchNorm")


@lifts("RMSNormalization")
def rms_normalization(
    to: Lifter, x: str, scale: str, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> None:
    """x (mean(x^2) + epsilon)^-1/2."""
    shape = to.shape(x)
    axis %= len(shape)
    squares = powered(to, x, power=2.0, role="squares")
    means = reduced(to, squares, range(axis, len(shape)), "MEAN", "mean")
    roots = powered(to, means, shift=epsilon, power=-0.5, role="inverse")
    y = eltwise(to, "PROD", [x, tiled(to, roots, shape, "wide")], "normalised")
    with_constant(to, y, to.wanted(scale, "scale"), "Scale")


def _normalised(to: Lifter, x: str, rows: int, epsilon: float) -> str:
    """Each of ``rows`` equal parts less its mean, over sqrt(variance + epsilon).

    Caffe's MVN divides by sqrt(variance) + eps; BatchNorm with statistics of its own, on a blob
    whose parts are its channels, is ONNX's.
    """
    shape = to.shape(x)
    y = reshaped(to, x, (1, rows, prod(shape) // rows), "parts")
    y = _statistics(to, y, rows, epsilon, "normalised")
    return reshaped(to, y, shape, "back")


def _statistics(to: Lifter, x: str, channels: int, epsilon: float, role: str) -> str:
    import numpy as np

    params = {"batch_norm_param": _eps({"use_global_stats": False}, epsilon)}
    blobs = [np.zeros(channels, np.float32), np.ones(channels, np.float32), np.ones(1, np.float32)]
    return to.add("BatchNorm", [x], params, blobs, role=role)


def _eps(params: dict[str, Any], epsilon: float) -> dict[str, Any]:
    """Without what is Caffe's default, 1e-5 (ONNX keeps it as float32)."""
    near = abs(epsilon - 1e-5) < 1e-12
    return params if near else params | {"eps": epsilon}


def _scale_and_bias(
    to: Lifter, x: str, scale: NDArray[Any], bias: NDArray[Any] | None, axis: int
) -> None:
    params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
    if scale.ndim != 1:
        params["num_axes"] = scale.ndim
    if bias is not None:
        params["bias_term"] = True
    to.add(
        "Scale",
        [x],
        {"scale_param": params} if params else {},
        [scale] if bias is None else [scale, bias],
    )


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
    y, along, back = _softmax_form(to, x, axis)
    params = {"softmax_param": {"axis": along}} if along != 1 else {}
    y = to.add("Softmax", [y], params, role="flat" if back else "")
    if back:
        reshaped(to, y, to.shape(to.out))


@lifts("LogSoftmax")
def log_softmax(to: Lifter, x: str, *, axis: int | None = None) -> None:
    """d - log(sum(exp d)) with d = x - max(x). The logarithm of Caffe's Softmax would be -inf
    where a probability is below float32's least number."""
    y, along, back = _softmax_form(to, x, axis)
    shape = to.shape(y)
    most = reduced(to, y, [along], "MAX", "max")
    d = to.add("Eltwise", [y, tiled(to, most, shape, "maxima")], DIFFERENCE, role="below")
    total = reduced(to, to.add("Exp", [d], role="exp"), [along], "SUM", "total")
    logs = tiled(to, to.add("Log", [total], role="log"), shape, "logs")
    y = to.add("Eltwise", [d, logs], DIFFERENCE, role="flat" if back else "")
    if back:
        reshaped(to, y, to.shape(to.out))


@lifts("protogen:Softmax")
def axis_softmax(to: Lifter, x: str, *, axis: int) -> None:
    """Softmax along one axis, whatever the operator set (see ``patterns``)."""
    to.add("Softmax", [x], {"softmax_param": {"axis": axis}} if axis != 1 else {})


def _softmax_form(to: Lifter, x: str, axis: int | None) -> tuple[str, int, bool]:
    """(value, the one axis to go along, whether it must be brought back to x's shape)."""
    shape = to.shape(x)
    if to.opset >= 13:
        return x, (-1 if axis is None else axis) % len(shape), False
    axis = (1 if axis is None else axis) % len(shape)
    long = [i for i in range(axis, len(shape)) if shape[i] != 1]
    if len(long) <= 1:
        return x, long[0] if long else axis, False
    flat = (*shape[:axis], prod(shape[axis:]))
    return reshaped(to, x, flat, "rows"), axis, True
