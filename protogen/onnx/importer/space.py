"""Groups of operators that move pixels between space and channels: Focus, pixel shuffle and unshuffle.

Each becomes one operator ``protogen:SpaceToDepth`` or ``protogen:DepthToSpace``, with the places of its
channels. A SpaceToDepth before a Conv is folded into the weights of the Conv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from protogen.layers.base import LARGEST
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import permuted, reshaped
from protogen.onnx.importer.matching import View, pattern, replacement
from protogen.onnx.importer.registry import ANY, imports

if TYPE_CHECKING:
    from protogen.onnx.importer.source import Operator


Places = Sequence[tuple[int, int, int]]  # channel, row and column of each channel of the block
# With more channels, a Convolution that mixes all of them takes more time than moves of the axes.
MOST_MIXED = 4


class _Part(NamedTuple):
    """Every ``step``-th row and column of a value, from ``row`` and ``column`` on."""

    x: str
    row: int
    column: int
    steps: tuple[int, int]


@pattern
def focus(view: View, last: Operator) -> list[Operator] | None:
    """A Concat along the channels of x[:, :, i::b, j::b] for several i and j."""
    if last.type != "Concat" or len(last.inputs) < 2:
        return None
    parts = [_strided_part(view, name) for name in last.inputs]
    first = parts[0]
    if first is None or any(one is None for one in parts):
        return None
    block = first.steps[0]
    shape = view.source.shapes.get(first.x, ())
    axis = last.attributes.get("axis", 1)
    if len(shape) != 4 or axis not in (1, -3) or block < 2 or first.steps != (block, block):
        return None
    if any(one.x != first.x or one.steps != first.steps for one in parts if one is not None):
        return None
    if shape[2] % block or shape[3] % block:
        return None
    places = [
        (channel, one.row, one.column)
        for one in parts
        if one is not None
        for channel in range(shape[1])
    ]
    return [_space_to_depth(last, first.x, block, places)]


def _space_to_depth(last: Operator, x: str, block: int, places: Places) -> Operator:
    attributes = {"block": block, "places": tuple(places)}
    return replacement(last, "protogen:SpaceToDepth", [x], attributes)


def _strided_part(view: View, name: str) -> _Part | None:
    """Return the part of a value that Slices select; None if they select anything else."""
    part = _Part(name, 0, 0, (1, 1))
    rows, columns = (0, 1), (0, 1)
    while (operator := view.producer(part.x, "Slice")) is not None:
        cuts = view.slice_of(operator)
        shape = view.source.shapes.get(operator.inputs[0], ())
        if cuts is None or len(shape) != 4:
            break
        for axis, (begin, end, step) in cuts.items():
            if (begin, end, step) == (0, shape[axis], 1):
                continue
            reaches_end = len(range(begin, end, step)) == shape[axis] // step
            if axis == 2 and reaches_end and begin < step and rows == (0, 1):
                rows = (begin, step)
            elif axis == 3 and reaches_end and begin < step and columns == (0, 1):
                columns = (begin, step)
            else:
                return None
        part = part._replace(x=operator.inputs[0])
    steps = (rows[1], columns[1])
    return part._replace(row=rows[0], column=columns[0], steps=steps) if max(steps) > 1 else None


@pattern
def pixel_unshuffle(view: View, last: Operator) -> list[Operator] | None:
    """(N, C, H b, W b) as (N, C, H, b, W, b), its axes in another order, as (N, .., H, W)."""
    groups = _six_axes(view, last)
    if groups is None:
        return None
    x, shape, order, inner = groups
    out = view.source.shapes.get(last.outputs[0], ())
    if len(shape) != 4 or len(inner) != 6 or inner[3] != inner[5]:
        return None
    n, c, h, b, w, _ = inner
    if shape != (n, c, h * b, w * b) or order[0] != 0 or order[4:] != [2, 4]:
        return None
    if out != (n, c * b * b, h, w):
        return None
    places = _places(order[1:4], {1: c, 3: b, 5: b}, (1, 3, 5))
    return [_space_to_depth(last, x, b, places)]


@pattern
def pixel_shuffle(view: View, last: Operator) -> list[Operator] | None:
    """(N, C b b, H, W) as six axes, their order such that each b comes after H and W, as (N, C, H b, W b)."""
    groups = _six_axes(view, last)
    if groups is None:
        return None
    x, shape, order, inner = groups
    out = view.source.shapes.get(last.outputs[0], ())
    if len(shape) != 4 or len(inner) != 6 or inner[4:] != shape[2:] or inner[0] != shape[0]:
        return None
    if order[0] != 0 or order[2] != 4 or order[4] != 5:
        return None
    channel, row, column = order[1], order[3], order[5]
    b = inner[row]
    if inner[column] != b or out != (shape[0], inner[channel], shape[2] * b, shape[3] * b):
        return None
    lengths = {axis: inner[axis] for axis in (1, 2, 3)}
    places = _places((1, 2, 3), lengths, (channel, row, column))
    attributes = {"block": b, "places": places}
    return [replacement(last, "protogen:DepthToSpace", [x], attributes)]


def _six_axes(
    view: View, last: Operator
) -> tuple[str, tuple[int, ...], list[int], tuple[int, ...]] | None:
    """Return (x, its shape, order, shape of the six axes) of Reshape, Transpose, Reshape."""
    if last.type != "Reshape":
        return None
    transpose = view.producer(last.inputs[0], "Transpose")
    before = view.producer(transpose.inputs[0], "Reshape") if transpose is not None else None
    if transpose is None or before is None or not view.read_once(last.inputs[0]):
        return None
    shapes = view.source.shapes
    shape, inner = shapes.get(before.inputs[0]), shapes.get(transpose.inputs[0])
    if shape is None or inner is None:
        return None
    order = list(transpose.attributes.get("perm", range(len(inner))[::-1]))
    return before.inputs[0], shape, order, inner


def _places(
    axes: Sequence[Any], lengths: Mapping[Any, int], roles: tuple[Any, Any, Any]
) -> tuple[tuple[int, int, int], ...]:
    """Return (channel, row, column) of each index of the axes together; ``roles`` are their axes."""
    places = []
    for index in range(prod(lengths[axis] for axis in axes)):
        at: dict[Any, int] = {}
        rest = index
        for axis in reversed(axes):
            rest, at[axis] = divmod(rest, lengths[axis])
        places.append((at[roles[0]], at[roles[1]], at[roles[2]]))
    return tuple(places)


@pattern
def space_to_depth_before_conv(view: View, last: Operator) -> list[Operator] | None:
    """SpaceToDepth, then Conv: a Conv with a kernel and a stride that are b times as large.

    It takes as many multiplications: each of its weights is one of the Conv's, or an added 0 where
    the SpaceToDepth leaves pixels out.
    """
    import numpy as np

    if last.type != "Conv" or last.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    source = view.producer(last.inputs[0], "protogen:SpaceToDepth", "SpaceToDepth")
    weight = view.source.constants.get(last.inputs[1])
    if source is None or weight is None or not view.read_once(last.inputs[0]) or weight.ndim != 4:
        return None
    dilations = last.attributes.get("dilations") or [1, 1]
    if set(dilations) != {1} or last.attributes.get("group", 1) != 1:
        return None
    channels = view.source.shapes.get(source.inputs[0], (0, 0))[1]
    block, places = _block_and_places(source, channels)
    if len(places) != channels * block**2 or len(set(places)) != len(places):
        return None
    wide = np.zeros((weight.shape[0], channels, block * weight.shape[2], block * weight.shape[3]),
                    weight.dtype)  # fmt: skip
    for index, (channel, row, column) in enumerate(places):
        wide[:, channel, row::block, column::block] = weight[:, index]
    name = f"{last.outputs[0]}_wide_weight"
    view.source.constants[name] = wide
    view.source.shapes[name] = wide.shape
    attributes = {
        "strides": [block * n for n in last.attributes.get("strides") or [1, 1]],
        "pads": [block * n for n in last.attributes.get("pads") or [0] * 4],
    }
    return [replace(last, inputs=(source.inputs[0], name, *last.inputs[2:]), attributes=attributes)]


def _block_and_places(operator: Operator, channels: int) -> tuple[int, Places]:
    """Return the block size of a SpaceToDepth, and (channel, row, column) of each of its channels."""
    if operator.type == "protogen:SpaceToDepth":
        return operator.attributes["block"], operator.attributes["places"]
    block = operator.attributes["blocksize"]
    count = channels * block**2
    if operator.attributes.get("mode", "DCR") == "CRD":
        return block, [(c // block**2, c % block**2 // block, c % block) for c in range(count)]
    return block, [
        (c % channels, c // channels // block, c // channels % block) for c in range(count)
    ]


@imports("SpaceToDepth", takes=ANY)
def space_to_depth(ctx: ImportContext, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    _to_depth(ctx, x, *_block_and_places(ctx.operator, ctx.shape(x)[1]))


@imports("protogen:SpaceToDepth", takes=ANY)
def pixels_to_channels(ctx: ImportContext, x: str, *, block: int, places: Places) -> None:
    _to_depth(ctx, x, block, places)


@imports("DepthToSpace", takes=ANY)
def depth_to_space(ctx: ImportContext, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    """Mode CRD is PyTorch's pixel shuffle."""
    _to_space(ctx, x, *_block_and_places(ctx.operator, ctx.shape(x)[1] // blocksize**2))


@imports("protogen:DepthToSpace", takes=ANY)
def channels_to_pixels(ctx: ImportContext, x: str, *, block: int, places: Places) -> None:
    _to_space(ctx, x, block, places)


def _to_depth(ctx: ImportContext, x: str, block: int, places: Places) -> None:
    """A strided Convolution with one weight of 1 per output channel, in groups if the channels stay in
    order. Without groups and with many channels: Reshapes and moves of the two block axes."""
    n, channels, height, width = ctx.shape(x)
    order = _order(places, channels, block)
    if channels > MOST_MIXED and order is not None and order[0] != "channel":
        axes = {"channel": 1, "row": 3, "column": 5}
        y = reshaped(ctx, x, (n, channels, height // block, block, width // block, block), "blocks")
        y = permuted(ctx, y, (0, *(axes[one] for one in order), 2, 4), "turned")
        reshaped(ctx, y, ctx.shape(ctx.out))
        return
    _one_hot(ctx, x, "Convolution", block, places, channels)


def _to_space(ctx: ImportContext, x: str, block: int, places: Places) -> None:
    """A Deconvolution with one weight of 1 per input channel, in groups if the channels stay in order.
    Without groups and with many channels: Reshapes and moves of the two block axes."""
    n, channels, height, width = ctx.shape(x)
    out = channels // block**2
    order = _order(places, out, block)
    if order == ("channel", "row", "column"):
        ctx.add_fork_layer("PixelShuffle", [x], {"pixelshuffle_param": {"upscale_factor": block}})
    elif out > MOST_MIXED and order is not None and order[0] != "channel":
        lengths = {"channel": out, "row": block, "column": block}
        at = {one: 1 + order.index(one) for one in order}
        y = reshaped(ctx, x, (n, *(lengths[one] for one in order), height, width), "blocks")
        y = permuted(ctx, y, (0, at["channel"], 4, at["row"], 5, at["column"]), "turned")
        reshaped(ctx, y, ctx.shape(ctx.out))
    else:
        _one_hot(ctx, x, "Deconvolution", block, places, out)


def _order(places: Places, channels: int, block: int) -> tuple[str, ...] | None:
    """Return which of channel, row and column changes slowest and which fastest; None if the places are
    not all places in such an order."""
    lengths = {"channel": channels, "row": block, "column": block}
    for order in permutations(lengths):
        if tuple(places) == _places(order, lengths, ("channel", "row", "column")):
            return order
    return None


def _one_hot(
    ctx: ImportContext, x: str, type_: str, block: int, places: Places, channels: int
) -> None:
    """Add a Convolution or Deconvolution whose weight for place i is 1 at (row, column) of its channel."""
    import numpy as np

    each = len(places) // channels
    grouped = len(places) == each * channels and all(
        channel == index // each for index, (channel, _, _) in enumerate(places)
    )
    inner = 1 if grouped else channels
    if len(places) * inner * block**2 > LARGEST:
        raise ctx.unsupported(f"its stock layers would need more than {LARGEST} weights")
    weight = np.zeros((len(places), inner, block, block), np.float32)
    for index, (channel, row, column) in enumerate(places):
        weight[index, 0 if grouped else channel, row, column] = 1
    params: dict[str, Any] = {
        "num_output": len(places) if type_ == "Convolution" else channels,
        "kernel_size": block,
        "stride": block,
        "bias_term": False,
    }
    if grouped and channels > 1:
        params["group"] = channels
    ctx.add(type_, [x], {"convolution_param": params}, [weight])
