"""ONNX's Resize and Upsample as resizes of height and width. It does not need the onnx package.

The numbers are those of onnxruntime, which differ from ONNX's text and reference here:

- A length is computed in float32, and positions use the whole length: with align_corners the last
  pixel is the last pixel, also where scale times length is not a whole number. PyTorch does the same.
- An axis with the scale 1 is copied; so are all axes if no length changes, for every scale.
- Operator set 10 rounds positions of nearest up if the scale is below 1, and else down.

One rule of onnxruntime is not repeated: it copies an axis with the scale 1 also where
tf_crop_and_resize crops it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protogen.errors import InputError, UnsupportedError
from protogen.geometry import Shape
from protogen.resampling.matrices import Axis, keep_aspect, make_axis
from protogen.resampling.positions import copies_blob
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import OPSET_10, Sampling

_MODES = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear", "cubic": "cubic"}
_WHOLE = (0.0, 1.0)  # the part of an axis that is not cropped


@dataclass(frozen=True)
class Resizing:
    """A resize of any axes of a blob.

    Attributes:
        shape: the shape of the blob.
        axes: one for each axis.
        sampling: how output pixels read input pixels.
        extrapolation: the value that tf_crop_and_resize writes outside of the input.
    """

    shape: Shape
    axes: tuple[Axis, ...]
    sampling: Sampling
    extrapolation: float = 0.0

    @property
    def out(self) -> Shape:
        return tuple(axis.out for axis in self.axes)

    @property
    def crops_without_resizing(self) -> bool:
        """Whether a cropped axis keeps its length: onnxruntime ignores the crop."""
        crops = self.sampling.align == "tf_crop_and_resize"
        return crops and any(one.out == one.size and _changes(one) for one in self.axes)

    def parts(self) -> Iterator[tuple[ResizeRequest, Shape]]:
        """Yield resizes of height and width that follow each other, as few as possible.

        Each comes with the shape of the whole blob after it. The bottom of the request, (N, C, H,
        W), is a view of the blob before it: axes that are not resized are merged. The axes that
        shrink come first.
        """
        shape = list(self.shape)
        for group in self._groups():
            before = tuple(shape)
            for k in group:
                shape[k] = self.axes[k].out
            yield self._request(before, group), tuple(shape)

    def _groups(self) -> list[tuple[int, ...]]:
        """Return the axes that are resized, in groups of one or two.

        Two axes are resized at once if they are the last two, not counting axes of length 1.
        """
        if copies_blob(self.axes):
            return []
        changed = [k for k, axis in enumerate(self.axes) if _changes(axis)]
        groups: list[tuple[int, ...]] = [(k,) for k in changed]
        if len(changed) > 1:
            first, second = changed[-2:]
            rest = self.shape[first + 1 : second] + self.shape[second + 1 :]
            if math.prod(rest) == 1:
                groups[-2:] = [(first, second)]
        return sorted(groups, key=lambda g: math.prod(self.axes[k].scale for k in g))

    def _request(self, shape: Shape, group: tuple[int, ...]) -> ResizeRequest:
        """Return the resize of one group of axes. The first axis stays the batch if it can."""
        first, last = group[0], group[-1]
        after = math.prod(shape[last + 1 :])
        alone = len(group) == 1
        is_height = first == 0 or (first == 2 and len(shape) == 4)
        if alone and after == 1 and not is_height:  # the height has the axes before the width
            start = 2
            sizes = (math.prod(shape[2:first]), shape[first])
            axes: tuple[Axis | None, Axis | None] = (None, self.axes[first])
        elif alone:
            start = first
            sizes = (shape[first], after)
            axes = (self.axes[first], None)
        else:
            start = first
            sizes = (shape[first], shape[last])
            axes = (self.axes[first], self.axes[last])
        scales = [1.0 if one is None else one.scale for one in axes]
        outs = [size if one is None else one.out for one, size in zip(axes, sizes, strict=True)]
        rois = [_WHOLE if one is None else one.roi for one in axes]
        return ResizeRequest(
            self.sampling,
            batch=shape[0] if first > 0 else 1,
            channels=math.prod(shape[1 : min(start, first)]),
            size=sizes,
            scale=(scales[0], scales[1]),
            out=(outs[0], outs[1]),
            roi=(rois[0], rois[1]),
            extrapolation=self.extrapolation,
        )


def resizing_of(
    operator: str,
    shape: Sequence[int],
    attributes: Mapping[str, Any],
    *,
    opset: int,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    roi: Sequence[float] | None = None,
) -> Resizing:
    """Return the resize of a Resize (opset 10 or later) or Upsample (opset 7 to 9).

    Args:
        shape: the shape of the operator's input.
        attributes: the attributes of the node, with strings as str.
        scales, sizes, roi: the values of the node's constant inputs. In opset 7, the scales of
            Upsample are an attribute.

    Raises:
        InputError: scales and sizes are missing, their number is wrong, or a value is invalid.
        UnsupportedError: the mode is unknown, or the extrapolation value is not finite.
    """
    sampling = _sampling(operator, attributes, opset)
    rank = len(shape)
    axes = [axis % rank for axis in attributes.get("axes", range(rank))]
    if len(set(axes)) < len(axes):
        raise InputError("an axis occurs twice in axes", subject=operator)
    if scales is None:
        scales = attributes.get("scales")
    by_size = sizes is not None and len(sizes) > 0
    if by_size and scales is not None and len(scales):
        raise InputError("has both scales and sizes", subject=operator)
    values = sizes if by_size else scales
    if values is None or len(values) != len(axes):
        raise InputError(f"must have scales or sizes for {len(axes)} axes", subject=operator)
    outs: dict[int, int | None] = dict.fromkeys(range(rank))
    factors: dict[int, float] = dict.fromkeys(range(rank), 1.0)
    if by_size:
        policy = attributes.get("keep_aspect_ratio_policy", "stretch")
        lengths, ratios = keep_aspect(
            [shape[a] for a in axes], [int(s) for s in values], policy, sampling.software
        )
        outs |= dict(zip(axes, lengths, strict=True))
        factors |= dict(zip(axes, ratios, strict=True))
    else:
        factors |= {axis: float(s) for axis, s in zip(axes, values, strict=True)}
        if operator == "Upsample" and min(factors.values()) < 1:
            raise InputError("scales must be at least 1", subject=operator)
    parts = dict.fromkeys(range(rank), _WHOLE)
    if roi is not None and len(roi) and sampling.align == "tf_crop_and_resize":
        if len(roi) != 2 * len(axes):
            raise InputError(f"roi must have {2 * len(axes)} values", subject=operator)
        for i, axis in enumerate(axes):
            parts[axis] = (float(roi[i]), float(roi[len(axes) + i]))
    extrapolation = float(attributes.get("extrapolation_value", 0.0))
    if not math.isfinite(extrapolation):
        raise UnsupportedError("extrapolation_value must be finite", subject=operator)
    return Resizing(
        tuple(shape),
        tuple(make_axis(shape[k], outs[k], factors[k], sampling, parts[k]) for k in range(rank)),
        sampling,
        extrapolation,
    )


def _sampling(operator: str, attributes: Mapping[str, Any], opset: int) -> Sampling:
    old = operator == "Upsample" or opset < 11
    mode = attributes.get("mode", "nearest")
    if mode not in _MODES:
        raise UnsupportedError(f"unknown mode {mode!r}", subject=operator)
    return Sampling(
        _MODES[mode],
        "asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel"),
        OPSET_10 if old else attributes.get("nearest_mode", "round_prefer_floor"),
        attributes.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(attributes.get("exclude_outside", 0)),
        antialias=bool(attributes.get("antialias", 0)),
        software="onnxruntime",
    )


def _changes(axis: Axis) -> bool:
    """Whether an axis of the blob changes: in its length or in its values."""
    import numpy as np

    if axis.out != axis.size or axis.copies:
        return axis.out != axis.size
    return not np.array_equal(axis.matrix, np.eye(axis.size))
