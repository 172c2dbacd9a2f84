"""Converts ONNX's Resize and Upsample to a ResizeRequest. It does not need the onnx package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protogen.errors import InputError, UnsupportedError
from protogen.resampling.matrices import Sampling, keep_aspect
from protogen.resampling.request import ResizeRequest

_MODES = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear", "cubic": "cubic"}


def request_of(
    operator: str,
    shape: Sequence[int],
    attributes: Mapping[str, Any],
    *,
    opset: int,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    roi: Sequence[float] | None = None,
) -> ResizeRequest:
    """Return the request for a Resize (opset 10 or later) or Upsample (opset 7 to 9).

    Args:
        shape: the shape of the operator's input.
        attributes: the attributes of the node, with strings as str.
        scales, sizes, roi: the values of the node's constant inputs. In opset 7, the scales of
            Upsample are an attribute.

    Raises:
        InputError: scales and sizes are missing, or their number is wrong.
        UnsupportedError: the input does not have four axes, batch or channels are resized, or the
            mode is unknown.
    """
    if len(shape) != 4:
        raise _refusal(
            operator, f"input must have 4 axes, got {len(shape)}", "Reshape it to N,C,H,W."
        )
    old = operator == "Upsample" or opset < 11
    mode = attributes.get("mode", "nearest")
    if mode not in _MODES:
        raise _refusal(operator, f"unknown mode {mode!r}")
    sampling = Sampling(
        _MODES[mode],
        "asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel"),
        "floor" if old else attributes.get("nearest_mode", "round_prefer_floor"),
        attributes.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(attributes.get("exclude_outside", 0)),
        antialias=bool(attributes.get("antialias", 0)),
    )
    axes = [axis % 4 for axis in attributes.get("axes", range(4))]
    if scales is None:
        scales = attributes.get("scales")
    values = sizes if sizes is not None and len(sizes) else scales
    if values is None or len(values) != len(axes):
        raise InputError(f"must have scales or sizes for {len(axes)} axes", subject=operator)
    outputs: dict[int, int | None] = dict.fromkeys(range(4))
    factors = dict.fromkeys(range(4), 1.0)
    if sizes is not None and values is sizes:
        policy = attributes.get("keep_aspect_ratio_policy", "stretch")
        lengths, ratios = keep_aspect([shape[a] for a in axes], [int(s) for s in values], policy)
        outputs |= dict(zip(axes, lengths, strict=True))
        factors |= dict(zip(axes, ratios, strict=True))
    else:
        factors |= {axis: float(s) for axis, s in zip(axes, values, strict=True)}
    advice = "Only height and width can be resized."
    for axis, axis_name in ((0, "batch"), (1, "channels")):
        if (outputs[axis] or shape[axis]) != shape[axis] or factors[axis] != 1:
            raise _refusal(operator, f"cannot resize the {axis_name}", advice)
    parts = [(0.0, 1.0)] * 4
    if roi is not None and len(roi):
        for i, axis in enumerate(axes):
            parts[axis] = (float(roi[i]), float(roi[len(axes) + i]))
    height, width = outputs[2], outputs[3]
    return ResizeRequest(
        sampling,
        batch=shape[0],
        channels=shape[1],
        size=(shape[2], shape[3]),
        scale=(factors[2], factors[3]),
        out=None if height is None or width is None else (height, width),
        roi=(parts[2], parts[3]),
        extrapolation=float(attributes.get("extrapolation_value", 0.0)),
    )


def _refusal(operator: str, problem: str, advice: str = "") -> UnsupportedError:
    return UnsupportedError(problem, subject=operator, advice=advice)
