"""Preprocessing as part of a net: as standard layers after the input, or folded into weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError, quantity
from protogen.formats import prototxt
from protogen.formats.message import Field, Message
from protogen.geometry import shape_text
from protogen.layers.graph import Layer, free_name
from protogen.net.net import Net
from protogen.preprocessing.proving import TOLERANCE, Border, Preprocessed, value_of, verified
from protogen.preprocessing.transforms import Transform

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = list[NDArray[np.float32]]

_FROZEN = {"lr_mult": 0.0, "decay_mult": 0.0}


def preprocess(
    net: Net,
    transform: Transform,
    *,
    blob: str | None = None,
    fold: bool = False,
    data: NDArray[np.floating] | None = None,
    verify: bool = False,
    seed: int = 0,
) -> Preprocessed:
    """Return the net with a transform of its input.

    Without ``fold`` the transform becomes layers that every Caffe has: Power for one number, Bias and
    Scale for one number per channel, a 1x1 Convolution for swapped or mixed channels. This is exact.
    With ``fold`` the transform changes the weights of the layers that read the input. This is exact
    for layers without padding; for layers with padding the error at the border is measured.

    Args:
        blob: the input; optional for a net with one input.
        fold: change weights instead of adding layers.
        data: raw images (N, C, H, W) for measurements; random ones by default.
        verify: run both nets, and compare the outputs.
        seed: seed of the random images.

    Raises:
        InputError: the input is unknown or not an image, the transform does not fit it, or weights
            for folding are missing.
        UnsupportedError: the transform cannot be folded into these layers.
        MismatchError: ``verify`` found a difference.
    """
    import numpy as np

    name, shape = _input(net, blob)
    if data is None:
        generator = np.random.default_rng(seed)
        data = generator.integers(0, 256, (1, *shape[1:])).astype(np.float32)
    if data.shape[1:] != shape[1:]:
        actual, expected = (shape_text(s) for s in (data.shape[1:], shape[1:]))
        raise InputError(
            f"expected images of shape {expected}, got {actual}", subject=f'input "{name}"'
        )
    if fold:
        result = _folded(net, transform, name, data)
    else:
        result = _with_new_layers(net, transform, name, shape)
    if verify:
        result = replace(result, error=verified(net, result, transform, name, data))
    return result


def _input(net: Net, blob: str | None) -> tuple[str, tuple[int, ...]]:
    """Return name and shape of the input."""
    if blob is not None and blob not in net.inputs:
        raise InputError(
            f"unknown input (inputs: {', '.join(net.inputs) or 'none'})",
            subject=f'"{blob}"',
        )
    if blob is None and len(net.inputs) != 1:
        raise InputError(
            f"the net has {quantity(len(net.inputs), 'input')} ({', '.join(net.inputs) or 'none'})",
            advice="Select one with --bottom.",
        )
    name = blob or net.inputs[0]
    shape = net.graph.shapes[name]
    if shape is None or len(shape) != 4:
        actual = shape_text(shape or (), "unknown")
        raise InputError(
            f"expected an image of shape NxCxHxW, got shape {actual}", subject=f'input "{name}"'
        )
    return name, shape


# New layers


def _with_new_layers(
    net: Net, transform: Transform, name: str, shape: tuple[int, ...]
) -> Preprocessed:
    """Insert the transform as layers after the input."""
    steps = _steps(transform, shape)
    if not steps:
        return Preprocessed(net)
    used_names = {layer.name for layer in net.layers} | set(net.shapes)
    messages, weights = [], {}
    bottom = name
    for role, type_, params, blobs in steps:
        layer_name = free_name(f"{name}_{role}", used_names, "_")
        frozen_params = {"param": [_FROZEN] * len(blobs)} if blobs else {}
        messages.append(
            Message.make(
                "LayerParameter",
                name=layer_name,
                type=type_,
                bottom=[bottom],
                top=[layer_name],
                **frozen_params,
                **params,
            )
        )
        if blobs:
            weights[layer_name] = blobs
        bottom = layer_name
    message = _with_layers(net, name, messages, bottom)
    changed = net.with_message(message)
    changed.weights = {**net.weights, **weights}
    return Preprocessed(changed, tuple(layer.name for layer in messages))


def _steps(
    transform: Transform, shape: tuple[int, ...]
) -> list[tuple[str, str, dict[str, Any], Arrays]]:
    """Return (role, type, parameters, blobs) of each new layer."""
    import numpy as np

    channels = shape[1]
    mean = None if transform.mean is None else transform.mean_for(shape[1:])
    matrix = None if transform.matrix is None else transform.matrix_for(channels)
    has_mean_image = mean is not None and mean.shape[1:] != (1, 1)
    diagonal = matrix is None or not np.any(matrix - np.diag(np.diag(matrix)))
    if has_mean_image and mean is not None:
        steps = []
        if transform.swap:
            steps.append(_convolution("swapped", np.eye(channels)[::-1], None))
        negative_mean = np.ascontiguousarray(np.broadcast_to(-mean, shape[1:]), np.float32)
        params = {"bias_param": {"axis": 1, "num_axes": 3}}
        steps.append(("centred", "Bias", params, [negative_mean]))
        if matrix is not None:
            steps.append(_channels("scaled", matrix, None, diagonal))
        return steps
    channel_mean = None if mean is None else np.broadcast_to(mean.reshape(-1), (channels,))
    if transform.swap:
        mixing = (np.eye(channels) if matrix is None else matrix)[:, ::-1]
        bias = (
            None
            if channel_mean is None
            else -(np.eye(channels) if matrix is None else matrix) @ channel_mean
        )
        return [_convolution("preprocessed", mixing, bias)]
    if matrix is None and channel_mean is None:
        return []
    factor = np.eye(channels) if matrix is None else matrix
    return [_channels("preprocessed", factor, channel_mean, diagonal)]


def _channels(
    role: str, matrix: NDArray[np.float64], mean: NDArray[np.float64] | None, diagonal: bool
) -> tuple[str, str, dict[str, Any], Arrays]:
    """Return the cheapest layer that computes matrix (x - mean)."""
    import numpy as np

    shift = np.zeros(len(matrix)) if mean is None else -matrix @ mean
    if not diagonal:
        return _convolution(role, matrix, shift if mean is not None else None)
    scale = np.diag(matrix)
    if np.ptp(scale) == 0 and np.ptp(shift) == 0:
        values = {"scale": float(scale[0]), "shift": float(shift[0])}
        defaults = {"scale": 1, "shift": 0}
        not_default = {key: v for key, v in values.items() if v != defaults[key]}
        return role, "Power", {"power_param": not_default}, []
    if (scale == 1).all():
        return role, "Bias", {}, [shift.astype(np.float32)]
    blobs = [scale.astype(np.float32)]
    params: dict[str, Any] = {}
    if mean is not None:
        params = {"scale_param": {"bias_term": True}}
        blobs.append(shift.astype(np.float32))
    return role, "Scale", params, blobs


def _convolution(
    role: str, matrix: NDArray[np.float64], shift: NDArray[np.float64] | None
) -> tuple[str, str, dict[str, Any], Arrays]:
    """Return a 1x1 Convolution that computes matrix x + shift."""
    import numpy as np

    param: dict[str, Any] = {"num_output": len(matrix), "kernel_size": 1}
    blobs = [np.ascontiguousarray(matrix, np.float32)[:, :, None, None]]
    if shift is None:
        param["bias_term"] = False
    else:
        blobs.append(shift.astype(np.float32))
    return role, "Convolution", {"convolution_param": param}, blobs


def _with_layers(net: Net, name: str, new: Sequence[Message], top: str) -> Message:
    """Return the message with new layers after the input.

    The other layers that used the input as a bottom or in place now use ``top``.
    """
    copy = prototxt.parse(prototxt.write(net.message), net.name or "net")
    fields, after_input = [], False
    for field in copy.fields:
        fields.append(field)
        if field.name != "layer":
            continue
        if after_input:
            for blob in (*field.value.all("bottom"), *field.value.all("top")):
                blob.value = top if blob.value == name else blob.value
        elif name in field.value.top:
            after_input = True
            fields += [Field("layer", layer, field.type) for layer in new]
    copy.fields = fields
    return prototxt.parse(prototxt.write(copy), net.name or "net")


# Folded weights


def _folded(net: Net, transform: Transform, name: str, data: NDArray[np.floating]) -> Preprocessed:
    """Fold the transform into the weights of all layers that read the input."""
    readers = [layer for layer in net.layers if name in layer.reads]
    weights: dict[str, Arrays] = {}
    biased: list[str] = []  # layers that get a bias
    for layer in readers:
        blobs = net.weights.get(layer.name)
        if layer.type not in ("Convolution", "InnerProduct"):
            raise layer.unsupported(
                "reads the input, but has no weights for the transform",
                "Leave out --fold to insert layers, which are exact.",
            )
        param = layer.params.convolution_param
        param = param if layer.type == "Convolution" else layer.params.inner_product_param
        if int(param.axis) not in (1, -3):
            raise layer.unsupported(
                f"has axis {param.axis}, so that its weights do not belong to channels",
                "Leave out --fold to insert layers, which are exact.",
            )
        if not blobs:
            raise layer.error("missing weights to fold into", "Name the caffemodel.")
        weights[layer.name] = _fold_into(layer, transform, net, blobs)
        if len(weights[layer.name]) > len(blobs):
            biased.append(layer.name)
    message = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for entry in message.all("layer"):
        if entry.value.name in biased:
            key = (
                "convolution_param" if entry.value.type == "Convolution" else "inner_product_param"
            )
            getattr(entry.value, key).remove("bias_term")
    changed = net.with_message(message)
    changed.weights = {**net.weights, **weights}
    borders = (_border(net, changed, layer, transform, name, data) for layer in readers)
    border = [difference for difference in borders if difference is not None]
    return Preprocessed(changed, folded=tuple(weights), border=border)


def _fold_into(layer: Layer, transform: Transform, net: Net, blobs: Arrays) -> Arrays:
    """Return W' = W M S and b' = b - W M mean, computed in float64."""
    import numpy as np

    shape = net.graph.shapes[layer.reads[0]]
    assert shape is not None
    channels = shape[1]
    matrix = transform.matrix_for(channels)
    mean = None if transform.mean is None else transform.mean_for(shape[1:])
    weight = blobs[0].astype(np.float64)
    if layer.type == "Convolution":
        group = int(layer.params.convolution_param.group or 1)
        if mean is not None and mean.shape[1:] != (1, 1):
            raise layer.unsupported(
                "has the same weights at all positions, so a mean image cannot be folded into it",
                "Use a mean for each channel, or leave out --fold.",
            )
        mixing = matrix[:, ::-1] if transform.swap else matrix
        if group > 1:
            if np.any(mixing - np.diag(np.diag(mixing))):
                raise layer.unsupported(
                    f"has {group} groups, so channels of different groups cannot be mixed in it",
                    "Leave out --fold to insert layers, which are exact.",
                )
            channels_per_group = weight.shape[1]
            first_channel = np.arange(len(weight)) // (len(weight) // group) * channels_per_group
            factors = np.diag(mixing)[first_channel[:, None] + np.arange(channels_per_group)]
            means = (
                np.zeros((len(weight), channels_per_group))
                if mean is None
                else (
                    np.broadcast_to(mean.reshape(-1), (channels,))[
                        first_channel[:, None] + np.arange(channels_per_group)
                    ]
                )
            )
            new_weight = weight * factors.reshape(*factors.shape, *[1] * (weight.ndim - 2))
            shift = -(new_weight.reshape(*factors.shape, -1).sum(axis=2) * means).sum(axis=1)
        else:
            new_weight = np.einsum("oc...,cd->od...", weight, mixing)
            scaled_mean = (
                np.zeros(channels)
                if mean is None
                else (matrix @ np.broadcast_to(mean.reshape(-1), (channels,)))
            )
            shift = -weight.reshape(len(weight), channels, -1).sum(axis=2) @ scaled_mean
    else:
        transposed = bool(layer.params.inner_product_param.transpose)
        rows = (weight.T if transposed else weight).reshape(-1, *shape[1:])
        mixing = matrix[:, ::-1] if transform.swap else matrix
        full_mean = np.zeros(shape[1:]) if mean is None else np.broadcast_to(mean, shape[1:])
        shift = -np.einsum("ochw,chw->o", rows, np.einsum("oc,chw->ohw", matrix, full_mean))
        new_weight = np.einsum("ochw,cd->odhw", rows, mixing).reshape(len(rows), -1)
        new_weight = new_weight.T if transposed else new_weight
    if transform.mean is None:
        return [new_weight.astype(np.float32), *blobs[1:]]
    bias = shift + (blobs[1].reshape(-1).astype(np.float64) if len(blobs) > 1 else 0)
    return [np.ascontiguousarray(new_weight, np.float32), bias.astype(np.float32)]


def _border(
    net: Net,
    changed: Net,
    layer: Layer,
    transform: Transform,
    name: str,
    data: NDArray[np.floating],
) -> Border | None:
    """Measure the error that padding zeros cause, by running the layer in both nets."""
    import numpy as np

    if layer.type != "Convolution":
        return None
    p: Any = layer.params.convolution_param
    pads = [*p.pad, *([p.pad_h, p.pad_w] if p.has("pad_h") or p.has("pad_w") else [])]
    if not any(pads) or transform.mean is None:
        return None
    value = layer.writes[0]
    expected = value_of(net, {name: transform.apply(data)}, value)
    actual = value_of(changed, {name: data.astype(np.float32)}, value)
    error = np.abs(actual - expected).max(axis=(0, 1))
    largest = float(np.abs(expected).max())
    wrong = np.argwhere(error > TOLERANCE * largest)
    if not len(wrong):
        return None
    height, width = error.shape
    ring = max(min(y, height - 1 - y, x, width - 1 - x) for y, x in wrong.tolist()) + 1
    return Border(layer.name, ring, float(error.max()), largest)


def without_weights(result: Preprocessed) -> None:
    """Raise UnsupportedError if layers have new weights, for a command without an output file."""
    names = [name for name in (*result.layers, *result.folded) if name in result.net.weights]
    if names:
        raise UnsupportedError(
            f"missing an output file for the weights of {', '.join(names)}",
            advice="Set it: --caffemodel new.caffemodel.",
        )
