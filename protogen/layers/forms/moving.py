"""Forms of layers that move or copy values: Permute, shuffles, Flatten, Reshape, Tile, Split, Concat."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.layers.base import check_room
from protogen.layers.forms.blocks import (
    affine,
    channels_of,
    convolve,
    depthwise,
    image,
    only,
    permute,
    reshape,
    top_shape,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.ordering import permute_order
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.geometry import Shape

MOST_PARTS = 64  # the most layers that replace the tops of one layer


def _rotations(shape: Shape, order: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return a permutation as swaps of two blocks of axes: (before, first, second) are products of
    lengths, and the two blocks are the last axes."""
    now, swaps = list(range(len(shape))), []
    for i, axis in enumerate(order):
        at = now.index(axis)
        rest = [a for a in now[i:] if shape[a] > 1]
        if at == i or rest == [a for a in order[i:] if shape[a] > 1]:
            continue
        lengths = [[shape[a] for a in axes] for axes in (now[:i], now[i:at], now[at:])]
        before, first, second = map(prod, lengths)
        if first > 1 and second > 1:
            swaps.append((before, first, second))
        now = [*now[:i], *now[at:], *now[i:at]]
    return swaps


@form("Permute", text="a Reshape")
def permute_by_reshape(layer: Layer, r: Rewriter) -> None:
    shape = r.shape(layer.bottoms[0])
    order = permute_order(layer, len(shape))
    only(layer, not _rotations(shape, order), "axes longer than 1 change their order")
    reshape(r, layer.bottoms[0], [shape[axis] for axis in order])


@form("Permute", text="Permute of three axes between Reshapes")
def permute_by_swaps(layer: Layer, r: Rewriter) -> None:
    shape = r.shape(layer.bottoms[0])
    order = permute_order(layer, len(shape))
    only(layer, len(shape) > 3 or order != [0, 2, 1], "it has this form already")
    x = layer.bottoms[0]
    for i, swap in enumerate(_rotations(shape, order)):
        x = reshape(r, x, swap, role=f"blocks{i}")
        x = permute(r, x, (0, 2, 1), role=f"swapped{i}")
    reshape(r, x, [shape[axis] for axis in order])


@form("Permute", text="Permute 0 2 3 1 between Reshapes")
def permute_by_turns(layer: Layer, r: Rewriter) -> None:
    """A swap of two blocks as the order 0 2 3 1 of (before, first, second, 1)."""
    shape = r.shape(layer.bottoms[0])
    order = permute_order(layer, len(shape))
    only(layer, order != [0, 2, 3, 1], "it has this form already")
    x = layer.bottoms[0]
    for i, swap in enumerate(_rotations(shape, order)):
        x = reshape(r, x, (*swap, 1), role=f"blocks{i}")
        x = permute(r, x, (0, 2, 3, 1), role=f"swapped{i}")
    reshape(r, x, [shape[axis] for axis in order])


@form("Permute", text="one-hot Convolutions between Reshapes")
def permute_by_convolutions(layer: Layer, r: Rewriter) -> None:
    """(before, 1, first, second) by a kernel of one row to (before, second, first, 1)."""
    import numpy as np

    shape = r.shape(layer.bottoms[0])
    order = permute_order(layer, len(shape))
    x = layer.bottoms[0]
    for i, (before, first, second) in enumerate(_rotations(shape, order)):
        check_room(layer, second * second)
        x = reshape(r, x, (before, 1, first, second), role=f"rows{i}")
        weight = np.eye(second, dtype=np.float32).reshape(second, 1, 1, second)
        x = convolve(r, x, weight, role=f"swapped{i}")
    reshape(r, x, [shape[axis] for axis in order])


@form("ShuffleChannel", text="Reshape, Permute, Reshape")
def shuffle_by_permute(layer: Layer, r: Rewriter) -> None:
    shape = r.shape(layer.bottoms[0])
    group = layer.params.shuffle_channel_param.group
    dims = (shape[0], group, shape[1] // group, prod(shape[2:]))
    x = reshape(r, layer.bottoms[0], dims, role="groups")
    x = permute(r, x, (0, 2, 1, 3), role="shuffled")
    reshape(r, x, shape)


@form("ShuffleChannel", text="one-hot Convolution")
def shuffle_by_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    channels = image(layer, r)[1]
    group = layer.params.shuffle_channel_param.group
    sources = np.arange(channels).reshape(group, -1).T.reshape(-1)
    weight = np.eye(channels, dtype=np.float32)[sources]
    convolve(r, layer.bottoms[0], weight.reshape(channels, channels, 1, 1))


@form("PixelShuffle", text="Reshape, Permute of six axes, Reshape")
def pixel_shuffle_by_permute(layer: Layer, r: Rewriter) -> None:
    n, c, h, w = image(layer, r)
    f = layer.params.pixelshuffle_param.upscale_factor
    out = c // (f * f)
    x = reshape(r, layer.bottoms[0], (n, out, f, f, h, w), role="blocks")
    x = permute(r, x, (0, 1, 4, 2, 5, 3), role="shuffled")
    reshape(r, x, (n, out, h * f, w * f))


@form("PixelShuffle", text="one-hot Deconvolution")
def pixel_shuffle_by_deconvolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    channels = image(layer, r)[1]
    f = layer.params.pixelshuffle_param.upscale_factor
    out = channels // (f * f)
    check_room(layer, channels * channels)
    weight = np.zeros((channels, out, f, f), np.float32)
    c = np.arange(channels)
    weight[c, c // (f * f), c // f % f, c % f] = 1
    convolve(r, layer.bottoms[0], weight, stride=(f, f), type_="Deconvolution")


@form("Flatten", text="a Reshape")
def flatten_by_reshape(layer: Layer, r: Rewriter) -> None:
    reshape(r, layer.bottoms[0], top_shape(layer, r))


@form("Reshape", text="a Flatten")
def reshape_by_flatten(layer: Layer, r: Rewriter) -> None:
    shape, top = r.shape(layer.bottoms[0]), top_shape(layer, r)
    only(layer, len(top) == 2 and top[0] == shape[0] and len(shape) > 1, "it does not flatten")
    r.add("Flatten", layer.bottoms)


@form("Reshape", text="with all lengths written")
def reshape_written(layer: Layer, r: Rewriter) -> None:
    top = top_shape(layer, r)
    old = layer.params.reshape_param
    only(layer, list(old.shape.dim) != list(top) or old.has("axis"), "it has all lengths")
    reshape(r, layer.bottoms[0], top)


@form("Reshape", text="with a free batch")
def reshape_free(layer: Layer, r: Rewriter) -> None:
    top = top_shape(layer, r)
    shape = r.shape(layer.bottoms[0])
    only(layer, top[:1] == shape[:1], "it changes the batch")
    only(layer, list(layer.params.reshape_param.shape.dim)[:1] != [0], "its batch is free")
    reshape(r, layer.bottoms[0], (0, *top[1:]))


@form("Silence", text="nothing: the blobs become outputs")
def without_silence(layer: Layer, r: Rewriter) -> None:
    """Their values are right; the toolchain computes outputs that nobody reads."""


def _tile(layer: Layer, r: Rewriter) -> tuple[int, int, Shape]:
    p = layer.params.tile_param
    shape = r.shape(layer.bottoms[0])
    return p.axis + len(shape) if p.axis < 0 else p.axis, p.tiles, shape


@form("Tile", text="Concat of copies")
def tile_by_concat(layer: Layer, r: Rewriter) -> None:
    axis, tiles, _ = _tile(layer, r)
    only(layer, tiles <= MOST_PARTS, f"it has more than {MOST_PARTS} copies")
    r.add("Concat", list(layer.bottoms) * tiles, params={"concat_param": {"axis": axis}})


@form("Tile", text="Convolution of ones")
def tile_by_convolution(layer: Layer, r: Rewriter) -> None:
    """Repeated channels by a one-hot Convolution, repeated rows or columns by a depthwise one."""
    import numpy as np

    axis, tiles, shape = _tile(layer, r)
    only(layer, len(shape) == 4 and axis > 0, "it does not repeat an axis of an image")
    x, channels = layer.bottoms[0], shape[1]
    if axis == 1:
        check_room(layer, channels * channels * tiles)
        weight = np.tile(np.eye(channels, dtype=np.float32), (tiles, 1))
        convolve(r, x, weight.reshape(-1, channels, 1, 1))
        return
    only(layer, shape[axis] == 1, "it repeats more than one row or column")
    kernel, pad = [1, 1], [0, 0]
    kernel[axis - 2], pad[axis - 2] = tiles, tiles - 1
    depthwise(r, x, np.ones(kernel, np.float32), pad=pad, channels=channels)


@form("Tile", text="Deconvolution of ones")
def tile_by_deconvolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    axis, tiles, shape = _tile(layer, r)
    only(layer, len(shape) == 4 and axis > 1, "it does not repeat rows or columns")
    only(layer, shape[axis] == 1, "it repeats more than one row or column")
    kernel = [1, 1]
    kernel[axis - 2] = tiles
    ones = np.ones(kernel, np.float32)
    x, channels = layer.bottoms[0], shape[1]
    depthwise(r, x, ones, stride=kernel, channels=channels, type_="Deconvolution")


@form("Tile", text="Convolution of ones along the channels, between Reshapes")
def tile_reshaped(layer: Layer, r: Rewriter) -> None:
    """An axis of length 1 becomes the channels of (before, 1, after, 1)."""
    import numpy as np

    axis, tiles, shape = _tile(layer, r)
    only(layer, shape[axis] == 1, "it repeats more than one value")
    x = reshape(
        r, layer.bottoms[0], (prod(shape[:axis]), 1, prod(shape[axis + 1 :]), 1), role="flat"
    )
    x = convolve(r, x, np.ones((tiles, 1, 1, 1), np.float32), role="copies")
    reshape(r, x, (*shape[:axis], tiles, *shape[axis + 1 :]))


@form("Concat", text="along axis")
def concat_by_axis(layer: Layer, r: Rewriter) -> None:
    p = layer.params.concat_param
    only(layer, p.has("concat_dim"), "it has no concat_dim")
    r.retype("Concat", concat_param={"axis": p.concat_dim, "concat_dim": None})


@form("Concat", text="a chain of layers of two bottoms")
def concat_in_pairs(layer: Layer, r: Rewriter) -> None:
    only(layer, len(layer.bottoms) > 2, "it has two bottoms")
    params: dict[str, Any] = {"concat_param": {"axis": layer.params.concat_param.axis}}
    x = layer.bottoms[0]
    for i, other in enumerate(layer.bottoms[1:-1]):
        x = r.add("Concat", [x, other], role=f"pair{i}", params=params)
    r.add("Concat", [x, layer.bottoms[-1]], params=params)


@form("Split", text="a copy by Power", weak=True)
def copy_by_power(layer: Layer, r: Rewriter) -> None:
    for i, top in enumerate(layer.tops):
        r.add("Power", layer.bottoms, role=f"copy{i}", top=top)


@form("Split", text="a copy by Scale")
def copy_by_scale(layer: Layer, r: Rewriter) -> None:
    channels = channels_of(layer, r)
    for i, top in enumerate(layer.tops):
        affine(r, layer.bottoms[0], 1, 0, channels, role=f"copy{i}", top=top)


@form("Split", text="a copy by a depthwise convolution")
def copy_by_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    kernel, channels = np.ones((1, 1), np.float32), image(layer, r)[1]
    for i, top in enumerate(layer.tops):
        depthwise(r, layer.bottoms[0], kernel, channels=channels, role=f"copy{i}", top=top)


@form("Split", text="a copy by a Reshape", weak=True)
def copy_by_reshape(layer: Layer, r: Rewriter) -> None:
    for i, top in enumerate(layer.tops):
        x = layer.bottoms[0]
        reshape(r, x, r.shape(x), role=f"copy{i}", top=top)
