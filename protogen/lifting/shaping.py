"""Operators that move values about, and those that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.lifting.core import Lifter, lifts
from protogen.lifting.forms import cropped, reshaped, window


@lifts("Identity")
def identity(to: Lifter, x: str) -> None:
    to.same(x)


@lifts("Dropout")
def dropout(
    to: Lifter, x: str, ratio: str | None = None, mode: str | None = None, **_: Any
) -> None:
    """Nothing at inference."""
    to.same(x)


@lifts("Cast")
def cast(into: Lifter, x: str, *, to: int = 1, saturate: int = 1, round_mode: str = "") -> None:
    """Between float types; Caffe has one."""
    kind = into.source.kinds.get(into.out, "FLOAT")
    before = into.source.kinds.get(x, "FLOAT")
    floats = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
    if kind not in floats or before not in floats:
        raise into.refuse(f"a cast of {before} to {kind} has no form in Caffe")
    into.same(x)


@lifts("Concat")
def concat(to: Lifter, *inputs: str, axis: int = 1) -> None:
    axis %= len(to.shape(to.out))
    to.add("Concat", inputs, {"concat_param": {"axis": axis}} if axis != 1 else {})


@lifts("Split")
def split(
    to: Lifter, x: str, sizes: str | None = None, *, axis: int = 0,
    split: Sequence[int] | None = None, num_outputs: int | None = None,
) -> None:  # fmt: skip
    shape = to.shape(x)
    axis %= len(shape)
    outputs = to.operator.outputs
    lengths = to.numbers(split, sizes, "lengths")
    if lengths is None:
        step = -(-shape[axis] // len(outputs))
        lengths = [min(step, shape[axis] - i * step) for i in range(len(outputs))]
    points, at = [], 0
    for length in lengths[:-1]:
        at += length
        points.append(at)
    if len(outputs) == 1:
        to.same(x)
        return
    params = {"slice_param": {"axis": axis, "slice_point": points}}
    to.add("Slice", [x], params, tops=list(outputs))


@lifts("Slice")
def slice_(
    to: Lifter, x: str, starts_: str | None = None, ends_: str | None = None,
    axes_: str | None = None, steps_: str | None = None, *, starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None, axes: Sequence[int] | None = None,
) -> None:  # fmt: skip
    """Slice by Slice, and a Silence for what is left over; with steps, every s-th by a Pooling or
    slices of one."""
    shape = list(to.shape(x))
    low, high = to.numbers(starts, starts_, "starts"), to.numbers(ends, ends_, "ends")
    assert low is not None
    assert high is not None
    over = to.numbers(axes, axes_, "axes") or list(range(len(low)))
    steps = to.numbers(None, steps_, "steps") or [1] * len(low)
    work = []
    for axis, a, b, s in zip(over, low, high, steps, strict=True):
        axis %= len(shape)
        begin, end, step = slice(a, b, s).indices(shape[axis])
        if step < 1:
            raise to.refuse("its negative steps have no form in Caffe")
        if end <= begin:
            raise to.refuse("it makes nothing")
        if (begin, end, step) != (0, shape[axis], 1):
            work.append((axis, begin, end, step))
    if not work:
        to.same(x)
        return
    for number, (axis, begin, end, step) in enumerate(work):
        last = number == len(work) - 1
        if step == 1:
            x = cropped(to, x, axis, begin, end, "" if last else f"axis{axis}")
            continue
        tops = to.split(x, axis, range(1, shape[axis]))
        wanted = tops[begin:end:step]
        now = to.shape(x)
        after = (*now[:axis], len(wanted), *now[axis + 1 :])
        params = {"concat_param": {"axis": axis}}
        x = to.add("Concat", wanted, params, role="" if last else f"axis{axis}", shape=after)


@lifts("Flatten")
def flatten(to: Lifter, x: str, *, axis: int = 1) -> None:
    """To two axes: those before ``axis`` as one, and those from it on."""
    reshaped(to, x, to.shape(to.out))


@lifts("Reshape")
def reshape(
    to: Lifter, x: str, shape_: str | None = None, *, shape: Sequence[int] | None = None,
    allowzero: int = 0,
) -> None:  # fmt: skip
    reshaped(to, x, to.shape(to.out))


@lifts("Squeeze", "Unsqueeze")
def squeeze(
    to: Lifter, x: str, axes_: str | None = None, *, axes: Sequence[int] | None = None
) -> None:
    reshaped(to, x, to.shape(to.out))


@lifts("Transpose")
def transpose(to: Lifter, x: str, *, perm: Sequence[int] | None = None) -> None:
    """A Reshape where only axes of length 1 move; else Permute, or Slice and Concat."""
    shape = to.shape(x)
    order = list(perm) if perm is not None else list(reversed(range(len(shape))))
    if order == list(range(len(shape))):
        to.same(x)
        return
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        reshaped(to, x, to.shape(to.out))
        return
    to.fork("Permute", [x], {"permute_param": {"order": order}})


@lifts("Pad")
def pad(
    to: Lifter, x: str, pads_: str | None = None, value_: str | None = None,
    axes_: str | None = None, *, pads: Sequence[int] | None = None, value: float = 0.0,
    mode: str = "constant",
) -> None:  # fmt: skip
    """Zeros around height and width: a Convolution of 1x1 in groups, with that pad on both ends."""
    import numpy as np

    shape, out = to.shape(x), to.shape(to.out)
    if shape == out:
        to.same(x)
        return
    given = to.numbers(pads, pads_, "pads") or []
    number = to.constant(value_)
    filled = value if number is None else float(number.reshape(()))
    axes = to.numbers(None, axes_, "axes") or list(range(len(shape)))
    low = dict.fromkeys(range(len(shape)), 0)
    high = dict(low)
    for i, axis in enumerate(axes):
        low[axis % len(shape)] = given[i]
        high[axis % len(shape)] = given[len(axes) + i]
    if mode != "constant" or filled != 0:
        raise to.refuse(f"its mode {mode} with the value {filled:g} has no form in Caffe")
    if len(shape) != 4 or low[0] or low[1] or high[0] or high[1]:
        raise to.refuse("it pads other axes than height and width")
    if min(*low.values(), *high.values()) < 0:
        raise to.refuse("its negative pads have no form in Caffe")
    # The wider end decides the pad; zeros before or behind the kernel's 1 take the rest back.
    wide = [max(low[a], high[a]) for a in (2, 3)]
    before = [wide[i] - low[2 + i] for i in (0, 1)]
    behind = [wide[i] - high[2 + i] for i in (0, 1)]
    kernel = np.zeros(
        (shape[1], 1, before[0] + behind[0] + 1, before[1] + behind[1] + 1), np.float32
    )
    kernel[:, :, before[0], before[1]] = 1
    params: dict[str, Any] = {"num_output": shape[1], "group": shape[1], "bias_term": False}
    params |= window(kernel.shape[2:], [1, 1], wide, [1, 1])
    to.add("Convolution", [x], {"convolution_param": params}, [kernel])


@lifts("DepthToSpace")
def depth_to_space(to: Lifter, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    """A Deconvolution with one weight of 1 for each input channel; CRD order is PixelShuffle's."""
    import numpy as np

    if mode == "CRD":
        to.fork("PixelShuffle", [x], {"pixelshuffle_param": {"upscale_factor": blocksize}})
        return
    channels = to.shape(x)[1]
    out = channels // blocksize**2
    weight = np.zeros((channels, out, blocksize, blocksize), np.float32)
    c = np.arange(channels)
    weight[c, c % out, c // out // blocksize, c // out % blocksize] = 1
    params = {"num_output": out, "kernel_size": blocksize, "stride": blocksize, "bias_term": False}
    to.add("Deconvolution", [x], {"convolution_param": params}, [weight])


@lifts("SpaceToDepth")
def space_to_depth(to: Lifter, x: str, *, blocksize: int) -> None:
    """A strided Convolution with one weight of 1 for each output channel."""
    import numpy as np

    channels = to.shape(x)[1]
    out = channels * blocksize**2
    weight = np.zeros((out, channels, blocksize, blocksize), np.float32)
    c = np.arange(out)
    weight[c, c % channels, c // channels // blocksize, c // channels % blocksize] = 1
    params = {"num_output": out, "kernel_size": blocksize, "stride": blocksize, "bias_term": False}
    to.add("Convolution", [x], {"convolution_param": params}, [weight])


@lifts("Resize")
def resize(
    to: Lifter, x: str, roi: str | None = None, scales: str | None = None,
    sizes: str | None = None, **attributes: Any,
) -> None:  # fmt: skip
    """The resampling compiler: exact, with stock layers. In operator set 10 the scales come
    second."""
    if to.opset < 11:
        roi, scales = None, roi
    _resize(to, x, scales, sizes, roi, attributes)


@lifts("Upsample")
def upsample(to: Lifter, x: str, scales: str | None = None, **attributes: Any) -> None:
    _resize(to, x, scales, None, None, attributes)


def _resize(
    to: Lifter, x: str, scales: str | None, sizes: str | None, roi: str | None,
    attributes: dict[str, Any],
) -> None:  # fmt: skip
    from protogen.resizing.forms import request_of

    def values(name: str | None, what: str) -> Any:
        return to.wanted(name, what) if name and to.constant(name) is not None else None

    request = request_of(
        to.operator.type, to.shape(x), attributes, opset=to.opset,
        scales=values(scales, "scales"), sizes=values(sizes, "sizes"), roi=values(roi, "roi"),
    )  # fmt: skip
    to.resize(request, x)
