"""Layers of forks that change height and width and have no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Mistake,
    check_bottoms,
    fields,
)
from protogen.layers.dense import INT64
from protogen.layers.graph import Layer
from protogen.layers.ordering import shuffle_pixels
from protogen.layers.values import pooling_indices
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class PixelShuffle(LayerType):
    """Forks: groups of r x r channels become blocks of r x r pixels."""

    reads = fields(pixelshuffle_param="upscale_factor")

    stock = False
    source = "inisis/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        r = layer.params.pixelshuffle_param.upscale_factor
        n, c, h, w = _nchw(layer, bottoms[0])
        if r < 1 or c % (r * r):
            raise layer.error(
                f"upscale_factor {r} requires a channel count divisible by {r * r}, got {c}"
            )
        return [(n, c // (r * r), h * r, w * r)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        r = layer.params.pixelshuffle_param.upscale_factor
        e.op("DepthToSpace", [layer.reads[0]], [layer.writes[0]], blocksize=r, mode="CRD")

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shuffle_pixels(layer, r, layer.params.pixelshuffle_param.upscale_factor)


_DEFAULT_SCALE = {"yolo": 1, "huawei": 2}  # scale of an Upsample without upsample_param, by dialect


class Upsample(LayerType):
    """Forks. One bottom: nearest neighbour by ``scale`` (SSD, YOLO). Two bottoms (SegNet): the
    second is the mask of a MAX Pooling; each value goes to the position that the mask gives. The
    size is upsample_h x upsample_w or H scale - pad_out."""

    resizes = True

    reads = fields(
        upsample_param="scale scale_h scale_w pad_out_h pad_out_w upsample_h upsample_w",
    )

    stock = False
    source = "alexgkendall/caffe-segnet"

    def decide(self, layer: Layer) -> None:
        if self._scale_is_default(layer) and layer.dialect not in _DEFAULT_SCALE:
            raise layer.unsupported(
                "scale is not set, and its default differs between forks: 1 in yolo, 2 in huawei",
                "Set upsample_param { scale: 2 }, or --dialect yolo or --dialect huawei.",
            )

    def meaning(self, layer: Layer) -> str:
        return str(_DEFAULT_SCALE.get(layer.dialect))

    def _scale_is_default(self, layer: Layer) -> bool:
        """Return whether the layer has neither a mask nor parameters."""
        return len(layer.bottoms) == 1 and not layer.params.upsample_param.fields

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 1, 2)
        p = layer.params.upsample_param
        n, c, h, w = _nchw(layer, bottoms[0])
        if len(bottoms) == 2 and bottoms[1] != bottoms[0]:
            raise layer.error(
                f"its mask must have the shape of its first bottom, {shape_text(bottoms[0])}, got "
                f"{shape_text(bottoms[1])}"
            )
        if self._scale_is_default(layer) and layer.dialect not in _DEFAULT_SCALE:
            return [None]
        default = _DEFAULT_SCALE.get(layer.dialect, 1) if len(bottoms) == 1 else 2
        scale = p.scale if p.has("scale") else default
        sizes = []
        for axis, size in (("h", h), ("w", w)):
            factor = getattr(p, f"scale_{axis}") if p.has(f"scale_{axis}") else scale
            cut = int(getattr(p, f"pad_out_{axis}"))
            if cut and factor != 2:
                raise layer.error(f"pad_out_{axis} requires a scale of 2, got {factor}")
            sizes.append(size * factor - cut)
        if p.has("upsample_h") or p.has("upsample_w"):
            if not (p.has("upsample_h") and p.has("upsample_w")):
                raise layer.error("upsample_h and upsample_w must both be set")
            sizes = [p.upsample_h, p.upsample_w]
        if min(sizes) < 1:
            raise layer.error(
                f"the output size would be {shape_text(tuple(sizes))}",
                "Set a scale of at least 1.",
            )
        return [(n, c, *sizes)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        top = self.shapes(layer, shapes)[0]
        return pooling_indices(rng, shapes[1], top[2:]) if index == 1 and top else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        if len(layer.reads) == 1:
            if after[2] % before[2] or after[3] % before[3]:
                # Resize with a float scale may lose a pixel: floor(3 * 2.3333333) is 6. So gather
                # rows and columns by index instead.
                rows, columns = (
                    e.array([i * n // m for i in range(m)])
                    for n, m in zip(before[2:], after[2:], strict=True)
                )
                x = e.value("Gather", layer.reads[0], rows, axis=2)
                e.op("Gather", [x, columns], [layer.writes[0]], axis=3)
                return
            scales = e.array([1.0, 1.0, after[2] // before[2], after[3] // before[3]])
            e.op(
                "Resize",
                [layer.reads[0], "", scales],
                [layer.writes[0]],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            return
        # The mask holds indices within a plane, so each plane becomes one axis. The sizes come from
        # Shape, so the batch may be dynamic.
        x, index = (e.value("Reshape", read, e.array([0, 0, -1])) for read in layer.reads)
        planes = e.value("Slice", e.value("Shape", x), e.array([0]), e.array([2]))
        length = e.value("Concat", planes, e.array([after[2] * after[3]]), axis=0)
        empty = e.value("ConstantOfShape", length)
        index = e.value("Cast", index, to=INT64)
        filled = e.value("ScatterElements", empty, index, x, axis=2)
        e.op("Reshape", [filled, e.array([0, 0, *after[2:]])], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(layer.bottoms) == 2:
            raise layer.unsupported("no stock layer places values by a mask of indices")
        self.decide(layer)
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        assert shape is not None
        r.resize(shape[2:], mode="nearest", align="asymmetric", rounding="floor")


class BilinearInterpolate(LayerType):
    """Forks (SSD): bilinear to dst_h x dst_w or by scale_factor, with aligned corners (the
    default) or half-pixel centres. Positions are computed from the sizes, not from the factor."""

    resizes = True

    reads = fields(bilinear_interpolate_param="dst_h dst_w scale_factor align_corners")

    stock = False
    source = "inisis/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.bilinear_interpolate_param
        n, c, h, w = _nchw(layer, bottoms[0])
        if p.has("dst_h") or p.has("dst_w"):
            out = (p.dst_h if p.has("dst_h") else h, p.dst_w if p.has("dst_w") else w)
        else:
            import numpy as np

            factor = np.float32(p.scale_factor)  # Caffe multiplies in float
            out = (int(np.float32(h) * factor), int(np.float32(w) * factor))
        if min(out) < 1:
            raise layer.error(f"the output size would be {shape_text(out)} for input {h}x{w}")
        return [(n, c, *out)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        p = layer.params.bilinear_interpolate_param
        if (p.has("dst_h") or p.has("dst_w")) == p.has("scale_factor"):
            raise layer.error("the fork needs either dst_h or dst_w, or scale_factor")
        if min(bottoms[0][2:]) < 2:
            raise layer.error("the fork reads beyond a map whose height or width is 1")
        if p.align_corners and tops[0] is not None and min(tops[0][2:]) < 2:
            raise layer.error(
                "the fork divides by 0 for an output height or width of 1",
                "Set align_corners: false.",
            )

    def lower(self, layer: Layer, e: Emitter) -> None:
        sizes = e.array(list(e.shape(layer.writes[0])))
        e.op(
            "Resize",
            [layer.reads[0], "", "", sizes],
            [layer.writes[0]],
            mode="linear",
            coordinate_transformation_mode=self._align(layer),
        )

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        r.resize(shape[2:], align=self._align(layer))

    def _align(self, layer: Layer) -> str:
        aligned = layer.params.bilinear_interpolate_param.align_corners
        return "align_corners" if aligned else "half_pixel"


class Interp(LayerType):
    """Forks (DeepLab, PSPNet): bilinear with aligned corners, to a given size, by factors, or to
    the size of a second bottom. Caffe's zoom_factor z gives (H - 1) z + 1, OpenVINO's H z (its model
    optimizer, in the dialect openvino)."""

    resizes = True

    reads = fields(
        interp_param=(
            "height width zoom_factor shrink_factor full_zoom_factor pad_beg pad_end use_blob_size"
        )
    )

    stock = False
    source = "hszhao/PSPNet"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.interp_param
        n, c, h, w = _nchw(layer, bottoms[0])
        if p.pad_beg > 0 or p.pad_end > 0:
            raise layer.error(
                "pad_beg and pad_end must be 0 or negative, because they crop the input, got "
                f"{p.pad_beg} and {p.pad_end}"
            )
        if len(bottoms) == 2:
            return [(n, c, *bottoms[1][2:])]
        if p.use_blob_size:
            raise layer.error("use_blob_size requires a second bottom")
        if layer.dialect == "openvino":
            return [(n, c, *self._openvino_size(layer, h, w))]
        # As in PSPNet, height and width are ignored if exactly one of the two factors is set.
        sized = p.has("height") and p.has("width")
        if sized and p.has("zoom_factor") == p.has("shrink_factor"):
            return [(n, c, p.height, p.width)]
        if min(p.zoom_factor, p.shrink_factor, p.full_zoom_factor) < 1:
            raise layer.error(
                "zoom_factor, shrink_factor and full_zoom_factor must be at least 1, got "
                f"{p.zoom_factor}, {p.shrink_factor} and {p.full_zoom_factor}"
            )
        crop = p.pad_beg + p.pad_end  # 0 or negative
        if p.has("zoom_factor") or p.has("shrink_factor") or not p.has("full_zoom_factor"):
            out = tuple(
                geometry.interp_out(size + crop, p.zoom_factor, p.shrink_factor) for size in (h, w)
            )
        else:
            out = ((h + crop) * p.full_zoom_factor, (w + crop) * p.full_zoom_factor)
        if min(out) < 1:
            raise layer.error(f"the output size would be {shape_text(out)} for input {h}x{w}")
        return [(n, c, *out)]

    def decide(self, layer: Layer) -> None:
        p = layer.params.interp_param
        is_sized = p.height and p.width
        if layer.dialect == "openvino" and p.zoom_factor > 1 < p.shrink_factor and not is_sized:
            raise layer.unsupported(
                "releases of OpenVINO compute different sizes for zoom_factor with shrink_factor",
                "Set height and width.",
            )

    def _openvino_size(self, layer: Layer, h: int, w: int) -> tuple[int, int]:
        """Return the size in OpenVINO (openvinotoolkit/openvino, model-optimizer/extensions/ops/
        interp.py and extensions/front/InterpolateNormalizer.py)."""
        p = layer.params.interp_param
        h, w = (n + p.pad_beg + p.pad_end for n in (h, w))
        if min(h, w, p.zoom_factor, p.shrink_factor) < 1:
            raise layer.error(
                f"sizes, zoom_factor and shrink_factor must be at least 1, got {h}x{w}, "
                f"{p.zoom_factor} and {p.shrink_factor}"
            )
        if (p.zoom_factor > 1) == (p.shrink_factor > 1) and p.height and p.width:
            return p.height, p.width
        if p.zoom_factor > 1 and p.shrink_factor == 1:
            return h * p.zoom_factor, w * p.zoom_factor
        zoom, shrink = p.zoom_factor, p.shrink_factor
        return geometry.interp_out(h, zoom, shrink), geometry.interp_out(w, zoom, shrink)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.interp_param
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        x = layer.reads[0]
        if p.pad_beg or p.pad_end:
            ends = [before[2] + p.pad_end, before[3] + p.pad_end]
            x = e.value("Slice", x, e.array([-p.pad_beg] * 2), e.array(ends), e.array([2, 3]))
        sizes = e.array(list(after))
        e.op(
            "Resize",
            [x, "", "", sizes],
            [layer.writes[0]],
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.interp_param
        h, w = _nchw(layer, r.shape(layer.bottoms[0]))[2:]
        bottoms = [r.shape(bottom) for bottom in layer.bottoms]
        out = self.shapes(layer, bottoms)[0][2:]
        if not (p.pad_beg or p.pad_end):
            r.resize(out, align="align_corners")
            return
        # The region of interest excludes the cropped pixels.
        low = [-p.pad_beg / max(1, n - 1) for n in (h, w)]
        high = [(n - 1 + p.pad_end) / max(1, n - 1) for n in (h, w)]
        r.resize(out, align="tf_crop_and_resize", roi=[*low, *high])

    def mistakes(self, layer: Layer) -> list[Mistake]:
        key = "coordinate_transformation_mode"
        return [
            Mistake(f"corners are not aligned ({mode})", attributes={"Resize": {key: mode}})
            for mode in ("half_pixel", "asymmetric", "pytorch_half_pixel")
        ]


class Resize(LayerType):
    """Forks: to height x width of resize_param, or by out_height_scale and out_width_scale."""

    reads = fields(resize_param="height width out_height_scale out_width_scale")

    stock = False
    source = "happynear/caffe-windows"

    refusal = (
        "forks use different interpolation rules for this type, and the net does not set the rule",
        "Register your fork's rule with pg.layer: ONNX Resize supports most of them.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.resize_param
        n, c, h, w = _nchw(layer, bottoms[0])
        if p.has("out_height_scale") and p.has("out_width_scale"):
            return [(n, c, int(h * p.out_height_scale), int(w * p.out_width_scale))]
        if p.height < 1 or p.width < 1:
            raise layer.error(
                "the output size is missing",
                "Set height and width, or out_height_scale and out_width_scale.",
            )
        return [(n, c, p.height, p.width)]


def _nchw(layer: Layer, shape: Shape) -> tuple[int, int, int, int]:
    """Return N, C, H, W of a bottom.

    Raises:
        InputError: it does not have 4 axes.
    """
    if len(shape) != 4:
        raise layer.error(f"its bottom must have 4 axes, got shape {shape_text(shape)}")
    return shape[0], shape[1], shape[2], shape[3]
