"""Layers where data enters or leaves: Input, DummyData, MemoryData, ImageData, HDF5Data, HDF5Output."""

from __future__ import annotations

from checks.rows import Row, layer, source

FILES = "it reads files"
OLD = "num: 2 channels: 3 height: 4 width: 5"


def dummy(text: str, tops: str = "t u") -> str:
    return layer("DummyData", "", tops, f"dummy_data_param {{ {text} }}")


def fed(text: str, tops: str = "t u") -> str:
    return layer("Input", "", tops, f"input_param {{ {text} }}")


def memory(text: str, more: str = "") -> str:
    return layer("MemoryData", "", "t u", f"memory_data_param {{ {text} }} {more}")


def pictures(type_: str, params: str) -> str:
    return layer(type_, "", "t u", params)


SHAPE = "shape { dim: 2 }"
FILLER = "data_filler { type: 'constant' }"
BOTH = "transform_param { mean_file: 'm' mean_value: 1 }"
ONE = "transform_param { mean_value: 1 }"


def old(name: str, line: int) -> Row:
    """Check of num, channels, height or width of DummyData."""
    rest = " ".join(
        f"{n}: {v}"
        for n, v in (("num", 2), ("channels", 3), ("height", 4), ("width", 5))
        if n != name
    )
    return Row(f"dummydata.{name}", "DummyData", f"{name} has one value, or one per top.",
               f"dummy_data_layer.cpp:{line}",
               (dummy(rest), dummy(f"{rest} {name}: 1 {name}: 1 {name}: 1")),
               (dummy(f"{rest} {name}: 1"), dummy(f"{rest} {name}: 1 {name}: 2")))  # fmt: skip


def means(type_: str, block: str) -> Row:
    return Row(f"{type_.lower()}.means", type_, "mean_file and mean_value are not both set.",
               "data_transformer.cpp:21", (pictures(type_, f"{block} {BOTH}"),),
               (pictures(type_, f"{block} {ONE}"),), unasked=FILES,
               loose="it opens its database first" if type_ == "Data" else "")  # fmt: skip


ROWS = (
    Row("input.shapes", "Input", "shape has at most one value, or one per top.", "input_layer.cpp:13",
        (fed(f"{SHAPE} {SHAPE} {SHAPE}"), fed(f"{SHAPE} {SHAPE}", "t u v")),
        (fed(SHAPE), fed(f"{SHAPE} {SHAPE}"))),
    Row("dummydata.fillers", "DummyData", "data_filler has at most one value, or one per top.",
        "dummy_data_layer.cpp:14",
        (dummy(f"{SHAPE} {FILLER} {FILLER} {FILLER}"), dummy(f"{SHAPE} {FILLER} {FILLER}", "t u v")),
        (dummy(SHAPE), dummy(f"{SHAPE} {FILLER}"), dummy(f"{SHAPE} {FILLER} {FILLER}"))),
    Row("dummydata.forms", "DummyData", "shape is not set together with num, channels, height and width.",
        "dummy_data_layer.cpp:22", (dummy(f"{SHAPE} {OLD}"), dummy(f"{SHAPE} num: 2")), (dummy(OLD),)),
    old("num", 25),
    old("channels", 28),
    old("height", 31),
    old("width", 34),
    Row("dummydata.shapes", "DummyData", "shape has one value, or one per top.",
        "dummy_data_layer.cpp:38", (dummy(""), dummy(f"{SHAPE} {SHAPE} {SHAPE}")),
        (dummy(SHAPE), dummy(f"{SHAPE} {SHAPE}"))),
    Row("hdf5data.no-transform", "HDF5Data", "transform_param is not set.", "hdf5_data_layer.cpp:77",
        (layer("HDF5Data", "", "t", "hdf5_data_param { source: 'x' batch_size: 1 } transform_param { scale: 2 }"),),
        (layer("HDF5Data", "", "t", "hdf5_data_param { source: 'x' batch_size: 1 }"),), unasked=FILES),
    Row("hdf5output.samples", "HDF5Output", "Both bottoms have the same number of samples.", "hdf5_output_layer.cpp:45",
        (source("a", "2x4") + source("b", "3x1")
         + layer("HDF5Output", "a b", "", "hdf5_output_param { file_name: '/dev/null' }"),),
        (source("a", "2x4") + source("b", "2x1")
         + layer("HDF5Output", "a b", "", "hdf5_output_param { file_name: '/dev/null' }"),),
        unasked="it writes a file", loose="it writes a file"),
    Row("hdf5output.axes", "HDF5Output", "The bottoms have at most 4 axes.", "blob.hpp:140",
        (source("a", "2x4x1x1x1") + source("b", "2x1")
         + layer("HDF5Output", "a b", "", "hdf5_output_param { file_name: '/dev/null' }"),),
        (source("a", "2x4x1x1") + source("b", "2x1")
         + layer("HDF5Output", "a b", "", "hdf5_output_param { file_name: '/dev/null' }"),),
        unasked="it writes a file", loose="it writes a file"),
    Row("imagedata.new-size", "ImageData", "new_height and new_width are both set, or neither.",
        "image_data_layer.cpp:33",
        (pictures("ImageData", "image_data_param { source: 'x' batch_size: 1 new_height: 4 }"),
         pictures("ImageData", "image_data_param { source: 'x' batch_size: 1 new_width: 4 }")),
        (pictures("ImageData", "image_data_param { source: 'x' batch_size: 1 new_width: 4 new_height: 4 }"),),
        unasked=FILES),
    Row("imagedata.batch-size", "ImageData", "batch_size is above 0.", "image_data_layer.cpp:83",
        (pictures("ImageData", "image_data_param { source: 'x' batch_size: 0 }"),),
        (pictures("ImageData", "image_data_param { source: 'x' batch_size: 1 }"),),
        unasked=FILES, loose=FILES),
    Row("memorydata.sizes", "MemoryData", "batch_size, channels, height and width are above 0.",
        "memory_data_layer.cpp:19",
        (memory("batch_size: 2 channels: 3 height: 4"), memory("batch_size: 0 channels: 3 height: 4 width: 5"),
         memory("")),
        (memory("batch_size: 2 channels: 3 height: 4 width: 5"),), unasked="a program feeds it"),
    means("Data", "data_param { source: 'x' batch_size: 1 }"),
    means("ImageData", "image_data_param { source: 'x' batch_size: 1 }"),
    means("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }"),
    means("WindowData", "window_data_param { source: 'x' batch_size: 1 crop_size: 9 }"),
    Row("data.colours", "Data", "force_color and force_gray are not both true.", "data_transformer.cpp:136",
        (pictures("Data", "data_param { source: 'x' batch_size: 1 } "
                          "transform_param { force_color: true force_gray: true }"),),
        (pictures("Data", "data_param { source: 'x' batch_size: 1 } transform_param { force_gray: true }"),),
        unasked=FILES, loose=FILES),
    Row("windowdata.crop-size", "WindowData", "crop_size is above 0.", "window_data_layer.cpp:173",
        (pictures("WindowData", "window_data_param { source: 'x' batch_size: 1 }"),),
        (pictures("WindowData", "window_data_param { source: 'x' batch_size: 1 crop_size: 9 }"),),
        unasked=FILES, loose=FILES),
)  # fmt: skip
