"""Forms of Convolution, Deconvolution and InnerProduct."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from protogen.layers.forms.blocks import (
    convolve,
    image,
    only,
    reshape,
    weights_of,
    window,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.layers.base import Window
    from protogen.layers.forms.blocks import Array

_DEPTHWISE = ("ConvolutionDepthwise", "DepthwiseConvolution")


def _window(layer: Layer, r: Rewriter) -> Window:
    from protogen.layers.base import kind_of

    kind = kind_of(layer)
    shape = image(layer, r)
    only(layer, layer.params.convolution_param.axis in (1, -3), "its axis is not 1")
    result = kind.window(layer, [shape]) if kind is not None else None
    only(layer, result is not None and len(result.kernel) == 2, "it does not have two spatial axes")
    assert result is not None
    only(layer, not result.end, "its pads differ between the ends")
    return result


def _blobs(layer: Layer, r: Rewriter) -> tuple[Array, Array | None]:
    blobs = weights_of(layer, r)
    return blobs[0], blobs[1] if len(blobs) > 1 else None


@form("Convolution", "Deconvolution", text="with a bias of 0")
def with_bias(layer: Layer, r: Rewriter) -> None:
    only(layer, not layer.params.convolution_param.bias_term, "it has a bias already")
    w = _window(layer, r)
    weight, _ = _blobs(layer, r)
    group = layer.params.convolution_param.group
    only(layer, set(w.dilation) == {1}, "it has a dilation")
    convolve(
        r, layer.bottoms[0], weight, None, group=group, stride=w.stride, pad=w.pad,
        type_=layer.type,
    )  # fmt: skip


@form("Convolution", "Deconvolution", text="kernel spread with zeros")
def dilation_by_zeros(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    w = _window(layer, r)
    only(layer, set(w.dilation) != {1}, "it has no dilation")
    weight, bias = _blobs(layer, r)
    sizes = [(k - 1) * d + 1 for k, d in zip(w.kernel, w.dilation, strict=True)]
    wide = np.zeros((*weight.shape[:2], *sizes), np.float32)
    wide[:, :, :: w.dilation[0], :: w.dilation[1]] = weight
    group = layer.params.convolution_param.group
    convolve(
        r, layer.bottoms[0], wide, bias, group=group, stride=w.stride, pad=w.pad, type_=layer.type
    )


@form("Convolution", text="square stride, and a crop of rows or columns")
def stride_apart(layer: Layer, r: Rewriter) -> None:
    """The convolution with stride 1, then a depthwise kernel of 1 with the stride."""
    import numpy as np

    from protogen.layers.forms.blocks import depthwise

    w = _window(layer, r)
    only(layer, w.stride[0] != w.stride[1], "its strides are equal")
    weight, bias = _blobs(layer, r)
    group = layer.params.convolution_param.group
    only(layer, set(w.dilation) == {1}, "it has a dilation")
    x = convolve(r, layer.bottoms[0], weight, bias, group=group, pad=w.pad, role="dense")
    kernel = np.ones((1, 1), np.float32)
    depthwise(r, x, kernel, stride=w.stride, channels=weight.shape[0])


@form("Convolution", text="a layer of zeros around the kernel instead of a large pad")
def padded_point(layer: Layer, r: Rewriter) -> None:
    """A kernel of 1 with pad p is a kernel of 2 p + 1 with zeros around it, and pad 2 p."""
    import numpy as np

    w = _window(layer, r)
    only(layer, w.kernel == (1, 1) and w.stride == (1, 1) and max(w.pad) > 0, "it has no such pad")
    weight, bias = _blobs(layer, r)
    wide = np.zeros((*weight.shape[:2], *(2 * p + 1 for p in w.pad)), np.float32)
    wide[:, :, w.pad[0], w.pad[1]] = weight[:, :, 0, 0]
    group = layer.params.convolution_param.group
    pad = [2 * p for p in w.pad]
    convolve(r, layer.bottoms[0], wide, bias, group=group, pad=pad)


@form("Convolution", "Deconvolution", text="one layer for each group")
def group_by_slices(layer: Layer, r: Rewriter) -> None:
    """Slice, a layer for each group, Concat."""
    p = layer.params.convolution_param
    w = _window(layer, r)
    only(layer, 1 < p.group <= 32, "it has no groups, or more than 32")
    weight, bias = _blobs(layer, r)
    channels = image(layer, r)[1]
    step, out = channels // p.group, p.num_output // p.group
    points = range(step, channels, step)
    tops = []
    for i, x in enumerate(r.split(layer.bottoms[0], "groups", 1, list(points))):
        rows = slice(i * out, (i + 1) * out) if layer.type == "Convolution" else None
        part = weight[rows] if rows else weight[i * step : (i + 1) * step]
        addends = None if bias is None else bias.reshape(-1)[i * out : (i + 1) * out]
        params: dict[str, Any] = {"num_output": out, **window(w.kernel, w.stride, w.pad)}
        if set(w.dilation) != {1}:
            params["dilation"] = list(dict.fromkeys(w.dilation))
        if addends is None:
            params["bias_term"] = False
        blobs = [part] if addends is None else [part, addends]
        tops.append(
            r.add(layer.type, [x], role=f"group{i}", params={"convolution_param": params},
                  weights=blobs)
        )  # fmt: skip
    r.add("Concat", tops)


@form("Convolution", "Deconvolution", *_DEPTHWISE, text="one group with zeros off the diagonal")
def group_by_zeros(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    p = layer.params.convolution_param
    w = _window(layer, r)
    channels = image(layer, r)[1]
    group = channels if layer.type in _DEPTHWISE else p.group
    only(layer, group > 1, "it has no groups")
    weight, bias = _blobs(layer, r)
    type_ = "Deconvolution" if layer.type == "Deconvolution" else "Convolution"
    step, out = channels // group, p.num_output // group
    first, second = (step, out) if type_ == "Deconvolution" else (out, step)
    wide = np.zeros((first * group, second * group, *weight.shape[2:]), np.float32)
    for i in range(group):
        rows, columns = slice(i * first, (i + 1) * first), slice(i * second, (i + 1) * second)
        wide[rows, columns] = weight[rows]
    params: dict[str, Any] = {"num_output": p.num_output, **window(w.kernel, w.stride, w.pad)}
    if set(w.dilation) != {1}:
        params["dilation"] = list(dict.fromkeys(w.dilation))
    if bias is None:
        params["bias_term"] = False
    blobs = [wide] if bias is None else [wide, bias]
    r.add(type_, layer.bottoms, params={"convolution_param": params}, weights=blobs)


@form("Deconvolution", text="Convolution to more channels, and a pixel shuffle")
def deconvolution_by_shuffle(layer: Layer, r: Rewriter) -> None:
    """Kernel and stride s: a Convolution of 1 to s s C channels, whose pixels are shuffled."""
    w = _window(layer, r)
    p = layer.params.convolution_param
    s = w.stride[0]
    only(layer, w.kernel == w.stride == (s, s) and max(w.pad) == 0 and p.group == 1, "not k = s")
    weight, bias = _blobs(layer, r)
    out = weight.shape[1]
    point = weight.transpose(1, 2, 3, 0).reshape(out * s * s, weight.shape[0], 1, 1)
    addends = None if bias is None else bias.reshape(-1).repeat(s * s)
    x = convolve(r, layer.bottoms[0], point, addends, role="pixels")
    r.add("PixelShuffle", [x], params={"pixelshuffle_param": {"upscale_factor": s}})


@form("Convolution", "InnerProduct", text="Convolution along the channels between two Reshapes")
def along_an_axis(layer: Layer, r: Rewriter) -> None:
    """A product with a matrix along one axis: that axis becomes the channels."""
    shape = r.shape(layer.bottoms[0])
    if layer.type == "Convolution":
        p = layer.params.convolution_param
        axis = p.axis + len(shape) if p.axis < 0 else p.axis
        only(layer, axis != 1, "its axis is 1")
        weight, bias = _blobs(layer, r)
        only(layer, prod(weight.shape[2:]) == 1 and p.group == 1, "its kernel is not 1")
        matrix = weight.reshape(weight.shape[:2])
        inner = 1
    else:
        p = layer.params.inner_product_param
        axis = p.axis + len(shape) if p.axis < 0 else p.axis
        weight, bias = _blobs(layer, r)
        matrix = weight.T if p.transpose else weight
        matrix = matrix.reshape(matrix.shape[-2:])
        inner = len(shape) - axis
        only(layer, axis > 1 or len(shape) == 2, "it is a plain InnerProduct")
    length = prod(shape[axis : axis + inner])
    after = prod(shape[axis + inner :])
    x = reshape(r, layer.bottoms[0], (prod(shape[:axis]), length, after, 1), role="flat")
    x = convolve(r, x, matrix.reshape(-1, length, 1, 1), bias, role="matrix")
    reshape(r, x, (*shape[:axis], len(matrix), *shape[axis + inner :]))


@form("InnerProduct", text="InnerProduct of transposed weights")
def inner_product_transposed(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    p = layer.params.inner_product_param
    only(layer, p.transpose, "its weights are not transposed")
    weight, bias = _blobs(layer, r)
    params = {"num_output": p.num_output, "axis": p.axis, "bias_term": bias is not None}
    blobs = [np.ascontiguousarray(weight.T), *([] if bias is None else [bias])]
    r.add("InnerProduct", layer.bottoms, params={"inner_product_param": params}, weights=blobs)


@form("InnerProduct", text="Convolution of the whole bottom")
def inner_product_by_convolution(layer: Layer, r: Rewriter) -> None:
    """The kernel is the whole image; a Reshape drops its axes."""
    p = layer.params.inner_product_param
    shape = r.shape(layer.bottoms[0])
    only(layer, p.axis in (1, 1 - len(shape)) and not p.transpose, "its axis is not 1")
    weight, bias = _blobs(layer, r)
    x = layer.bottoms[0]
    kernel = shape[1:] if len(shape) == 4 else (prod(shape[1:]), 1, 1)
    if len(shape) != 4:
        x = reshape(r, x, (shape[0], *kernel), role="image")
    x = convolve(r, x, weight.reshape(-1, *kernel), bias, role="dense")
    reshape(r, x, (shape[0], p.num_output))
