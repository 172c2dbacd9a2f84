"""Operators that move values about, and those that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import gathered, permuted, reshaped, tiled
from protogen.onnx.importer.registry import FLOATS, lifts


@lifts("Identity")
def identity(to: Lifter, x: str) -> None:
    to.same(x)


@lifts("Dropout")
def dropout(
    to: Lifter,
    x: str,
    ratio_: str | None = None,
    mode_: str | None = None,
    *,
    ratio: float = 0.5,
    seed: int = 0,
) -> None:
    """Nothing at inference."""
    mode = to.constant(mode_)
    if mode is not None and mode.all():
        raise to.refuse("its training_mode is on")
    to.same(x)


@lifts("Cast")
def cast(into: Lifter, x: str, *, to: int = 1, saturate: int = 1, round_mode: str = "") -> None:
    """Nothing where float32 holds both; whole numbers are held as floats."""
    kind, before = into.kind(into.out), into.kind(x)
    whole = all(one.lstrip("U").startswith("INT") for one in (kind, before))
    if kind not in FLOATS and not whole:
        raise into.refuse(f"a cast of {before} to {kind} has no form in Caffe")
    into.same(x)


@lifts("Concat")
def concat(to: Lifter, *inputs: str, axis: int = 1) -> None:
    if len(inputs) == 1:
        to.same(inputs[0])
        return
    axis %= len(to.shape(to.out))
    to.add("Concat", inputs, {"concat_param": {"axis": axis}} if axis != 1 else {})


@lifts("Split")
def split(
    to: Lifter,
    x: str,
    sizes: str | None = None,
    *,
    axis: int = 0,
    split: Sequence[int] | None = None,
    num_outputs: int | None = None,
) -> None:
    shape = to.shape(x)
    axis %= len(shape)
    outputs = to.operator.outputs
    lengths = to.numbers(split, sizes, "lengths")
    if lengths is None:
        step = -(-shape[axis] // len(outputs))
        lengths = [min(step, shape[axis] - i * step) for i in range(len(outputs))]
    if len(outputs) == 1:
        to.same(x)
        return
    if min(lengths) < 1:
        raise to.refuse("one of its parts is empty")
    points = list(accumulate(lengths[:-1]))
    to.slice(x, axis, points, [name or to.value("unused") for name in outputs])


@lifts("protogen:Split")
def parts(to: Lifter, x: str, *, axis: int, lengths: Sequence[int]) -> None:
    """Slices of one axis (see ``fusion``)."""
    to.slice(x, axis, list(accumulate(lengths[:-1])), to.operator.outputs)


@lifts("Slice")
def slice_(
    to: Lifter,
    x: str,
    starts_: str | None = None,
    ends_: str | None = None,
    axes_: str | None = None,
    steps_: str | None = None,
    *,
    starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
) -> None:
    """Starts, ends and axes are attributes before operator set 10, and inputs since."""
    shape = to.shape(x)
    low = to.numbers(starts, starts_, "starts") or []
    high = to.numbers(ends, ends_, "ends") or []
    over = to.numbers(axes, axes_, "axes") or list(range(len(low)))
    steps = to.numbers(None, steps_, "steps") or [1] * len(low)
    work = []
    for axis, a, b, s in zip(over, low, high, steps, strict=True):
        axis %= len(shape)
        indices = range(*slice(a, b, s).indices(shape[axis]))
        if not indices:
            raise to.refuse("it makes nothing, and Caffe's blobs are not empty")
        if indices != range(shape[axis]):
            work.append((axis, indices))
    if not work:
        to.same(x)
    for number, (axis, indices) in enumerate(work):
        x = gathered(to, x, axis, indices, "" if number == len(work) - 1 else f"axis{axis}")


@lifts("Gather")
def gather(to: Lifter, data: str, indices: str, *, axis: int = 0) -> None:
    """Constant places of an axis by Slice and Concat; rows of a constant table by Embed."""
    places = to.constant(indices)
    if places is None:
        table = to.wanted(data, "table")
        if table.ndim != 2 or axis % 2 != 0:
            raise to.refuse("its places are computed, and its table is no matrix of rows")
        params = {"num_output": table.shape[1], "input_dim": table.shape[0], "bias_term": False}
        to.add("Embed", [indices], {"embed_param": params}, [table])
        return
    shape = to.shape(data)
    axis %= len(shape)
    wanted = [int(i) % shape[axis] for i in places.reshape(-1)]
    if not wanted:
        raise to.refuse("it makes nothing, and Caffe's blobs are not empty")
    out = to.shape(to.out)
    flat = len(out) != len(shape)
    y = gathered(to, data, axis, wanted, "part" if flat else "")
    if flat:
        reshaped(to, y, out)


@lifts("Flatten")
def flatten(to: Lifter, x: str, *, axis: int = 1) -> None:
    """To two axes: those before ``axis`` as one, and those from it on."""
    reshaped(to, x, to.shape(to.out))


@lifts("Reshape")
def reshape(
    to: Lifter,
    x: str,
    shape_: str | None = None,
    *,
    shape: Sequence[int] | None = None,
    allowzero: int = 0,
) -> None:
    to.numbers(shape, shape_, "shape")
    reshaped(to, x, to.shape(to.out))


@lifts("Squeeze", "Unsqueeze")
def squeeze(
    to: Lifter, x: str, axes_: str | None = None, *, axes: Sequence[int] | None = None
) -> None:
    reshaped(to, x, to.shape(to.out))


@lifts("Expand")
def expand(to: Lifter, x: str, shape: str) -> None:
    tiled(to, x, to.shape(to.out))


@lifts("Tile")
def tile(to: Lifter, x: str, repeats: str) -> None:
    """A Tile for each axis that repeats."""
    counts = to.numbers(None, repeats, "repeats") or []
    work = [(axis, n) for axis, n in enumerate(counts) if n != 1]
    if any(n < 1 for _, n in work):
        raise to.refuse("it makes nothing, and Caffe's blobs are not empty")
    if not work:
        to.same(x)
    for number, (axis, n) in enumerate(work):
        params = {"tile_param": {"axis": axis, "tiles": n}}
        x = to.add("Tile", [x], params, role="" if number == len(work) - 1 else "tiled")


@lifts("Transpose")
def transpose(to: Lifter, x: str, *, perm: Sequence[int] | None = None) -> None:
    rank = len(to.shape(x))
    permuted(to, x, list(perm) if perm is not None else list(reversed(range(rank))))


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
def space_to_depth(to: Lifter, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    """A strided Convolution with one weight of 1 for each output channel."""
    import numpy as np

    channels = to.shape(x)[1]
    out = channels * blocksize**2
    weight = np.zeros((out, channels, blocksize, blocksize), np.float32)
    c = np.arange(out)
    from_, place = (c % channels, c // channels)
    if mode == "CRD":
        from_, place = c // blocksize**2, c % blocksize**2
    weight[c, from_, place // blocksize, place % blocksize] = 1
    params = {"num_output": out, "kernel_size": blocksize, "stride": blocksize, "bias_term": False}
    to.add("Convolution", [x], {"convolution_param": params}, [weight])


@lifts("Resize")
def resize(
    to: Lifter,
    x: str,
    roi: str | None = None,
    scales: str | None = None,
    sizes: str | None = None,
    **attributes: Any,
) -> None:
    """The resampling compiler: exact, with stock layers. In operator set 10 the scales come
    second."""
    if to.opset < 11:
        roi, scales = None, roi
    _resize(to, x, scales, sizes, roi, attributes)


@lifts("Upsample")
def upsample(to: Lifter, x: str, scales: str | None = None, **attributes: Any) -> None:
    _resize(to, x, scales, None, None, attributes)


def _resize(
    to: Lifter,
    x: str,
    scales: str | None,
    sizes: str | None,
    roi: str | None,
    attributes: dict[str, Any],
) -> None:
    """A sequence of N x C x W goes as a picture of one row."""
    from protogen.resampling.forms import request_of

    def values(name: str | None, what: str, row: Sequence[tuple[int, float]]) -> list[Any] | None:
        found = to.wanted(name, what) if name else None
        if found is None or not found.size:
            return None
        made = list(found.reshape(-1))
        for place, number in row if rows else ():
            made.insert(place, number)
        return made

    shape = to.shape(x)
    rows = len(shape) == 3 and "axes" not in attributes
    if rows:
        shape = (*shape[:2], 1, shape[2])
        x = reshaped(to, x, shape, "row")
    request = request_of(
        to.operator.type,
        shape,
        attributes,
        opset=to.opset,
        scales=values(scales, "scales", [(2, 1.0)]),
        sizes=values(sizes, "sizes", [(2, 1)]),
        roi=values(roi, "roi", [(2, 0.0), (6, 1.0)]),
    )
    top = to.value("resized") if rows else ""
    to.resize(request, x, top)
    if rows:
        reshaped(to, top, to.shape(to.out))
