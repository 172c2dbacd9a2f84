"""ONNX's Resize and Upsample as a request; plain values in, so that no onnx is needed."""

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
    """What a Resize (opset 10 on) or Upsample (7 to 9) asks of an input of ``shape``.

    Args:
        attributes: the node's, texts as str.
        scales, sizes, roi: the node's inputs, which must be constants; of Upsample-7 the scales
            are an attribute.

    Raises:
        InputError: neither scales nor sizes are given, or their number is wrong.
        UnsupportedError: the input has not four axes, batch or channels are resized, or the mode
            is none of a picture's.
    """
    if len(shape) != 4:
        raise _refuse(operator, f"its input has {len(shape)} axes, not 4", "Reshape it to N,C,H,W.")
    old = operator == "Upsample" or opset < 11
    mode = attributes.get("mode", "nearest")
    if mode not in _MODES:
        raise _refuse(operator, f"mode {mode!r} is not known")
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
    given = sizes if sizes is not None and len(sizes) else scales
    if given is None or len(given) != len(axes):
        raise InputError(f"needs scales or sizes for {len(axes)} axes", subject=operator)
    outs: dict[int, int | None] = dict.fromkeys(range(4))
    factors = dict.fromkeys(range(4), 1.0)
    if sizes is not None and given is sizes:
        policy = attributes.get("keep_aspect_ratio_policy", "stretch")
        lengths, ratios = keep_aspect([shape[a] for a in axes], [int(s) for s in given], policy)
        outs |= dict(zip(axes, lengths, strict=True))
        factors |= dict(zip(axes, ratios, strict=True))
    else:
        factors |= {axis: float(s) for axis, s in zip(axes, given, strict=True)}
    for axis, word in ((0, "batch"), (1, "channels")):
        if (outs[axis] or shape[axis]) != shape[axis] or factors[axis] != 1:
            raise _refuse(operator, f"it resizes the {word}", "Height and width can be resized.")
    parts = [(0.0, 1.0)] * 4
    if roi is not None and len(roi):
        for i, axis in enumerate(axes):
            parts[axis] = (float(roi[i]), float(roi[len(axes) + i]))
    height, width = outs[2], outs[3]
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


def _refuse(operator: str, problem: str, advice: str = "") -> UnsupportedError:
    return UnsupportedError(problem, subject=operator, advice=advice)
