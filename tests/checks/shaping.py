"""Layers that change a shape: Flatten, Reshape, Tile."""

from __future__ import annotations

from checks.rows import Row, layer, one, source


def flatten(text: str, shape: str = "2x4x3") -> str:
    return one("Flatten", f"flatten_param {{ {text} }}", shape)


def reshape(dims: str, text: str = "", shape: str = "2x4x3") -> str:
    dim = " ".join(f"dim: {one}" for one in dims.split())
    return one("Reshape", f"reshape_param {{ shape {{ {dim} }} {text} }}", shape)


def tile(text: str) -> str:
    return one("Tile", f"tile_param {{ {text} }}", "2x4")


X = source("a", "2x4")
ROWS = (
    Row("flatten.in-place", "Flatten", "Its top is not its bottom.", "flatten_layer.cpp:10",
        (X + layer("Flatten", "a", "a"),), (X + layer("Flatten", "a"),)),
    Row("flatten.axis", "Flatten", "axis is an axis of the bottom.", "blob.hpp:122",
        (flatten("axis: 3"), flatten("axis: -4")), (flatten("axis: 2"), flatten("axis: -3"))),
    Row("flatten.end-axis", "Flatten", "end_axis is an axis of the bottom.", "blob.hpp:122",
        (flatten("end_axis: 3"), flatten("end_axis: -4")), (flatten("end_axis: 2"), flatten("end_axis: -1"))),
    Row("flatten.order", "Flatten", "end_axis is not before axis by more than one.", "blob.hpp:86",
        (flatten("axis: 2 end_axis: 0"),), (flatten("axis: 2 end_axis: 1"), flatten("axis: 1 end_axis: 1"))),
    Row("reshape.in-place", "Reshape", "Its top is not its bottom.", "reshape_layer.cpp:10",
        (X + layer("Reshape", "a", "a", "reshape_param { shape { dim: 0 dim: 0 } }"),),
        (X + layer("Reshape", "a", "t", "reshape_param { shape { dim: 0 dim: 0 } }"),)),
    Row("reshape.one-inferred", "Reshape", "At most one dim is -1.", "reshape_layer.cpp:22",
        (reshape("-1 -1"),), (reshape("-1 1"),)),
    Row("reshape.axis-low", "Reshape", "axis is not before the bottom's first axis.", "reshape_layer.cpp:37",
        (reshape("24", "axis: -5"),), (reshape("24", "axis: 0"), reshape("1", "axis: -1"))),
    Row("reshape.axis-high", "Reshape", "axis is not after the bottom's last axis by more than one.",
        "reshape_layer.cpp:38", (reshape("1", "axis: 4"),), (reshape("1", "axis: 3"),)),
    Row("reshape.num-axes-least", "Reshape", "num_axes is -1 or more.", "reshape_layer.cpp:41",
        (reshape("24", "num_axes: -2"),), (reshape("24", "num_axes: -1"), reshape("1", "num_axes: 0"))),
    Row("reshape.num-axes-most", "Reshape", "num_axes, counted from axis, does not extend beyond the bottom.",
        "reshape_layer.cpp:44", (reshape("12", "axis: 1 num_axes: 3"),), (reshape("12", "axis: 1 num_axes: 2"),)),
    Row("reshape.copied", "Reshape", "A dim of 0 copies an axis that the bottom has.",
        "reshape_layer.cpp:64", (reshape("0 0 0 0"), reshape("3 0", "axis: 2")),
        (reshape("0 0 0 1"), reshape("0 1", "axis: 2"))),
    Row("reshape.inferred", "Reshape", "The product of the known lengths divides the bottom's number of values.",
        "reshape_layer.cpp:80", (reshape("5 -1"),), (reshape("6 -1"),)),
    Row("reshape.count", "Reshape", "The top has as many values as the bottom.", "reshape_layer.cpp:87",
        (reshape("2 4"), reshape("5")), (reshape("2 12"), reshape("24"))),
    Row("reshape.dim-negative", "Reshape", "No dim is below -1.", "blob.cpp:32",
        (reshape("-2 12"),), (reshape("2 12"),)),
    Row("tile.axis", "Tile", "axis is an axis of the bottom.", "blob.hpp:122",
        (tile("tiles: 2 axis: 2"), tile("tiles: 2 axis: -3")), (tile("tiles: 2 axis: -2"),)),
    Row("tile.tiles-given", "Tile", "tiles is set.", "tile_layer.cpp:13", (tile(""),), (tile("tiles: 1"),)),
    Row("tile.tiles-positive", "Tile", "tiles is above 0.", "tile_layer.cpp:15",
        (tile("tiles: 0"),), (tile("tiles: 1"),)),
)  # fmt: skip
