"""Pooling over regions of interest: Fast R-CNN, R-FCN and their descendants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.regions import pooled_regions as parts
from protogen.layers.graph import Layer
from protogen.layers.values import random_regions
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

FLT_MAX = 3.4028234663852886e38


class _Regions(LayerType, abstract=True):
    """Base class of layers with the bottoms features and regions."""

    stock = False
    block = "roi_pooling_param"

    def scale(self, layer: Layer) -> float:
        """Return the size of the features over that of the image."""
        return float(getattr(layer.params, self.block).spatial_scale)

    def check_scale(self, layer: Layer) -> None:
        """Raises InputError if ONNX's operators do not take the scale."""
        scale = self.scale(layer)
        if not 0 < scale < math.inf:
            raise layer.error(f"spatial_scale must be above 0 and finite, got {scale:g}")

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index != 1:
            return None
        count = parts.region_count(layer, shapes[1])
        drawn = random_regions(rng, (count, 5), shapes[0], self.scale(layer))
        return drawn.reshape(shapes[1])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


def _four(layer: Layer, shape: Shape) -> None:
    if len(shape) != 4:
        raise layer.error(f'"{layer.bottoms[0]}" must have 4 axes, got shape {shape_text(shape)}')


class ROIPooling(_Regions):
    """Forks (Fast R-CNN): MAX over a grid of bins in each region; bottoms features, rois (R, 5). An
    empty bin is 0. MS-CNN widens a region on each side by pad_ratio of its size. TPU-MLIR computes
    as many regions as there are images, if regions have four axes and one row each; the others are
    -FLT_MAX."""

    source = "rbgirshick/caffe-fast-rcnn"
    reads = fields(roi_pooling_param="pooled_h pooled_w pooled_size spatial_scale pad_ratio")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        p = layer.params.roi_pooling_param
        size = tuple(p.pooled_size) * (2 if len(p.pooled_size) == 1 else 1)
        pooled = size if len(size) == 2 else (p.pooled_h, p.pooled_w)
        if min(pooled) < 1:
            raise layer.error(f"pooled_h and pooled_w must be at least 1, got {shape_text(pooled)}")
        count = parts.region_count(layer, bottoms[1])
        return [(count, bottoms[0][1], *pooled)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_scale(layer)
        _four(layer, bottoms[0])
        if layer.dialect != "tpumlir":
            return
        if len(bottoms[1]) != 4 or bottoms[1][0] < bottoms[0][0]:
            raise layer.error(
                f'tpumlir: "{layer.bottoms[1]}" must have 4 axes and an entry for each of the '
                f"{bottoms[0][0]} images, got shape {shape_text(bottoms[1])}"
            )

    def lower(self, layer: Layer, e: Emitter) -> None:
        pooled = e.shape(layer.writes[0])[2:]
        p = layer.params.roi_pooling_param
        count, images = e.shape(layer.writes[0])[0], e.shape(layer.reads[0])[0]
        rois = parts.region_rows(layer, e)
        if p.pad_ratio:
            image, *ends = parts.columns(e, rois)
            rois = e.value("Concat", image, *widened(e, ends, float(p.pad_ratio)), axis=1)
        computed = count
        if layer.dialect == "tpumlir":
            shape = e.shape(layer.reads[1])
            computed = min(count, images * shape[2])
            rois = cut_along(e, rois, 0, 0, computed)
        options = {"pooled_shape": pooled, "spatial_scale": p.spatial_scale}
        top = e.value("MaxRoiPool", layer.reads[0], rois, **options)
        if computed < count:
            import numpy as np

            shape = (count - computed, *e.shape(layer.writes[0])[1:])
            others = e.array(np.full(shape, -FLT_MAX, np.float32))
            top = e.value("Concat", top, others, axis=0)
        e.op("Identity", [top], [layer.writes[0]])


def widened(e: Emitter, ends: Sequence[str], ratio: float) -> list[str]:
    """Emit x0, y0, x1 and y1 of regions widened on each side by ``ratio`` of their size; the last
    pixel belongs to a region."""
    x0, y0, x1, y1 = ends
    pads = []
    for low, high in ((x0, x1), (y0, y1)):
        size = e.value("Add", e.value("Sub", high, low), e.array(1.0))
        pads.append(e.value("Mul", size, e.array(ratio)))
    return [
        *(e.value("Sub", low, pad) for low, pad in zip((x0, y0), pads, strict=True)),
        *(e.value("Add", high, pad) for high, pad in zip((x1, y1), pads, strict=True)),
    ]


class PSROIPooling(_Regions):
    """Forks (R-FCN): position-sensitive average over each region; bottoms features and rois (R, 5).

    A region has group_size x group_size bins. Bin (i, j) of output c is the average of channel
    (c * group_size + i) * group_size + j over the bin's pixels; an empty bin is 0.
    """

    source = "daijifeng001/caffe-rfcn"
    block = "psroi_pooling_param"
    reads = fields(psroi_pooling_param="spatial_scale output_dim group_size")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        p = layer.params.psroi_pooling_param
        return [position_sensitive_top(layer, bottoms, p.group_size, p.output_dim)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.psroi_pooling_param
        height, width = e.shape(layer.reads[0])[2:]
        image, x0, y0, x1, y1 = parts.columns(e, parts.region_rows(layer, e))
        scale, one = e.array(float(p.spatial_scale)), e.array(1.0)
        rows_cols = []
        for low, high, length in ((y0, y1, height), (x0, x1, width)):
            start = e.value("Mul", parts.rounded(e, low), scale)
            end = e.value("Mul", e.value("Add", parts.rounded(e, high), one), scale)
            extent = e.value("Max", e.value("Sub", end, start), e.array(0.1))
            size = e.value("Div", extent, e.array(float(p.group_size)))
            numbers = range(p.group_size + 1)
            begin = parts.grid(e, start, size, numbers[:-1])
            bins = parts.Bins(begin, parts.grid(e, start, size, numbers[1:]), length)
            rows_cols.append(parts.weights_of_pixels(e, bins))
        (rows, tall), (cols, wide) = rows_cols
        sums = parts.position_sensitive(
            e, layer.reads[0], image, rows, cols, p.group_size, p.output_dim
        )
        # The number of pixels of bin (i, j): (R, 1, group, group). An empty bin has the sum 0.
        area = e.value(
            "Mul",
            e.value("Unsqueeze", tall, e.array([1, 3])),
            e.value("Unsqueeze", wide, e.array([1, 2])),
        )
        e.op("Div", [sums, e.value("Max", area, one)], [layer.writes[0]])


def position_sensitive_top(
    layer: Layer, bottoms: Sequence[Shape], group: int, outputs: int
) -> Shape:
    """Return the shape (R, outputs, group, group) of a position-sensitive top.

    Raises:
        InputError: the parameters are below 1, or do not match the channels of the features.
    """
    if group < 1 or outputs < 1:
        raise layer.error(
            f"output_dim and group_size must be at least 1, got {outputs} and {group}"
        )
    if bottoms[0][1] != outputs * group * group:
        raise layer.error(
            f"its bottom must have {outputs * group * group} channels for output_dim {outputs} and "
            f"group_size {group}, got {bottoms[0][1]}"
        )
    _four(layer, bottoms[0])
    return (parts.region_count(layer, bottoms[1]), outputs, group, group)


class PSROIAlign(_Regions):
    """Forks (R-FCN): as PSROIPooling, but averages of interpolated points."""

    source = "fallingdust/caffe-fast-rcnn"
    block = "psroi_align_param"
    reads = fields(psroi_align_param="spatial_scale output_dim group_size sample_num")
    refusal = (
        "forks interpolate at different points",
        "End the net at this layer's bottoms with --to-blob, and do the pooling outside the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.psroi_align_param
        return [position_sensitive_top(layer, bottoms, p.group_size, p.output_dim)] * len(
            layer.tops
        )


class DeformablePSROIPooling(_Regions):
    """Forks (deformable R-FCN): as PSROIPooling, but each part of a region is moved by an offset."""

    source = "fireae/caffe_latte"
    block = "deformable_psroi_pooling_param"
    reads = fields(
        deformable_psroi_pooling_param=(
            "spatial_scale output_dim group_size part_size sample_per_part trans_std no_trans"
        )
    )
    refusal = (
        "its code runs on GPUs only, and no public result shows its numbers",
        "End the net at this layer's bottoms with --to-blob, and do the pooling outside the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.deformable_psroi_pooling_param
        check_bottoms(layer, 2, 3)
        return [position_sensitive_top(layer, bottoms, p.group_size, p.output_dim)] * len(
            layer.tops
        )


class ROIAlign(_Regions):
    """Forks: interpolated values of each region; bottoms features and rois (R, 5).

    With roi_align_param (Cambricon, Detectron): the average of points in each bin, sampling_ratio x
    sampling_ratio of them, by default about one per pixel. With roi_pooling_param (MS-CNN): the
    corners of all bins, one more than bins on each axis.
    """

    source = "Cambricon/caffe"
    block = "roi_align_param"
    reads = fields(
        roi_align_param="pooled_h pooled_w spatial_scale sampling_ratio",
        roi_pooling_param="pooled_h pooled_w spatial_scale pad_ratio",
    )
    limits = "not Synopsys' form, which takes a maximum of four points"

    def _is_mscnn(self, layer: Layer) -> bool:
        p = layer.params.roi_pooling_param
        return any(map(p.has, ("pooled_h", "pooled_w", "spatial_scale", "pad_ratio")))

    def scale(self, layer: Layer) -> float:
        p = layer.params
        block = p.roi_pooling_param if self._is_mscnn(layer) else p.roi_align_param
        return float(block.spatial_scale)

    def decide(self, layer: Layer) -> None:
        p = layer.params
        if self._is_mscnn(layer):
            names = ("pooled_h", "pooled_w", "spatial_scale", "sampling_ratio")
            if any(map(p.roi_align_param.has, names)):
                raise layer.unsupported(
                    "roi_align_param and roi_pooling_param are both set", "Keep one of them."
                )
            return
        if layer.dialect == "synopsys":
            raise layer.unsupported(
                "Synopsys' ROIAlign takes the maximum of four points, which ONNX's RoiAlign cannot",
                "End the net at its bottoms with --to-blob, and do the pooling outside the model.",
            )
        if layer.dialect != "cambricon" and not p.roi_align_param.has("sampling_ratio"):
            raise layer.unsupported(
                "forks compute it differently: Cambricon averages points of each bin, Synopsys takes "
                "the maximum of four points",
                "Set sampling_ratio (0: about one point per pixel), or --dialect cambricon.",
            )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        more = int(self._is_mscnn(layer))
        p = layer.params.roi_pooling_param if more else layer.params.roi_align_param
        if min(p.pooled_h, p.pooled_w) < 1:
            raise layer.error(
                f"pooled_h and pooled_w must be at least 1, got {p.pooled_h}x{p.pooled_w}"
            )
        _four(layer, bottoms[0])
        self.check_scale(layer)
        if not more and len(bottoms[1]) == 4 and bottoms[1][2:] == (1, 5):
            count = bottoms[1][1] * bottoms[1][0]  # Cambricon: (N, R, 1, 5)
        else:
            count = parts.region_count(layer, bottoms[1])
        return [(count, bottoms[0][1], p.pooled_h + more, p.pooled_w + more)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index != 1:
            return None
        count = self.shapes(layer, shapes)[0][0]
        drawn = random_regions(rng, (count, 5), shapes[0], self.scale(layer))
        return drawn.reshape(shapes[1])

    def lower(self, layer: Layer, e: Emitter) -> None:
        if self._is_mscnn(layer):
            _corners(layer, e)
            return
        p = layer.params.roi_align_param
        rois = parts.region_rows(layer, e)
        image = e.value("Reshape", cut_along(e, rois, 1, 0, 1), e.array([-1]))
        options = {
            "output_height": p.pooled_h,
            "output_width": p.pooled_w,
            "sampling_ratio": p.sampling_ratio,
            "spatial_scale": p.spatial_scale,
        }
        if e.opset >= 16:
            options["coordinate_transformation_mode"] = "output_half_pixel"
        reads = [layer.reads[0], cut_along(e, rois, 1, 1, 5), e.value("Cast", image, to=7)]
        e.op("RoiAlign", reads, [layer.writes[0]], **options)


def _corners(layer: Layer, e: Emitter) -> None:
    """Emit MS-CNN's ROIAlign: the values at the corners of the bins, 0 outside of the map."""
    p = layer.params.roi_pooling_param
    height, width = e.shape(layer.reads[0])[2:]
    image, *ends = parts.columns(e, parts.region_rows(layer, e))
    scale, half = e.array(float(p.spatial_scale)), e.array(0.5)
    x0, y0, x1, y1 = (
        e.value("Sub", e.value("Mul", end, scale), half)
        for end in widened(e, ends, float(p.pad_ratio))
    )
    places, masks = [], []
    for low, high, bins, length in ((y0, y1, p.pooled_h, height), (x0, x1, p.pooled_w, width)):
        extent = e.value("Sub", high, low)
        size = e.value("Div", extent, e.array(float(bins)))
        place = parts.grid(e, low, size, range(bins + 1))
        after = e.value("GreaterOrEqual", place, e.array(-0.5))
        before = e.value("LessOrEqual", place, e.array(length - 0.5))
        inside = e.value("And", after, before)
        inside = e.value("And", inside, e.value("Greater", extent, e.array(0.0)))
        masks.append(e.value("Cast", inside, to=FLOAT))
        place = e.value("Min", e.value("Max", place, e.array(0.0)), e.array(float(length - 1)))
        places.append(place)
    values = parts.sampled(e, layer.reads[0], image, *places)
    rows = e.value("Unsqueeze", masks[0], e.array([1, 3]))
    cols = e.value("Unsqueeze", masks[1], e.array([1, 2]))
    is_valid = e.value("Cast", e.value("Mul", rows, cols), to=9)
    e.op("Where", [is_valid, values, e.array(0.0)], [layer.writes[0]])
