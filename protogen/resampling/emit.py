"""Chains of stages to steps: what layers there will be, with parameters, weights and shapes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.fillers import bilinear
from protogen.resampling.request import ResizeRequest
from protogen.resampling.stages import Border, Chain, Conv, Deconv, Gain, Mix, Pool, Stage
from protogen.resampling.steps import Form, Step, Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = NDArray[np.float32]


def emit(
    chains: tuple[Chain, Chain],
    request: ResizeRequest,
    form: Form,
    *,
    name: str,
    bottom: str,
    top: str,
) -> tuple[Step, ...]:
    """The layers of a chain for the height and one for the width.

    Raises:
        UnsupportedError: a layer for each channel, and there are too many of them.
    """
    h, w = request.size or (request.axes[0].size, request.axes[1].size)
    shape: Shape = (request.batch, request.channels, h, w)
    writer = Writer(name, form, {bottom: shape})
    x = bottom
    pairs = list(zip(chains[0].stages, chains[1].stages, strict=True))
    for pair in pairs:
        x = _stage(writer, x, pair)
    if chains[0].normalised:
        zeros = {"scale": 0.0, "shift": 1.0}
        ones = writer.add("Power", "ones", [bottom], {"power_param": zeros}, shape)
        for pair in pairs:
            ones = _stage(writer, ones, pair)
        weight = {"power_param": {"power": -1.0}}
        after = writer.shapes[x]
        gain = writer.add("Power", "gain", [ones], weight, after, in_place=True)
        product = {"eltwise_param": {"operation": Name("PROD")}}
        x = writer.add("Eltwise", "product", [x, gain], product, after)
    outside = request.axes[0].outside[:, None] | request.axes[1].outside[None, :]
    if outside.any() and request.extrapolation:
        x = _plane(writer, "Bias", "fill", x, outside * request.extrapolation)
    return _renamed(writer.steps, x, name, top)


def _stage(writer: Writer, x: str, pair: tuple[Stage, Stage]) -> str:
    match pair:
        case Deconv() as h, Deconv() as w:
            return _kernel(writer, x, h, w, "Deconvolution", "deconv")
        case Conv() as h, Conv() as w:
            return _kernel(writer, x, h, w, "Convolution", "conv")
        case Pool() as h, Pool() as w:
            return _pool(writer, x, h, w)
        case Border() as h, Border() as w:
            return _border(writer, _border(writer, x, 2, h), 3, w)
        case Gain() as h, Gain() as w:
            import numpy as np

            return _plane(
                writer, "Scale", "gain", x, np.outer(np.array(h.factors), np.array(w.factors))
            )
        case Mix() as h, Mix() as w:
            return _mix(writer, x, h, w)
    raise TypeError(f"{pair} are not of one kind")


def _kernel(
    writer: Writer, x: str, h: Deconv | Conv, w: Deconv | Conv, type_: str, role: str
) -> str:
    import numpy as np

    before = writer.shapes[x]
    n, c = before[:2]
    kernel = np.multiply.outer(np.array(h.kernel, np.float32), np.array(w.kernel, np.float32))
    sizes = tuple(s.out(m) for s, m in zip((h, w), before[2:], strict=True))
    grouping = "group" if c == 1 else writer.form.grouping
    if grouping == "split":
        return _split_channels(writer, x, h, w, type_, role)
    group = 1 if grouping == "dense" else c
    window = _window(h, w)
    params = {"num_output": c, **window, "group": group, "weight_filler": _filler(kernel, group, c)}
    blob = (c, c // group, *kernel.shape)
    make = partial(_shared if group == c else _diagonal, kernel, blob)
    over = before if type_ == "Deconvolution" else (n, c, *sizes)
    return writer.add(
        type_,
        role,
        [x],
        {"convolution_param": params | {"bias_term": False}},
        (n, c, *sizes),
        blob=blob,
        make=make,
        features=["group"] if group > 1 else [],
        multiply_adds=math.prod(over) * math.prod(blob[1:]),
    )


def _shared(kernel: Weights, blob: Shape) -> Weights:
    """One kernel for all channels, held once."""
    import numpy as np

    return np.broadcast_to(kernel, blob)


def _diagonal(kernel: Weights, blob: Shape) -> Weights:
    """C x C kernels, all zeros but those from each channel to itself."""
    import numpy as np

    weight = np.zeros(blob, np.float32)
    channel = np.arange(blob[0])
    weight[channel, channel] = kernel
    return weight


def _split_channels(
    writer: Writer, x: str, h: Deconv | Conv, w: Deconv | Conv, type_: str, role: str
) -> str:
    n, c, *rest = writer.shapes[x]
    if c > 64:
        raise UnsupportedError(
            f"a layer for each of {c} channels makes no usable net", subject=writer.name
        )
    points: dict[str, Any] = {"axis": 1, "slice_point": list(range(1, c))}
    part: Shape = (n, 1, *rest)
    first = len(writer.steps)
    writer.add(
        "Slice",
        "channels",
        [x],
        {"slice_param": points},
        part,
        tops=[(str(i), part) for i in range(c)],
        features=["slice"],
    )
    parts = writer.steps[first].tops
    writer.steps[first] = replace(writer.steps[first], after=(n, c, *rest))
    made = [_kernel(writer, one, h, w, type_, role) for one in parts]
    after = writer.shapes[made[0]]
    return writer.add(
        "Concat",
        "joined",
        made,
        {"concat_param": {"axis": 1}},
        (n, c, *after[2:]),
        features=["concat"],
    )


def _pool(writer: Writer, x: str, h: Pool, w: Pool) -> str:
    if (h.window, h.stride, w.window, w.stride) == (1, 1, 1, 1):
        return x
    n, c, *sizes = writer.shapes[x]
    after = tuple(s.out(m) for s, m in zip((h, w), sizes, strict=True))
    params: dict[str, Any] = {"pool": Name("AVE")}
    for key, a, b in (("kernel", h.window, w.window), ("stride", h.stride, w.stride)):
        one = "kernel_size" if key == "kernel" else key
        params |= {one: a} if a == b else {f"{key}_h": a, f"{key}_w": b}
    return writer.add("Pooling", "pool", [x], {"pooling_param": params}, (n, c, *after))


def _border(writer: Writer, x: str, axis: int, stage: Border) -> str:
    if not (stage.before or stage.behind):
        return x
    shape = writer.shapes[x]
    size = shape[axis]
    after = (*shape[:axis], size + stage.before + stage.behind, *shape[axis + 1 :])
    letter = "hw"[axis - 2]
    points = sorted({1 if stage.before else 0, size - 1 if stage.behind else 0} - {0})
    tops = [x]
    if size > 1:
        ends = [0, *points, size]
        lengths = [b - a for a, b in pairwise(ends)]
        parts = [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
        labels = ["a", "b", "c"][: len(parts)]
        first = len(writer.steps)
        writer.add(
            "Slice",
            f"edges_{letter}",
            [x],
            {"slice_param": {"axis": axis, "slice_point": points}},
            parts[0],
            tops=list(zip(labels, parts, strict=True)),
            features=["slice"],
        )
        writer.steps[first] = replace(writer.steps[first], after=shape)
        tops = list(writer.steps[first].tops)
    bottoms = [tops[0]] * stage.before + tops + [tops[-1]] * stage.behind
    return writer.add(
        "Concat",
        f"border_{letter}",
        bottoms,
        {"concat_param": {"axis": axis}},
        after,
        features=["concat"],
    )


def _plane(writer: Writer, type_: str, role: str, x: str, values: NDArray[np.floating]) -> str:
    import numpy as np

    shape = writer.shapes[x]
    key = f"{type_.lower()}_param"
    params: dict[str, Any] = {"axis": 2, "num_axes": 2}
    plane = values.astype(np.float32)
    in_place = bool(writer.steps)  # never the input itself
    work = math.prod(shape) if type_ == "Scale" else 0
    return writer.add(
        type_,
        role,
        [x],
        {key: params},
        shape,
        in_place=in_place,
        blob=plane.shape,
        make=lambda: plane,
        features=["plane"],
        multiply_adds=work,
    )


def _mix(writer: Writer, x: str, h: Mix, w: Mix) -> str:
    """Height first or width first, whichever multiplies less; identities are left out."""
    import numpy as np

    def useful(stage: Mix) -> bool:
        a = stage.weights
        return a.shape[0] != a.shape[1] or not np.array_equal(a, np.eye(len(a)))

    both = [(2, h), (3, w)]
    rows, columns = h.weights.shape, w.weights.shape
    first = rows[0] * columns[1] * (rows[1] + columns[0])
    if first > rows[1] * columns[0] * (rows[0] + columns[1]):
        both.reverse()
    mix = _mix_axis if writer.form.mixing == "axis" else _mix_reshaped
    for axis, stage in both:
        if useful(stage):
            x = mix(writer, x, axis, stage)
    return x


def _mix_axis(writer: Writer, x: str, axis: int, stage: Mix) -> str:
    import numpy as np

    shape = writer.shapes[x]
    out = stage.weights.shape[0]
    params: dict[str, Any] = {"num_output": out, "axis": axis}
    weight = stage.weights.astype(np.float32)
    if axis == 2:  # one spatial axis is left; of axis 3, none
        params["kernel_size"] = 1
        weight = weight[:, :, None]
    params |= {"weight_filler": ZERO, "bias_term": False, "engine": Name("CAFFE")}
    after = (*shape[:axis], out, *shape[axis + 1 :])
    return writer.add(
        "Convolution",
        "rows" if axis == 2 else "columns",
        [x],
        {"convolution_param": params},
        after,
        blob=weight.shape,
        make=lambda: weight,
        features=["axis"],
        multiply_adds=math.prod(after) * shape[axis],
    )


def _mix_reshaped(writer: Writer, x: str, axis: int, stage: Mix) -> str:
    import numpy as np

    n, c, height, width = writer.shapes[x]
    out = stage.weights.shape[0]
    weight = stage.weights.astype(np.float32)
    if axis == 3:
        after = (n, c, height, out)
        params = {"num_output": out, "bias_term": False, "weight_filler": ZERO, "axis": 3}
        return writer.add(
            "InnerProduct",
            "columns",
            [x],
            {"inner_product_param": params},
            after,
            blob=weight.shape,
            make=lambda: weight,
            multiply_adds=math.prod(after) * width,
        )

    def reshape(read: str, role: str, *shape: int) -> str:
        # -1 stands for the batch, or batch and channels: they stay free
        params = {"reshape_param": {"shape": {"dim": [-1, *shape[1:]]}}}
        return writer.add("Reshape", role, [read], params, shape, features=["reshape"])

    planes = reshape(x, "planes", n * c, height, 1, width)
    params = {"num_output": out, "kernel_size": 1, "weight_filler": ZERO, "bias_term": False}
    rows = writer.add(
        "Convolution",
        "rows",
        [planes],
        {"convolution_param": params},
        (n * c, out, 1, width),
        blob=(*weight.shape, 1, 1),
        make=lambda: weight[:, :, None, None],
        multiply_adds=n * c * out * width * height,
    )
    return reshape(rows, "channels", n, c, out, width)


ZERO = {"type": "constant", "value": 0}


def _window(h: Deconv | Conv, w: Deconv | Conv) -> dict[str, int]:
    made: dict[str, int] = {}
    for key, a, b in (
        ("kernel", len(h.kernel), len(w.kernel)),
        ("stride", h.stride, w.stride),
        ("pad", h.pad, w.pad),
    ):
        made |= {f"{key}_h": a, f"{key}_w": b}
    if all(made[f"{key}_h"] == made[f"{key}_w"] for key in ("kernel", "stride", "pad")):
        return {"kernel_size": made["kernel_h"], "stride": h.stride, "pad": h.pad}
    return made


def _filler(kernel: Weights, group: int, channels: int) -> dict[str, Any]:
    """What Caffe can fill the weights with: all of its fillers' variants must agree. Zeros where
    only a caffemodel can, so that a forgotten caffemodel is seen at once."""
    import numpy as np

    if group == channels:
        if np.ptp(kernel) == 0:
            return {"type": "constant", "value": float(kernel.flat[0])}
        size, other = kernel.shape
        agreed = size == other and size % 4 not in (2, 3)  # of the two bilinear fillers
        if agreed and np.array_equal(kernel, bilinear(size)):
            return {"type": "bilinear"}
    return ZERO


def _renamed(steps: list[Step], last: str, name: str, top: str) -> tuple[Step, ...]:
    """The last blob gets the wanted top; a single layer gets the wanted name."""
    made = []
    for step in steps:
        bottoms = tuple(top if b == last else b for b in step.bottoms)
        tops = tuple(top if t == last else t for t in step.tops)
        made.append(replace(step, bottoms=bottoms, tops=tops))
    if len(made) == 1:
        made[0] = replace(made[0], name=name)
    return tuple(made)
