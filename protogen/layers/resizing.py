"""The forks' layers that change height and width without parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Mistake,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.dense import INT64
from protogen.layers.graph import Layer
from protogen.layers.values import winners
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Reorg(LayerType):
    """Forks (YOLO): blocks of stride x stride pixels become channels, or back (reverse)."""

    reads = fields(reorg_param="stride reverse")

    stock = False

    refusal = (
        "forks order its channels differently, and the net does not say how",
        "Register the order of your fork with pg.layer: it is a Reshape, Transpose, Reshape.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.reorg_param
        n, c, h, w = _four(layer, bottoms[0])
        s = p.stride
        if s < 1:
            raise layer.error("stride must be at least 1")
        if p.reverse:
            return [(n, c // (s * s), h * s, w * s)]
        return [(n, c * s * s, h // s, w // s)]


class PixelShuffle(LayerType):
    """Forks: groups of r x r channels become blocks of r x r pixels."""

    reads = fields(pixelshuffle_param="upscale_factor")

    stock = False
    forks = ("ssd",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        r = layer.params.pixelshuffle_param.upscale_factor
        n, c, h, w = _four(layer, bottoms[0])
        if r < 1 or c % (r * r):
            raise layer.error(f"upscale_factor {r} needs a channel count that {r * r} divides")
        return [(n, c // (r * r), h * r, w * r)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        r = layer.params.pixelshuffle_param.upscale_factor
        e.op("DepthToSpace", [layer.reads[0]], [layer.writes[0]], blocksize=r, mode="CRD")

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """A Deconvolution in groups of r x r channels, each with one weight of 1 at its place."""
        import numpy as np

        f = layer.params.pixelshuffle_param.upscale_factor
        channels = r.shape(layer.bottoms[0])[1]
        out = channels // (f * f)
        check_room(layer, f**4 * out)
        weight = np.tile(np.eye(f * f, dtype=np.float32).reshape(f * f, 1, f, f), (out, 1, 1, 1))
        params = {
            "num_output": out,
            "kernel_size": f,
            "stride": f,
            "group": out,
            "weight_filler": {"type": "constant", "value": 0.0},
            "bias_term": False,
        }
        r.add(
            "Deconvolution", layer.bottoms, params={"convolution_param": params}, weights=[weight]
        )


_BLANK = {"yolo": 1, "huawei": 2}  # an Upsample's factor where the net says none


class Upsample(LayerType):
    """Forks. By scale: nearest (SSD, YOLO). With a second bottom, the mask of a MAX Pooling
    (SegNet): every value to its winner's place, size upsample_h x upsample_w or H scale - pad_out.
    """

    resizes = True

    reads = fields(
        upsample_param="scale scale_h scale_w pad_out_h pad_out_w upsample_h upsample_w",
    )

    stock = False

    def decide(self, layer: Layer) -> None:
        if self._blank(layer) and layer.dialect not in _BLANK:
            raise layer.unsupported(
                "says no factor, and forks differ in what it is then: 1 in yolo's, 2 in Huawei's",
                "Write upsample_param { scale: 2 }, or say --dialect yolo or huawei.",
            )

    def _blank(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1 and not layer.params.upsample_param.fields

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 1, 2)
        p = layer.params.upsample_param
        n, c, h, w = _four(layer, bottoms[0])
        if len(bottoms) == 2 and bottoms[1] != bottoms[0]:
            raise layer.error(
                f"its mask is {shape_text(bottoms[1])}, but must be {shape_text(bottoms[0])}"
            )
        one = len(bottoms) == 1
        if self._blank(layer) and layer.dialect not in _BLANK:
            return [None]
        scale = p.scale if p.has("scale") else _BLANK.get(layer.dialect, 1) if one else 2
        sizes = []
        for axis, size in (("h", h), ("w", w)):
            factor = getattr(p, f"scale_{axis}") if p.has(f"scale_{axis}") else scale
            cut = int(getattr(p, f"pad_out_{axis}"))
            if cut and factor != 2:
                raise layer.error(f"pad_out_{axis} is for a scale of 2, here it is {factor}")
            sizes.append(size * factor - cut)
        if p.has("upsample_h") or p.has("upsample_w"):
            if not (p.has("upsample_h") and p.has("upsample_w")):
                raise layer.error("upsample_h and upsample_w must both be given")
            sizes = [p.upsample_h, p.upsample_w]
        if min(sizes) < 1:
            raise layer.error(f"makes {shape_text(tuple(sizes))}", "Give a scale of at least 1.")
        return [(n, c, *sizes)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        made = self.shapes(layer, shapes)[0]
        return winners(rng, shapes[1], made[2:]) if index == 1 and made else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        if len(layer.reads) == 1:
            if after[2] % before[2] or after[3] % before[3]:
                # A float scale may lose a pixel: floor(3 * 2.3333333) is 6.
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
        # The mask counts within a plane, so planes become one axis, and the batch may be free.
        x, index = (e.value("Reshape", read, e.array([0, 0, -1])) for read in layer.reads)
        planes = e.value("Slice", e.value("Shape", x), e.array([0]), e.array([2]))
        length = e.value("Concat", planes, e.array([after[2] * after[3]]), axis=0)
        empty = e.value("ConstantOfShape", length)
        index = e.value("Cast", index, to=INT64)
        filled = e.value("ScatterElements", empty, index, x, axis=2)
        e.op("Reshape", [filled, e.array([0, 0, *after[2:]])], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(layer.bottoms) == 2:
            raise layer.unsupported("no stock layer puts values at places that a mask names")
        self.decide(layer)
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        assert shape is not None
        r.resize(shape[2:], mode="nearest", align="asymmetric", rounding="floor")


class BilinearInterpolate(LayerType):
    """Forks (SSD): bilinear to dst_h x dst_w or by scale_factor, with aligned corners (the
    default) or half-pixel centres; positions follow from the sizes."""

    resizes = True

    reads = fields(bilinear_interpolate_param="dst_h dst_w scale_factor align_corners")

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.bilinear_interpolate_param
        n, c, h, w = _four(layer, bottoms[0])
        if p.has("dst_h") or p.has("dst_w"):
            out = (p.dst_h if p.has("dst_h") else h, p.dst_w if p.has("dst_w") else w)
        else:
            out = (int(h * p.scale_factor), int(w * p.scale_factor))
        if min(out) < 1:
            raise layer.error(f"makes {shape_text(out)} of {h}x{w}")
        return [(n, c, *out)]

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
    """Forks (DeepLab, PSPNet): bilinear with aligned corners to a size, by factors, or to the
    size of a second bottom."""

    resizes = True

    reads = fields(
        interp_param="height width zoom_factor shrink_factor full_zoom_factor pad_beg pad_end use_blob_size"
    )

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.interp_param
        n, c, h, w = _four(layer, bottoms[0])
        if p.pad_beg > 0 or p.pad_end > 0:
            raise layer.error("pad_beg and pad_end must be 0 or negative: they cut pixels away")
        if len(bottoms) == 2:
            return [(n, c, *bottoms[1][2:])]
        if p.use_blob_size:
            raise layer.error("has use_blob_size, which takes a second bottom")
        # One factor alone goes before the size, and the size before both factors (PSPNet).
        sized = p.has("height") and p.has("width")
        if sized and p.has("zoom_factor") == p.has("shrink_factor"):
            return [(n, c, p.height, p.width)]
        if min(p.zoom_factor, p.shrink_factor, p.full_zoom_factor) < 1:
            raise layer.error("zoom_factor and shrink_factor must be at least 1")
        crop = p.pad_beg + p.pad_end  # both are 0 or negative: pixels cut away
        if p.has("zoom_factor") or p.has("shrink_factor") or not p.has("full_zoom_factor"):
            out = tuple(
                geometry.interp_out(size + crop, p.zoom_factor, p.shrink_factor) for size in (h, w)
            )
        else:
            out = ((h + crop) * p.full_zoom_factor, (w + crop) * p.full_zoom_factor)
        if min(out) < 1:
            raise layer.error(f"makes {shape_text(out)} of {h}x{w}")
        return [(n, c, *out)]

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
        h, w = _four(layer, r.shape(layer.bottoms[0]))[2:]
        bottoms = [r.shape(bottom) for bottom in layer.bottoms]
        out = self.shapes(layer, bottoms)[0][2:]
        if not (p.pad_beg or p.pad_end):
            r.resize(out, align="align_corners")
            return
        # Cut pixels are those outside of the part that is read.
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

    refusal = (
        "forks sample differently under this name, and the net does not say how",
        "Register your fork's rule with pg.layer: ONNX's Resize has most of them.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.resize_param
        n, c, h, w = _four(layer, bottoms[0])
        if p.has("out_height_scale") and p.has("out_width_scale"):
            return [(n, c, int(h * p.out_height_scale), int(w * p.out_width_scale))]
        if p.height < 1 or p.width < 1:
            raise layer.error("has no size", "Give height and width, or both scales.")
        return [(n, c, p.height, p.width)]


def _four(layer: Layer, shape: Shape) -> tuple[int, int, int, int]:
    if len(shape) != 4:
        raise layer.error(f"its bottom is {shape_text(shape)}, but must have 4 axes")
    return shape[0], shape[1], shape[2], shape[3]
