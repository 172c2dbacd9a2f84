"""Forms of layers that resize images."""

from __future__ import annotations

from protogen.layers.forms.blocks import image, only, top_shape
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter


@form("ExactResize", "BilinearInterpolate", text="Interp")
def resize_by_interp(layer: Layer, r: Rewriter) -> None:
    """Interp aligns the corners."""
    only(layer, _aligns_corners(layer), "its corners are not aligned")
    height, width = top_shape(layer, r)[2:]
    r.add("Interp", layer.bottoms, params={"interp_param": {"height": height, "width": width}})


def _aligns_corners(layer: Layer) -> bool:
    if layer.type == "BilinearInterpolate":
        return bool(layer.params.bilinear_interpolate_param.align_corners)
    p = layer.params.exact_resize_param
    return str(p.mode) == "bilinear" and p.align == "align_corners" and not p.antialias


@form("Interp", text="Interp with height and width")
def interp_sized(layer: Layer, r: Rewriter) -> None:
    p = layer.params.interp_param
    only(layer, not (p.pad_beg or p.pad_end) and len(layer.bottoms) < 3, "it crops its bottom")
    height, width = top_shape(layer, r)[2:]
    written = {field.name for field in p.fields}
    only(layer, written != {"height", "width"} or len(layer.bottoms) == 2, "it has its size")
    params = {"interp_param": {"height": height, "width": width}}
    r.add("Interp", layer.bottoms[:1], params=params)


@form("ExactResize", text="Upsample")
def resize_by_upsample(layer: Layer, r: Rewriter) -> None:
    """Upsample repeats pixels, where its factor is a whole number."""
    shape = image(layer, r)
    p = layer.params.exact_resize_param
    height, width = top_shape(layer, r)[2:]
    factor = height // shape[2]
    whole = (height, width) == (factor * shape[2], factor * shape[3]) and factor > 1
    whole = whole and (not p.has("scale_h") or p.scale_h == p.scale_w == factor)
    repeats = (p.align == "asymmetric" and p.rounding in ("floor", "floor_or_ceil")) or (
        p.align in ("half_pixel", "pytorch_half_pixel") and p.rounding.startswith("round")
    )
    only(layer, whole and p.mode == "nearest" and repeats, "it does not repeat pixels")
    r.add("Upsample", layer.bottoms, params={"upsample_param": {"scale": factor}})
