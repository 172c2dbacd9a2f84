"""Turns chains of stages into steps: the layers with their parameters, weights and shapes."""

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
from protogen.resampling.mixing import mix_by_channels
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
    """Return the layers of two chains, one for the height and one for the width.

    Raises:
        UnsupportedError: ``form`` needs one layer per channel, and there are more than 64 channels.
    """
    h, w = request.size or (request.axes[0].size, request.axes[1].size)
    shape: Shape = (request.batch, request.channels, h, w)
    writer = Writer(name, form, {bottom: shape})
    blob = bottom
    pairs = list(zip(chains[0].stages, chains[1].stages, strict=True))
    for pair in pairs:
        blob = _emit_stage(writer, blob, pair)
    if chains[0].normalised:
        zeros = {"scale": 0.0, "shift": 1.0}
        ones = writer.add("Power", "ones", [bottom], {"power_param": zeros}, shape)
        for pair in pairs:
            ones = _emit_stage(writer, ones, pair)
        inverse = {"power_param": {"power": -1.0}}
        shape_after = writer.shapes[blob]
        gain = writer.add("Power", "gain", [ones], inverse, shape_after, in_place=True)
        product = {"eltwise_param": {"operation": Name("PROD")}}
        blob = writer.add("Eltwise", "product", [blob, gain], product, shape_after)
    outside = request.axes[0].outside[:, None] | request.axes[1].outside[None, :]
    if outside.any() and request.extrapolation:
        blob = _emit_plane(writer, "Bias", "fill", blob, outside * request.extrapolation)
    return _with_final_names(writer.steps, blob, name, top)


def _emit_stage(writer: Writer, blob: str, pair: tuple[Stage, Stage]) -> str:
    match pair:
        case Deconv() as h, Deconv() as w:
            return _emit_kernel(writer, blob, h, w, "Deconvolution", "deconv")
        case Conv() as h, Conv() as w:
            return _emit_kernel(writer, blob, h, w, "Convolution", "conv")
        case Pool() as h, Pool() as w:
            return _emit_pool(writer, blob, h, w)
        case Border() as h, Border() as w:
            return _emit_border(writer, _emit_border(writer, blob, 2, h), 3, w)
        case Gain() as h, Gain() as w:
            import numpy as np

            return _emit_plane(
                writer, "Scale", "gain", blob, np.outer(np.array(h.factors), np.array(w.factors))
            )
        case Mix() as h, Mix() as w:
            return _emit_mix(writer, blob, h, w)
    raise TypeError(f"stages of different kinds: {pair}")


def _emit_kernel(
    writer: Writer, bottom: str, h: Deconv | Conv, w: Deconv | Conv, type_: str, role: str
) -> str:
    import numpy as np

    before = writer.shapes[bottom]
    n, c = before[:2]
    kernel = np.multiply.outer(np.array(h.kernel, np.float32), np.array(w.kernel, np.float32))
    sizes = tuple(s.out(m) for s, m in zip((h, w), before[2:], strict=True))
    grouping = "group" if c == 1 else writer.form.grouping
    if grouping == "split":
        return _split_channels(writer, bottom, h, w, type_, role)
    group = 1 if grouping == "dense" else c
    window = _window(h, w)
    params = {"num_output": c, **window, "group": group, "weight_filler": _filler(kernel, group, c)}
    blob = (c, c // group, *kernel.shape)
    make_weights = partial(_shared if group == c else _diagonal, kernel, blob)
    positions = before if type_ == "Deconvolution" else (n, c, *sizes)
    return writer.add(
        type_,
        role,
        [bottom],
        {"convolution_param": params | {"bias_term": False}},
        (n, c, *sizes),
        blob=blob,
        make=make_weights,
        features=["group"] if group > 1 else [],
        multiply_adds=math.prod(positions) * math.prod(blob[1:]),
    )


def _shared(kernel: Weights, blob: Shape) -> Weights:
    """Return a view that repeats one kernel for all channels; it takes the memory of one."""
    import numpy as np

    return np.broadcast_to(kernel, blob)


def _diagonal(kernel: Weights, blob: Shape) -> Weights:
    """Return C x C kernels: the kernel on the diagonal, zeros elsewhere."""
    import numpy as np

    weight = np.zeros(blob, np.float32)
    channel = np.arange(blob[0])
    weight[channel, channel] = kernel
    return weight


def _split_channels(
    writer: Writer, bottom: str, h: Deconv | Conv, w: Deconv | Conv, type_: str, role: str
) -> str:
    n, c, *sizes = writer.shapes[bottom]
    if c > 64:
        raise UnsupportedError(
            f"one layer per channel is supported up to 64 channels, got {c}", subject=writer.name
        )
    points: dict[str, Any] = {"axis": 1, "slice_point": list(range(1, c))}
    part: Shape = (n, 1, *sizes)
    first = len(writer.steps)
    writer.add(
        "Slice",
        "channels",
        [bottom],
        {"slice_param": points},
        part,
        tops=[(str(i), part) for i in range(c)],
        features=["slice"],
    )
    parts = writer.steps[first].tops
    writer.steps[first] = replace(writer.steps[first], after=(n, c, *sizes))
    tops = [_emit_kernel(writer, part_top, h, w, type_, role) for part_top in parts]
    after = writer.shapes[tops[0]]
    return writer.add(
        "Concat",
        "joined",
        tops,
        {"concat_param": {"axis": 1}},
        (n, c, *after[2:]),
        features=["concat"],
    )


def _emit_pool(writer: Writer, bottom: str, h: Pool, w: Pool) -> str:
    if (h.window, h.stride, w.window, w.stride) == (1, 1, 1, 1):
        return bottom
    n, c, *sizes = writer.shapes[bottom]
    after = tuple(s.out(m) for s, m in zip((h, w), sizes, strict=True))
    params: dict[str, Any] = {"pool": Name("AVE")}
    for key, a, b in (("kernel", h.window, w.window), ("stride", h.stride, w.stride)):
        field = "kernel_size" if key == "kernel" else key
        params |= {field: a} if a == b else {f"{key}_h": a, f"{key}_w": b}
    return writer.add("Pooling", "pool", [bottom], {"pooling_param": params}, (n, c, *after))


def _emit_border(writer: Writer, bottom: str, axis: int, stage: Border) -> str:
    if not (stage.before or stage.after):
        return bottom
    shape = writer.shapes[bottom]
    size = shape[axis]
    after = (*shape[:axis], size + stage.before + stage.after, *shape[axis + 1 :])
    axis_name = "hw"[axis - 2]
    points = sorted({1 if stage.before else 0, size - 1 if stage.after else 0} - {0})
    tops = [bottom]
    if size > 1:
        ends = [0, *points, size]
        lengths = [b - a for a, b in pairwise(ends)]
        parts = [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
        labels = ["a", "b", "c"][: len(parts)]
        first = len(writer.steps)
        writer.add(
            "Slice",
            f"edges_{axis_name}",
            [bottom],
            {"slice_param": {"axis": axis, "slice_point": points}},
            parts[0],
            tops=list(zip(labels, parts, strict=True)),
            features=["slice"],
        )
        writer.steps[first] = replace(writer.steps[first], after=shape)
        tops = list(writer.steps[first].tops)
    bottoms = [tops[0]] * stage.before + tops + [tops[-1]] * stage.after
    return writer.add(
        "Concat",
        f"border_{axis_name}",
        bottoms,
        {"concat_param": {"axis": axis}},
        after,
        features=["concat"],
    )


def _emit_plane(
    writer: Writer, type_: str, role: str, bottom: str, values: NDArray[np.floating]
) -> str:
    import numpy as np

    shape = writer.shapes[bottom]
    key = f"{type_.lower()}_param"
    params: dict[str, Any] = {"axis": 2, "num_axes": 2}
    plane = values.astype(np.float32)
    in_place = bool(writer.steps)  # the first layer must not overwrite the input
    work = math.prod(shape) if type_ == "Scale" else 0
    return writer.add(
        type_,
        role,
        [bottom],
        {key: params},
        shape,
        in_place=in_place,
        blob=plane.shape,
        make=lambda: plane,
        features=["plane"],
        multiply_adds=work,
    )


def _emit_mix(writer: Writer, blob: str, h: Mix, w: Mix) -> str:
    """Emit the two mixes in the order that needs fewer multiply-adds, without identities."""
    import numpy as np

    def is_needed(stage: Mix) -> bool:
        a = stage.weights
        return a.shape[0] != a.shape[1] or not np.array_equal(a, np.eye(len(a)))

    both = [(2, h), (3, w)]
    rows, columns = h.weights.shape, w.weights.shape
    first = rows[0] * columns[1] * (rows[1] + columns[0])
    if first > rows[1] * columns[0] * (rows[0] + columns[1]):
        both.reverse()
    if writer.form.mixing in ("permute", "onehot"):
        return mix_by_channels(writer, blob, h.weights, w.weights)
    mix = _mix_axis if writer.form.mixing == "axis" else _mix_reshaped
    for axis, stage in both:
        if is_needed(stage):
            blob = mix(writer, blob, axis, stage)
    return blob


def _mix_axis(writer: Writer, bottom: str, axis: int, stage: Mix) -> str:
    import numpy as np

    shape = writer.shapes[bottom]
    out = stage.weights.shape[0]
    params: dict[str, Any] = {"num_output": out, "axis": axis}
    weight = stage.weights.astype(np.float32)
    if axis == 2:  # with axis 2 one spatial axis remains, with axis 3 none
        params["kernel_size"] = 1
        weight = weight[:, :, None]
    params |= {"weight_filler": ZERO, "bias_term": False, "engine": Name("CAFFE")}
    after = (*shape[:axis], out, *shape[axis + 1 :])
    return writer.add(
        "Convolution",
        "rows" if axis == 2 else "columns",
        [bottom],
        {"convolution_param": params},
        after,
        blob=weight.shape,
        make=lambda: weight,
        features=["axis"],
        multiply_adds=math.prod(after) * shape[axis],
    )


def _mix_reshaped(writer: Writer, bottom: str, axis: int, stage: Mix) -> str:
    import numpy as np

    n, c, height, width = writer.shapes[bottom]
    out = stage.weights.shape[0]
    weight = stage.weights.astype(np.float32)
    if axis == 3:
        after = (n, c, height, out)
        params = {"num_output": out, "bias_term": False, "weight_filler": ZERO, "axis": 3}
        return writer.add(
            "InnerProduct",
            "columns",
            [bottom],
            {"inner_product_param": params},
            after,
            blob=weight.shape,
            make=lambda: weight,
            multiply_adds=math.prod(after) * width,
        )

    def reshape(read: str, role: str, *shape: int) -> str:
        # -1 keeps the first axis free: the batch, or batch and channels together.
        params = {"reshape_param": {"shape": {"dim": [-1, *shape[1:]]}}}
        return writer.add("Reshape", role, [read], params, shape, features=["reshape"])

    planes = reshape(bottom, "planes", n * c, height, 1, width)
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
    params: dict[str, int] = {}
    for key, a, b in (
        ("kernel", len(h.kernel), len(w.kernel)),
        ("stride", h.stride, w.stride),
        ("pad", h.pad, w.pad),
    ):
        params |= {f"{key}_h": a, f"{key}_w": b}
    if all(params[f"{key}_h"] == params[f"{key}_w"] for key in ("kernel", "stride", "pad")):
        return {"kernel_size": params["kernel_h"], "stride": h.stride, "pad": h.pad}
    return params


def _filler(kernel: Weights, group: int, channels: int) -> dict[str, Any]:
    """Return the filler that produces the kernel in every variant of Caffe.

    It is a constant 0 where no filler does. A missing caffemodel is then obvious at once.
    """
    import numpy as np

    if group == channels:
        if np.ptp(kernel) == 0:
            return {"type": "constant", "value": float(kernel.flat[0])}
        height, width = kernel.shape
        fillers_agree = height == width and height % 4 not in (2, 3)  # both variants of bilinear
        if fillers_agree and np.array_equal(kernel, bilinear(height)):
            return {"type": "bilinear"}
    return ZERO


def _with_final_names(steps: list[Step], last: str, name: str, top: str) -> tuple[Step, ...]:
    """Give the last blob the name ``top``, and a single layer the name ``name``."""
    renamed = []
    for step in steps:
        bottoms = tuple(top if b == last else b for b in step.bottoms)
        tops = tuple(top if t == last else t for t in step.tops)
        renamed.append(replace(step, bottoms=bottoms, tops=tops))
    if len(renamed) == 1:
        renamed[0] = replace(renamed[0], name=name)
    return tuple(renamed)
