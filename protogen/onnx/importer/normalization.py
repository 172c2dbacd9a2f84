"""Normalisation operators and Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import eltwise, per_channel, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import DIFFERENCE, paired
from protogen.onnx.importer.forms import reshaped, tiled
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape


@imports("BatchNormalization")
def batch_normalization(
    ctx: ImportContext,
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
    """BatchNorm (mean, variance, and a factor of 1), and a Scale unless it has no effect. What is
    computed is the second bottom of a Scale or Bias."""
    import numpy as np

    if not spatial:
        raise ctx.unsupported("only the statistics of whole channels are supported: spatial 1")
    others = [name for name in ctx.operator.outputs[1:] if name]
    if any(map(ctx.is_read, others)):
        raise ctx.unsupported(
            "only its first output is supported, but the running statistics are read",
            "Export the model for inference, or end it before them with --to-blob.",
        )
    if training_mode or others:
        _normalised_by_batch(ctx, x, scale, bias, epsilon)
        return
    means, variances = ctx.constant(mean), ctx.constant(variance)
    if means is None or variances is None:
        y = _centred_and_scaled(ctx, x, mean, variance, epsilon)
        _scale_and_bias(ctx, y, scale, bias)
        return
    params = {"batch_norm_param": _eps({"use_global_stats": True}, epsilon)}
    blobs = [means, variances, np.ones(1, np.float32)]
    gamma, beta = ctx.constant(scale), ctx.constant(bias)
    if gamma is not None and beta is not None and (gamma == 1).all() and not beta.any():
        ctx.add("BatchNorm", [x], params, blobs)
        return
    y = ctx.add("BatchNorm", [x], params, blobs, tops=[ctx.new_value("bn")])
    if gamma is None or beta is None:
        _scale_and_bias(ctx, y, scale, bias)
    else:
        scale_ = {"scale_param": {"bias_term": True}}
        ctx.add("Scale", [y], scale_, [gamma, beta], role="scale", tops=[ctx.out])


def _centred_and_scaled(
    ctx: ImportContext, x: str, mean: str, variance: str, epsilon: float
) -> str:
    """(x - mean) (variance + epsilon)^-1/2, where at least one of the two is computed."""
    import numpy as np

    means, variances = ctx.constant(mean), ctx.constant(variance)
    if means is None:
        low = powered(ctx, mean, scale=-1.0, role="negated")
        y = ctx.add("Bias", [x, low], role="centred")
    else:
        y = with_constant(ctx, x, _column(-means, ctx.shape(x)), "Bias", "centred")
    if variances is None:
        inverse = powered(ctx, variance, shift=epsilon, power=-0.5, role="inverse")
        return ctx.add("Scale", [y, inverse], role="normalised")
    factors = (variances.astype(np.float64) + epsilon) ** -0.5
    return with_constant(ctx, y, _column(factors, ctx.shape(x)), "Scale", "normalised")


def _normalised_by_batch(ctx: ImportContext, x: str, scale: str, bias: str, epsilon: float) -> None:
    """The training form: the statistics of the batch instead of the stored ones."""
    ctx.notes[
        "the model is in training form: BatchNormalization uses the statistics of each batch, not the "
        "stored ones; export it for inference to use those"
    ] = None
    y = _statistics(ctx, x, ctx.shape(x)[1], epsilon, "normalised")
    _scale_and_bias(ctx, y, scale, bias)


@imports("InstanceNormalization")
def instance_normalization(
    ctx: ImportContext, x: str, scale: str, bias: str, *, epsilon: float = 1e-5
) -> None:
    shape = ctx.shape(x)
    y = _normalised(ctx, x, shape[0] * shape[1], epsilon)
    _scale_and_bias(ctx, y, scale, bias)


@imports("GroupNormalization")
def group_normalization(
    ctx: ImportContext,
    x: str,
    scale: str,
    bias: str,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> None:
    """Scale and bias have one value per group before operator set 21, per channel from 21 on."""
    shape = ctx.shape(x)
    y = _normalised(ctx, x, shape[0] * num_groups, epsilon)
    each = 1 if ctx.opset >= 21 else shape[1] // num_groups
    _scale_and_bias(ctx, y, scale, bias, each)


@imports("LayerNormalization")
def layer_normalization(
    ctx: ImportContext,
    x: str,
    scale: str,
    bias: str | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> None:
    import numpy as np

    shape = ctx.shape(x)
    axis %= len(shape)
    _layer_statistics(ctx, x, range(axis, len(shape)), epsilon)
    y = _normalised(ctx, x, prod(shape[:axis]), epsilon)
    factors, terms = ctx.constant(scale), ctx.constant(bias)
    if factors is not None and (terms is not None or not bias):
        blobs = [np.broadcast_to(one, shape[axis:]) for one in (factors, terms) if one is not None]
        _scale_layer(ctx, y, blobs, axis)
        return
    y = _times(ctx, y, scale, "scaled" if bias else "")
    if terms is not None:
        with_constant(ctx, y, terms, "Bias")
    elif bias:
        paired(ctx, y, bias, "SUM")


def _times(ctx: ImportContext, x: str, scale: str, role: str = "") -> str:
    """Multiply by a constant or a computed value, with ONNX's broadcasting to the shape of x."""
    factors = ctx.constant(scale)
    if factors is None:
        return paired(ctx, x, scale, "PROD", role)
    return with_constant(ctx, x, factors, "Scale", role)


def _layer_statistics(ctx: ImportContext, x: str, axes: Sequence[int], epsilon: float) -> None:
    """Add the second and third output, mean and 1 / sqrt(variance + epsilon), if they are used."""
    names = (*ctx.operator.outputs[1:], "", "")[:2]
    if not any(map(ctx.is_read, names)):
        return
    mean = reduced(ctx, x, axes, "MEAN", "mean")
    tiled_mean = tiled(ctx, mean, ctx.shape(x), "wide_mean")
    centred = ctx.add("Eltwise", [x, tiled_mean], DIFFERENCE, role="centred")
    squares = powered(ctx, centred, power=2.0, role="squares")
    variance = reduced(ctx, squares, axes, "MEAN", "variance")
    if ctx.is_read(names[0]):
        ctx.add("Split", [mean], role="mean_out", tops=[names[0]])
    if ctx.is_read(names[1]):
        params = {"power_param": {"shift": epsilon, "power": -0.5}}
        ctx.add("Power", [variance], params, role="inverse", tops=[names[1]])


@imports("MeanVarianceNormalization")
def mean_variance_normalization(
    ctx: ImportContext, x: str, *, axes: Sequence[int] = (0, 2, 3)
) -> None:
    """MVN if each channel of each sample is normalised separately: ONNX and Caffe both add 1e-9 to
    the deviation. Over the batch too: a BatchNorm with the statistics of its input."""
    rank = len(ctx.shape(x))
    chosen = sorted(axis % rank for axis in axes)
    if chosen == list(range(2, rank)):
        ctx.add("MVN", [x], {"mvn_param": {"eps": 1e-9}})
    elif chosen == [0, *range(2, rank)]:
        _statistics(ctx, x, ctx.shape(x)[1], 1e-18, "")
    else:
        raise ctx.unsupported(
            f"axes must be {[*range(2, rank)]} or {[0, *range(2, rank)]} in Caffe, got {chosen}"
        )


@imports("RMSNormalization")
def rms_normalization(
    ctx: ImportContext,
    x: str,
    scale: str,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> None:
    """x (mean(x^2) + epsilon)^-1/2, times the scale."""
    shape = ctx.shape(x)
    axis %= len(shape)
    squares = powered(ctx, x, power=2.0, role="squares")
    means = reduced(ctx, squares, range(axis, len(shape)), "MEAN", "mean")
    roots = powered(ctx, means, shift=epsilon, power=-0.5, role="inverse")
    y = eltwise(ctx, "PROD", [x, tiled(ctx, roots, shape, "wide")], "normalised")
    _times(ctx, y, scale)


def _normalised(ctx: ImportContext, x: str, rows: int, epsilon: float) -> str:
    """Normalise each of ``rows`` equal parts: (x - mean) / sqrt(variance + epsilon).

    Caffe's MVN divides by sqrt(variance) + eps instead. A BatchNorm with the statistics of its
    input, on a blob whose channels are the parts, computes ONNX's formula.
    """
    shape = ctx.shape(x)
    y = reshaped(ctx, x, (1, rows, prod(shape) // rows), "parts")
    y = _statistics(ctx, y, rows, epsilon, "normalised")
    return reshaped(ctx, y, shape, "back")


def _statistics(ctx: ImportContext, x: str, channels: int, epsilon: float, role: str) -> str:
    import numpy as np

    params = {"batch_norm_param": _eps({"use_global_stats": False}, epsilon)}
    blobs = [np.zeros(channels, np.float32), np.ones(channels, np.float32), np.ones(1, np.float32)]
    return ctx.add("BatchNorm", [x], params, blobs, role=role)


def _eps(params: dict[str, Any], epsilon: float) -> dict[str, Any]:
    """Add ``eps`` unless it is Caffe's default, 1e-5 (rounded to float32 in ONNX)."""
    is_default = abs(epsilon - 1e-5) < 1e-12
    return params if is_default else params | {"eps": epsilon}


def _scale_and_bias(ctx: ImportContext, x: str, scale: str, bias: str, each: int = 1) -> None:
    """Multiply and add a value per channel, or per ``each`` channels. Constants are one Scale."""
    import numpy as np

    factors, terms = ctx.constant(scale), ctx.constant(bias)
    if factors is not None and terms is not None:
        _scale_layer(ctx, x, [np.repeat(one, each) for one in (factors, terms)], 1)
        return
    if each > 1:
        raise ctx.unsupported("a computed value per group is supported from operator set 21 on")
    y = per_channel(ctx, x, scale, "Scale", "scaled")
    per_channel(ctx, y, bias, "Bias")


def _column(values: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Return values per channel in the form that ONNX broadcasts to this shape."""
    return values.reshape(-1, *[1] * (len(shape) - 2))


def _scale_layer(ctx: ImportContext, x: str, blobs: Sequence[NDArray[Any]], axis: int) -> None:
    """Add a Scale by constants: the factors, and the terms if there are two blobs."""
    params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
    if blobs[0].ndim != 1:
        params["num_axes"] = blobs[0].ndim
    if len(blobs) > 1:
        params["bias_term"] = True
    ctx.add("Scale", [x], {"scale_param": params} if params else {}, blobs)


@imports("LRN")
def lrn(
    ctx: ImportContext,
    x: str,
    *,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 1.0,
) -> None:
    """LRN across channels. Caffe divides alpha by the size, as ONNX does."""
    if size % 2 == 0:
        raise ctx.unsupported(f"size must be odd in Caffe, got {size}")
    params = {"local_size": size, "alpha": alpha, "beta": beta}
    if bias != 1:
        params["k"] = bias
    ctx.add("LRN", [x], {"lrn_param": params})


@imports("Softmax")
def softmax(ctx: ImportContext, x: str, *, axis: int | None = None) -> None:
    """Along one axis from operator set 13 on; before 13, over all axes from ``axis`` on as one."""
    y, axis_, flattened = softmax_form(ctx, x, axis)
    params = {"softmax_param": {"axis": axis_}} if axis_ != 1 else {}
    y = ctx.add("Softmax", [y], params, role="flat" if flattened else "")
    if flattened:
        reshaped(ctx, y, ctx.shape(ctx.out))


@imports("LogSoftmax")
def log_softmax(ctx: ImportContext, x: str, *, axis: int | None = None) -> None:
    """d - log(sum(exp d)) with d = x - max(x).

    The logarithm of Caffe's Softmax would be -inf where a probability is below the smallest
    float32.
    """
    y, axis_, flattened = softmax_form(ctx, x, axis)
    shape = ctx.shape(y)
    most = reduced(ctx, y, [axis_], "MAX", "max")
    d = ctx.add("Eltwise", [y, tiled(ctx, most, shape, "maxima")], DIFFERENCE, role="below")
    total = reduced(ctx, ctx.add("Exp", [d], role="exp"), [axis_], "SUM", "total")
    logs = tiled(ctx, ctx.add("Log", [total], role="log"), shape, "logs")
    y = ctx.add("Eltwise", [d, logs], DIFFERENCE, role="flat" if flattened else "")
    if flattened:
        reshaped(ctx, y, ctx.shape(ctx.out))


@imports("protogen:Softmax")
def axis_softmax(ctx: ImportContext, x: str, *, axis: int) -> None:
    """Softmax along one axis in every operator set (see ``patterns``)."""
    ctx.add("Softmax", [x], {"softmax_param": {"axis": axis}} if axis != 1 else {})


def softmax_form(ctx: ImportContext, x: str, axis: int | None) -> tuple[str, int, bool]:
    """Return (value, axis, whether the result must be reshaped to x's shape)."""
    shape = ctx.shape(x)
    if ctx.opset >= 13:
        return x, (-1 if axis is None else axis) % len(shape), False
    axis = (1 if axis is None else axis) % len(shape)
    long_axes = [i for i in range(axis, len(shape)) if shape[i] != 1]
    if len(long_axes) <= 1:
        return x, long_axes[0] if long_axes else axis, False
    flat = (*shape[:axis], prod(shape[axis:]))
    return reshaped(ctx, x, flat, "rows"), axis, True
