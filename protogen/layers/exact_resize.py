"""ExactResize: protogen's own layer type for a resize in the terms of ONNX. No Caffe has it; it is
replaced by other layers before a net is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.geometry import Shape
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from typing import Protocol

    class Request(Protocol):
        """A resize, as ``resampling.request`` has it."""

        @property
        def sampling(self) -> Any: ...
        @property
        def scale(self) -> tuple[float, float] | None: ...
        @property
        def roi(self) -> tuple[tuple[float, float], tuple[float, float]]: ...
        @property
        def extrapolation(self) -> float: ...
        @property
        def output(self) -> tuple[int, int]: ...


EXACT_RESIZE = "ExactResize"
_ONNX_MODES = {"nearest": "nearest", "bilinear": "linear", "cubic": "cubic"}


class ExactResize(LayerType):
    """Protogen: height and width resized as ONNX's Resize does, with its attributes."""

    resizes = True

    reads = fields(
        exact_resize_param=(
            "height width scale_h scale_w mode align rounding cubic_a exclude_outside antialias roi "
            "extrapolation"
        )
    )
    required = ("exact_resize_param.height", "exact_resize_param.width")

    stock = False
    forks = ("protogen",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.exact_resize_param
        if min(p.height, p.width) < 1:
            raise layer.error(f"height and width must be at least 1, got {p.height} and {p.width}")
        return [(*bottoms[0][:2], p.height, p.width)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.exact_resize_param
        if p.mode not in _ONNX_MODES:
            raise layer.unsupported(f"ONNX's Resize has no mode {p.mode}")
        before, sizes = e.shape(layer.reads[0]), (int(p.height), int(p.width))
        scales = (float(p.scale_h), float(p.scale_w)) if p.has("scale_h") else None
        attributes: dict[str, Any] = {
            "mode": _ONNX_MODES[p.mode],
            "coordinate_transformation_mode": p.align,
            "nearest_mode": _nearest_mode(layer, scales, before),
            "cubic_coeff_a": float(p.cubic_a),
            "exclude_outside": int(p.exclude_outside),
            "extrapolation_value": float(p.extrapolation),
        }
        if p.antialias:
            attributes["antialias"] = 1
        roi = [float(v) for v in p.roi]
        lengths = _lengths(layer, before, sizes, scales)
        if len(lengths) == 2:  # axes and policy are new in operator set 18
            attributes |= {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}
            roi = [roi[i] for i in (2, 3, 6, 7)] if roi else []
        reads = [layer.reads[0], e.array(roi) if roi else ""]
        reads += ["", e.array(lengths)] if isinstance(lengths[0], int) else [e.array(lengths)]
        e.op("Resize", reads, [layer.writes[0]], **attributes)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.exact_resize_param
        roi = list(p.roi) or [0, 0, 0, 0, 1, 1, 1, 1]
        r.resize(
            (p.height, p.width),
            scale=(float(p.scale_h), float(p.scale_w)) if p.has("scale_h") else None,
            roi=[roi[2], roi[3], roi[6], roi[7]],
            extrapolation=float(p.extrapolation),
            mode=str(p.mode),
            align=str(p.align),
            rounding=str(p.rounding),
            cubic_a=float(p.cubic_a),
            exclude_outside=bool(p.exclude_outside),
            antialias=bool(p.antialias),
            software="onnxruntime",
        )


def _lengths(
    layer: Layer, before: Shape, sizes: tuple[int, int], scales: tuple[float, float] | None
) -> list[int] | list[float]:
    """Return what a Resize reads: all sizes, all scales, or two sizes, of height and width.

    Two sizes are for lengths that keep_aspect_ratio_policy rounded: one axis has the scale, and the
    other, whose size is 1, gets the same scale.
    """
    import numpy as np

    one = np.float32
    if scales is None:
        return [*before[:2], *sizes]
    axes = list(zip(before[2:], sizes, scales, strict=True))
    is_ratio = [one(scale) == one(out) / one(size) for size, out, scale in axes]
    if all(is_ratio):
        return [*before[:2], *sizes]
    if sizes == before[2:]:
        raise layer.unsupported("ONNX's Resize copies a blob whose lengths do not change")
    if all(int(one(scale) * one(size)) == out for size, out, scale in axes):
        return [1.0, 1.0, *scales]
    if scales[0] == scales[1] and any(is_ratio):
        return [sizes[0], 1] if is_ratio[0] else [1, sizes[1]]
    raise layer.unsupported(
        f"ONNX's Resize has no form for the scales {scales} from {before[2:]} to {sizes}"
    )


def _nearest_mode(layer: Layer, scales: tuple[float, float] | None, shape: Shape) -> str:
    """Return ONNX's nearest_mode. Operator set 10 has another rule, by the scale of each axis."""
    p = layer.params.exact_resize_param
    if p.rounding != "floor_or_ceil":
        return str(p.rounding)
    ratios = scales or (p.height / shape[2], p.width / shape[3])
    modes = {"ceil" if ratio < 1 else "floor" for ratio in ratios if ratio != 1}
    if len(modes) == 2:
        raise layer.unsupported("ONNX's Resize rounds positions of both axes by one rule")
    return modes.pop() if modes else "floor"


def exact_resize_params(request: Request) -> dict[str, Any]:
    """Return the parameters of an ExactResize for a resize."""
    sampling = request.sampling
    (top, bottom), (left, right) = request.roi
    params = {
        "height": request.output[0],
        "width": request.output[1],
        "mode": sampling.mode,
        "align": sampling.align,
        "rounding": sampling.rounding,
        "cubic_a": sampling.cubic_a,
        "exclude_outside": sampling.exclude_outside,
        "antialias": sampling.antialias,
        "extrapolation": request.extrapolation,
    }
    if request.scale is not None:
        params |= {"scale_h": request.scale[0], "scale_w": request.scale[1]}
    if request.roi != ((0.0, 1.0), (0.0, 1.0)):
        params["roi"] = [0.0, 0.0, top, left, 1.0, 1.0, bottom, right]
    return params
