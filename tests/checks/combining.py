"""Layers that join or cut blobs: Eltwise, Concat, Slice, Crop, Filter, Split."""

from __future__ import annotations

from checks.rows import Row, layer, one, source


def eltwise(text: str, *shapes: str) -> str:
    return one("Eltwise", f"eltwise_param {{ {text} }}", *(shapes or ("2x4", "2x4")))


def concat(text: str, *shapes: str) -> str:
    return one("Concat", f"concat_param {{ {text} }}", *(shapes or ("2x4", "2x4")))


def cut(text: str, tops: str = "t u", shape: str = "2x4") -> str:
    return one("Slice", f"slice_param {{ {text} }}", shape, tops=tops)


def crop(text: str, first: str = "2x4x9x9", second: str = "2x4x5x5") -> str:
    return one("Crop", f"crop_param {{ {text} }}", first, second)


ROWS = (
    Row("eltwise.coeff-each-bottom", "Eltwise", "coeff is set once per bottom, or not at all.",
        "eltwise_layer.cpp:12",
        (eltwise("operation: SUM coeff: 1"), eltwise("operation: MAX coeff: 1")),
        (eltwise("operation: SUM coeff: 1 coeff: -1"),)),
    Row("eltwise.coeff-of-product", "Eltwise", "PROD has no coeff.", "eltwise_layer.cpp:15",
        (eltwise("operation: PROD coeff: 1 coeff: 1"),), (eltwise("operation: PROD"),)),
    Row("eltwise.bottoms-alike", "Eltwise", "All bottoms have one shape.", "eltwise_layer.cpp:34",
        (eltwise("", "2x4", "2x1"), eltwise("", "2x4", "2x4x1"), eltwise("", "2x4", "2x4", "4x2")),
        (eltwise("", "2x4", "2x4", "2x4"),)),
    Row("concat.axis-forms", "Concat", "axis and concat_dim are not both set.",
        "concat_layer.cpp:12", (concat("axis: 1 concat_dim: 1"),), (concat("concat_dim: 1"),)),
    Row("concat.concat-dim-low", "Concat", "concat_dim does not overflow.",
        "concat_layer.cpp:25", (concat("concat_dim: 4294967295"),), (concat("concat_dim: 0"),)),
    Row("concat.concat-dim-high", "Concat", "concat_dim is an axis of the bottom.",
        "concat_layer.cpp:28", (concat("concat_dim: 2"),), (concat("concat_dim: 1"),)),
    Row("concat.axis", "Concat", "axis is an axis of the bottom.", "blob.hpp:122",
        (concat("axis: 2"), concat("axis: -3")), (concat("axis: -2"),)),
    Row("concat.axes-alike", "Concat", "All bottoms have the same number of axes.", "concat_layer.cpp:38",
        (concat("", "2x4", "2x4x1"), concat("", "2x4", "2")), (concat("", "2x4x1", "2x3x1"),)),
    Row("concat.rest-alike", "Concat", "Bottoms differ only on the concatenation axis.",
        "concat_layer.cpp:42", (concat("", "2x4", "3x4"), concat("axis: 0", "2x4", "2x3")),
        (concat("axis: 0", "2x4", "3x4"),)),
    Row("slice.axis-forms", "Slice", "axis and slice_dim are not both set.", "slice_layer.cpp:13",
        (cut("axis: 1 slice_dim: 1"),), (cut("slice_dim: 1"),)),
    Row("slice.slice-dim-low", "Slice", "slice_dim does not overflow.", "slice_layer.cpp:30",
        (cut("slice_dim: 4294967295"),), (cut("slice_dim: 0"),)),
    Row("slice.slice-dim-high", "Slice", "slice_dim is an axis of the bottom.", "slice_layer.cpp:33",
        (cut("slice_dim: 2"),), (cut("slice_dim: 1"),)),
    Row("slice.axis", "Slice", "axis is an axis of the bottom.", "blob.hpp:122",
        (cut("axis: 2"), cut("axis: -3")), (cut("axis: -1"),)),
    Row("slice.points-each-top", "Slice", "slice_point has one value less than there are tops, or none.",
        "slice_layer.cpp:43", (cut("slice_point: 1 slice_point: 2"), cut("slice_point: 1", "t u v")),
        (cut("slice_point: 1"),)),
    Row("slice.tops-of-length", "Slice", "With slice_point, there are not more tops than the length of the axis.",
        "slice_layer.cpp:44",
        (cut("slice_point: 1 slice_point: 2", "t u v", "2x2"),),
        (cut("slice_point: 1 slice_point: 2", "t u v", "2x3"),)),
    Row("slice.points-rise", "Slice", "Each slice_point is greater than the previous one, and the first is greater than 0.",
        "slice_layer.cpp:50",
        (cut("slice_point: 2 slice_point: 2", "t u v"), cut("slice_point: 3 slice_point: 1", "t u v"),
         cut("slice_point: 0")),
        (cut("slice_point: 1 slice_point: 2", "t u v"),)),
    Row("slice.last-point", "Slice", "The last slice_point is within the axis.", "blob.cpp:32",
        (cut("slice_point: 5"),), (cut("slice_point: 3"),)),
    Row("slice.equal-parts", "Slice", "Without slice_point, the number of tops divides the axis.",
        "slice_layer.cpp:61", (cut("", "t u v"),), (cut("", "t u v w"),)),
    Row("crop.axis", "Crop", "axis is an axis of the first bottom.", "blob.hpp:122",
        (crop("axis: 4"), crop("axis: -5")), (crop("axis: 3", second="2x4x9x5"), crop("axis: -2"))),
    Row("crop.offset-each-axis", "Crop", "offset has one value for all axes from axis on, or one per axis.",
        "crop_layer.cpp:29",
        (crop("axis: 1 offset: 0 offset: 1"), crop("offset: 1 offset: 1 offset: 1")),
        (crop("axis: 2 offset: 0 offset: 1"), crop("offset: 1"))),
    Row("crop.within", "Crop", "The second bottom, with its offset, is within the first.",
        "crop_layer.cpp:63",
        (crop("offset: 5"), crop("axis: 1", second="2x5x5x5"), crop("axis: 2 offset: 0 offset: 5")),
        (crop("offset: 4"), crop("axis: 1", second="2x3x5x5"))),
    Row("crop.second-axes", "Crop", "The second bottom has the axes that are cropped.", "blob.hpp:122",
        (crop("", second="2x4x5"),), (crop("", second="2x4x5x5x1"),)),
    Row("filter.selector-values", "Filter", "The last bottom has one value per sample.",
        "filter_layer.cpp:22",
        (one("Filter", "", "2x4", "2x2"), one("Filter", "", "2x4", "2x1x3")),
        (one("Filter", "", "2x4", "2x1x1"),)),
    Row("filter.samples", "Filter", "Each bottom has as many samples as the last one.", "filter_layer.cpp:26",
        (one("Filter", "", "3x4", "2"),), (one("Filter", "", "2x4", "2"),)),
    Row("split.in-place", "Split", "No top is its bottom.", "split_layer.cpp:18",
        (source("a", "2x4") + layer("Split", "a", "a"),), (source("a", "2x4") + layer("Split", "a"),)),
)  # fmt: skip
