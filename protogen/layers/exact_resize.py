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
        reads = [layer.reads[0], e.array([float(v) for v in p.roi]) if p.roi else ""]
        before = e.shape(layer.reads[0])
        scales = (float(p.scale_h), float(p.scale_w)) if p.has("scale_h") else None
        sizes = (p.height, p.width)
        if scales and any(
            abs(scale * n - m) > 1e-4 for scale, n, m in zip(scales, before[2:], sizes, strict=True)
        ):
            reads.append(e.array([1.0, 1.0, *scales]))
        else:
            reads += ["", e.array(list(e.shape(layer.writes[0])))]
        attributes: dict[str, Any] = {
            "mode": _ONNX_MODES[p.mode],
            "coordinate_transformation_mode": p.align,
            "nearest_mode": p.rounding,
            "cubic_coeff_a": float(p.cubic_a),
            "exclude_outside": int(p.exclude_outside),
            "extrapolation_value": float(p.extrapolation),
        }
        if p.antialias:
            attributes["antialias"] = 1
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
        )


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
