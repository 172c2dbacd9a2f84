"""Preprocessing as part of a net: stock layers at its head, or folded into its first layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError
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
) -> Preprocessed:
    """The net with a transform of its input in front.

    Without ``fold`` the transform becomes layers that every Caffe has: Power for one number, Bias and
    Scale for one a channel, a 1x1 Convolution where channels are swapped or mixed; that is exact. With
    ``fold`` it goes into the weights of the layers that read the input: exact where they do not pad;
    where they do, the border is measured.

    Args:
        blob: the input; may be left out where there is one.
        data: raw pictures (N, C, H, W) to measure with; random ones where it is left out.
        verify: run both nets, and compare the outputs.

    Raises:
        InputError: the input is not known or no picture, the transform does not fit it, or folding
            needs weights that are not there.
        UnsupportedError: the transform cannot be folded into these layers.
        MismatchError: ``verify`` found a difference.
    """
    import numpy as np

    name, shape = _input(net, blob)
    if data is None:
        generator = np.random.default_rng(0)
        data = generator.integers(0, 256, (1, *shape[1:])).astype(np.float32)
    if data.shape[1:] != shape[1:]:
        found, wanted = (shape_text(s) for s in (data.shape[1:], shape[1:]))
        raise InputError(
            f"the pictures are {found}, but the input is {wanted}", subject=f'"{name}"'
        )
    made = _folded(net, transform, name, data) if fold else _in_front(net, transform, name, shape)
    if verify:
        made = Preprocessed(
            made.net,
            made.layers,
            made.folded,
            made.border,
            verified(net, made, transform, name, data),
        )
    return made


def _input(net: Net, blob: str | None) -> tuple[str, tuple[int, ...]]:
    if blob is not None and blob not in net.inputs:
        raise InputError(
            f"the net has no such input (inputs: {', '.join(net.inputs) or 'none'})",
            subject=f'"{blob}"',
        )
    if blob is None and len(net.inputs) != 1:
        raise InputError(
            f"the net has {len(net.inputs)} inputs ({', '.join(net.inputs) or 'none'})",
            advice="Name one: --bottom data.",
        )
    name = blob or net.inputs[0]
    shape = net.graph.shapes[name]
    if shape is None or len(shape) != 4:
        found = shape_text(shape or (), "not known")
        raise InputError(f"is no picture: its shape is {found}", subject=f'input "{name}"')
    return name, shape


# In front: layers


def _in_front(net: Net, transform: Transform, name: str, shape: tuple[int, ...]) -> Preprocessed:
    steps = _steps(transform, shape)
    if not steps:
        return Preprocessed(net)
    taken = {layer.name for layer in net.layers} | set(net.shapes)
    messages, weights = [], {}
    bottom = name
    for role, type_, params, blobs in steps:
        own = free_name(f"{name}_{role}", taken, "_")
        frozen = {"param": [_FROZEN] * len(blobs)} if blobs else {}
        messages.append(
            Message.make(
                "LayerParameter",
                name=own,
                type=type_,
                bottom=[bottom],
                top=[own],
                **frozen,
                **params,
            )
        )
        if blobs:
            weights[own] = blobs
        bottom = own
    message = _with_layers(net, name, messages, bottom)
    made = net.with_message(message)
    made.weights = {**net.weights, **weights}
    return Preprocessed(made, tuple(one.name for one in messages))


def _steps(
    transform: Transform, shape: tuple[int, ...]
) -> list[tuple[str, str, dict[str, Any], Arrays]]:
    """(role, type, parameters, blobs) of each layer."""
    import numpy as np

    channels = shape[1]
    mean = None if transform.mean is None else transform.mean_for(shape[1:])
    matrix = None if transform.matrix is None else transform.matrix_for(channels)
    picture = mean is not None and mean.shape[1:] != (1, 1)
    diagonal = matrix is None or not np.any(matrix - np.diag(np.diag(matrix)))
    if picture and mean is not None:
        steps = []
        if transform.swap:
            steps.append(_convolution("swapped", np.eye(channels)[::-1], None))
        values = np.ascontiguousarray(np.broadcast_to(-mean, shape[1:]), np.float32)
        params = {"bias_param": {"axis": 1, "num_axes": 3}}
        steps.append(("centred", "Bias", params, [values]))
        if matrix is not None:
            steps.append(_channels("scaled", matrix, None, diagonal))
        return steps
    flat = None if mean is None else np.broadcast_to(mean.reshape(-1), (channels,))
    if transform.swap:
        whole = (np.eye(channels) if matrix is None else matrix)[:, ::-1]
        shift = None if flat is None else -(np.eye(channels) if matrix is None else matrix) @ flat
        return [_convolution("preprocessed", whole, shift)]
    if matrix is None and flat is None:
        return []
    factor = np.eye(channels) if matrix is None else matrix
    return [_channels("preprocessed", factor, flat, diagonal)]


def _channels(
    role: str, matrix: NDArray[np.float64], mean: NDArray[np.float64] | None, diagonal: bool
) -> tuple[str, str, dict[str, Any], Arrays]:
    """The cheapest layer for matrix (x - mean)."""
    import numpy as np

    shift = np.zeros(len(matrix)) if mean is None else -matrix @ mean
    if not diagonal:
        return _convolution(role, matrix, shift if mean is not None else None)
    scale = np.diag(matrix)
    if np.ptp(scale) == 0 and np.ptp(shift) == 0:
        values = {"scale": float(scale[0]), "shift": float(shift[0])}
        kept = {key: v for key, v in values.items() if v != (1 if key == "scale" else 0)}
        return role, "Power", {"power_param": kept}, []
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
    import numpy as np

    param: dict[str, Any] = {"num_output": len(matrix), "kernel_size": 1}
    blobs = [np.ascontiguousarray(matrix, np.float32)[:, :, None, None]]
    if shift is None:
        param["bias_term"] = False
    else:
        blobs.append(shift.astype(np.float32))
    return role, "Convolution", {"convolution_param": param}, blobs


def _with_layers(net: Net, name: str, new: Sequence[Message], top: str) -> Message:
    """The message with these layers behind the input; whoever read the input reads ``top``."""
    made = prototxt.parse(prototxt.write(net.message), net.name or "net")
    fields, behind = [], False
    for item in made.fields:
        fields.append(item)
        if item.name != "layer":
            continue
        if behind:
            for entry in (*item.value.all("bottom"), *item.value.all("top")):
                entry.value = top if entry.value == name else entry.value
        elif name in item.value.top:
            behind = True
            fields += [Field("layer", one, item.type) for one in new]
    made.fields = fields
    return prototxt.parse(prototxt.write(made), net.name or "net")


# Folded: weights


def _folded(net: Net, transform: Transform, name: str, data: NDArray[np.floating]) -> Preprocessed:
    readers = [layer for layer in net.layers if name in layer.reads]
    weights: dict[str, Arrays] = {}
    biased: list[str] = []
    for layer in readers:
        blobs = net.weights.get(layer.name)
        if layer.type not in ("Convolution", "InnerProduct"):
            raise layer.unsupported(
                "reads the input, and has no weights that the transform could go into",
                "Leave out --fold: layers in front are exact.",
            )
        if not blobs:
            raise layer.error("has no weights to fold into", "Give the caffemodel.")
        weights[layer.name] = _fold_into(layer, transform, net, blobs)
        if len(weights[layer.name]) > len(blobs):
            biased.append(layer.name)
    message = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for item in message.all("layer"):
        if item.value.name in biased:
            key = "convolution_param" if item.value.type == "Convolution" else "inner_product_param"
            getattr(item.value, key).remove("bias_term")
    made = net.with_message(message)
    made.weights = {**net.weights, **weights}
    border = [one for layer in readers if (one := _border(net, made, layer, transform, name, data))]
    return Preprocessed(made, folded=tuple(weights), border=border)


def _fold_into(layer: Layer, transform: Transform, net: Net, blobs: Arrays) -> Arrays:
    """W' = W M S and b' = b - W M mean, in float64."""
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
                "shares its weights over all places, so a mean picture cannot be folded into it",
                "Use a mean for each channel, or leave out --fold.",
            )
        mixed = matrix[:, ::-1] if transform.swap else matrix
        if group > 1:
            if np.any(mixed - np.diag(np.diag(mixed))):
                raise layer.unsupported(
                    f"has {group} groups, which see some channels only, so they cannot be mixed in it",
                    "Leave out --fold: layers in front are exact.",
                )
            each = weight.shape[1]
            place = np.arange(len(weight)) // (len(weight) // group) * each
            factors = np.diag(mixed)[place[:, None] + np.arange(each)]
            means = (
                np.zeros((len(weight), each))
                if mean is None
                else (
                    np.broadcast_to(mean.reshape(-1), (channels,))[place[:, None] + np.arange(each)]
                )
            )
            made = weight * factors.reshape(*factors.shape, *[1] * (weight.ndim - 2))
            shift = -(made.reshape(*factors.shape, -1).sum(axis=2) * means).sum(axis=1)
        else:
            made = np.einsum("oc...,cd->od...", weight, mixed)
            inner = (
                np.zeros(channels)
                if mean is None
                else (matrix @ np.broadcast_to(mean.reshape(-1), (channels,)))
            )
            shift = -weight.reshape(len(weight), channels, -1).sum(axis=2) @ inner
    else:
        turned = bool(layer.params.inner_product_param.transpose)
        rows = (weight.T if turned else weight).reshape(-1, *shape[1:])
        mixed = matrix[:, ::-1] if transform.swap else matrix
        whole = np.zeros(shape[1:]) if mean is None else np.broadcast_to(mean, shape[1:])
        shift = -np.einsum("ochw,chw->o", rows, np.einsum("oc,chw->ohw", matrix, whole))
        made = np.einsum("ochw,cd->odhw", rows, mixed).reshape(len(rows), -1)
        made = made.T if turned else made
    if transform.mean is None:
        return [made.astype(np.float32), *blobs[1:]]
    bias = shift + (blobs[1].reshape(-1).astype(np.float64) if len(blobs) > 1 else 0)
    return [np.ascontiguousarray(made, np.float32), bias.astype(np.float32)]


def _border(
    net: Net, made: Net, layer: Layer, transform: Transform, name: str, data: NDArray[np.floating]
) -> Border | None:
    """What the zeros of the padding change: the layer of both nets is run."""
    import numpy as np

    if layer.type != "Convolution":
        return None
    p: Any = layer.params.convolution_param
    pads = [*p.pad, *([p.pad_h, p.pad_w] if p.has("pad_h") or p.has("pad_w") else [])]
    if not any(pads) or transform.mean is None:
        return None
    value = layer.writes[0]
    wanted = value_of(net, {name: transform.apply(data)}, value)
    found = value_of(made, {name: data.astype(np.float32)}, value)
    error = np.abs(found - wanted).max(axis=(0, 1))
    largest = float(np.abs(wanted).max())
    bad = np.argwhere(error > TOLERANCE * largest)
    if not len(bad):
        return None
    height, width = error.shape
    ring = max(min(y, height - 1 - y, x, width - 1 - x) for y, x in bad.tolist()) + 1
    return Border(layer.name, ring, float(error.max()), largest)


def without_weights(made: Preprocessed) -> None:
    """Raises UnsupportedError where new layers have weights that no file was named for."""
    names = [name for name in (*made.layers, *made.folded) if name in made.net.weights]
    if names:
        raise UnsupportedError(
            f"weights are made for {', '.join(names)}",
            advice="Name a file: --caffemodel new.caffemodel.",
        )
