"""Number of bottoms and tops of each type: layer.hpp with each layer's header."""

from __future__ import annotations

from checks.rows import Row, layer, source

NEURONS = ("BNLL", "Clip", "Dropout", "ELU", "Exp", "Log", "Power", "PReLU", "ReLU", "Sigmoid", "Swish",
           "TanH", "Threshold")  # fmt: skip
IMAGE = "2x4x9x9"
CONV = "convolution_param { num_output: 2 kernel_size: 3 }"
STATES = "recurrent_param { num_output: 3 expose_hidden: true }"
MANY = 1 << 20
FILES = "it reads files"

# type: header, params, shapes of the bottoms, how many bottoms (from, to, line), tops (from, to, line).
# None: any number.
COUNTS = (
    *((name, "neuron_layer.hpp", "", [IMAGE], (1, 1, 26), (1, 1, 27)) for name in NEURONS),
    ("AbsVal", "absval_layer.hpp", "", [IMAGE], (1, 1, 33), (1, 1, 34)),
    ("Accuracy", "accuracy_layer.hpp", "", ["2x4", "2"], (2, 2, 37), (1, 2, 41)),
    ("ArgMax", "argmax_layer.hpp", "", ["2x4"], (1, 1, 46), (1, 1, 47)),
    ("BatchNorm", "batch_norm_layer.hpp", "", [IMAGE], (1, 1, 50), (1, 1, 51)),
    ("BatchReindex", "batch_reindex_layer.hpp", "", ["2x4", "3"], (2, 2, 29), (1, 1, 30)),
    ("Bias", "bias_layer.hpp", "", ["2x4", "4"], (1, 2, 32), (1, 1, 34)),
    ("Concat", "concat_layer.hpp", "", ["2x4", "2x3"], (1, None, 27), (1, 1, 28)),
    ("ContrastiveLoss", "contrastive_loss_layer.hpp", "", ["2x4", "2x4", "2"], (3, 3, 46), None),
    ("ContrastiveLoss", "loss_layer.hpp", "", ["2x4", "2x4", "2"], None, (0, 1, 41)),
    ("Convolution", "base_conv_layer.hpp", CONV, [IMAGE], (1, None, 27), None),
    ("Deconvolution", "base_conv_layer.hpp", CONV, [IMAGE], (1, None, 27), None),
    ("Crop", "crop_layer.hpp", "", ["2x4x9x9", "2x4x7x7"], (2, 2, 31), (1, 1, 32)),
    ("Data", "data_layer.hpp", "", [], (0, 0, 24), (1, 2, 25)),
    ("DummyData", "dummy_data_layer.hpp", "dummy_data_param { shape { dim: 2 } }", [], (0, 0, 30),
     (1, None, 31)),
    ("Eltwise", "eltwise_layer.hpp", "", ["2x4", "2x4"], (2, None, 29), (1, 1, 30)),
    ("Embed", "embed_layer.hpp", "embed_param { num_output: 2 input_dim: 3 }", ["4"], (1, 1, 30), (1, 1, 31)),
    *((name, "loss_layer.hpp", "", shapes, (2, 2, 32), (0, 1, 41)) for name, shapes in (
        ("EuclideanLoss", ["2x4", "2x4"]), ("HingeLoss", ["2x4", "2"]),
        ("MultinomialLogisticLoss", ["2x4", "2"]), ("SigmoidCrossEntropyLoss", ["2x4", "2x4"]))),
    ("Filter", "filter_layer.hpp", "", ["2x4", "2"], (2, None, 29), (1, None, 30)),
    ("Flatten", "flatten_layer.hpp", "", [IMAGE], (1, 1, 31), (1, 1, 32)),
    ("HDF5Data", "hdf5_data_layer.hpp", "", [], (0, 0, 35), (1, None, 36)),
    ("HDF5Output", "hdf5_output_layer.hpp", "", ["2x4", "2x1"], (2, 2, 37), (0, 0, 38)),
    ("Im2col", "im2col_layer.hpp", "convolution_param { kernel_size: 3 }", [IMAGE], (1, 1, 30), (1, 1, 31)),
    ("ImageData", "image_data_layer.hpp", "", [], (0, 0, 32), (2, 2, 33)),
    ("InfogainLoss", "infogain_loss_layer.hpp", "infogain_loss_param { source: 'H' }", ["2x4", "2", "1x1x4x4"], (2, 3, 62), (0, 2, 68)),
    ("InnerProduct", "inner_product_layer.hpp", "inner_product_param { num_output: 2 }", ["2x4"],
     (1, 1, 29), (1, 1, 30)),
    ("Input", "input_layer.hpp", "input_param { shape { dim: 2 } }", [], (0, 0, 30), (1, None, 31)),
    ("LRN", "lrn_layer.hpp", "", [IMAGE], (1, 1, 33), (1, 1, 34)),
    *((name, "recurrent_layer.hpp", "recurrent_param { num_output: 3 }", ["5x2x4", "5x2", "2x7"], (2, 3, 37),
       (1, 1, 47)) for name in ("LSTM", "RNN")),
    ("LSTM", "recurrent_layer.hpp", STATES, ["5x2x4", "5x2", "1x2x3", "1x2x3"], (4, None, 46), (3, 3, 48)),
    ("RNN", "recurrent_layer.hpp", STATES, ["5x2x4", "5x2", "1x2x3"], (3, None, 46), (2, 2, 48)),
    ("LSTMUnit", "lstm_layer.hpp", "", ["1x2x3", "1x2x12", "1x2"], (3, 3, 77), (2, 2, 78)),
    ("MemoryData", "memory_data_layer.hpp",
     "memory_data_param { batch_size: 1 channels: 1 height: 2 width: 2 }", [], (0, 0, 28), (2, 2, 29)),
    ("MVN", "mvn_layer.hpp", "", [IMAGE], (1, 1, 26), (1, 1, 27)),
    ("Parameter", "parameter_layer.hpp", "parameter_param { shape { dim: 2 } }", [], (0, 0, 29), (1, 1, 30)),
    ("Pooling", "pooling_layer.hpp", "pooling_param { pool: MAX kernel_size: 3 }", [IMAGE], (1, 1, 28),
     (1, 2, 29)),
    ("Pooling", "pooling_layer.hpp", "pooling_param { pool: AVE kernel_size: 3 }", [IMAGE], None, (1, 1, 32)),
    ("Reduction", "reduction_layer.hpp", "", ["2x4"], (1, 1, 30), (1, 1, 31)),
    ("Reshape", "reshape_layer.hpp", "reshape_param { shape { dim: -1 } }", ["2x4"], (1, 1, 29), (1, 1, 30)),
    ("Scale", "scale_layer.hpp", "", ["2x4", "4"], (1, 2, 37), (1, 1, 39)),
    ("Silence", "silence_layer.hpp", "", ["2x4"], (1, None, 25), (0, 0, 26)),
    ("Slice", "slice_layer.hpp", "", ["2x4"], (1, 1, 29), (1, None, 30)),
    ("Softmax", "softmax_layer.hpp", "", ["2x4"], (1, 1, 26), (1, 1, 27)),
    ("SoftmaxWithLoss", "loss_layer.hpp", "", ["2x4", "2"], (2, 2, 32), None),
    ("SoftmaxWithLoss", "softmax_loss_layer.hpp", "", ["2x4", "2"], None, (0, 2, 63)),
    ("Split", "split_layer.hpp", "", ["2x4"], (1, 1, 27), (1, None, 28)),
    ("SPP", "spp_layer.hpp", "spp_param { pyramid_height: 2 }", [IMAGE], (1, 1, 29), (1, 1, 30)),
    ("Tile", "tile_layer.hpp", "tile_param { tiles: 2 }", ["2x4"], (1, 1, 24), (1, 1, 25)),
    ("WindowData", "window_data_layer.hpp", "transform_param { crop_size: 9 }", [], (0, 0, 34), (2, 2, 35)),
)  # fmt: skip
DATA = ("Data", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData")
# Forks have types that take other numbers under BVLC's names.
LOOSER = {"SoftmaxWithLoss": ("bottoms",), "Eltwise": ("bottoms",)}


def rows() -> list[Row]:
    checks = []
    seen: set[str] = set()
    for type_, header, params, shapes, bottoms, tops in COUNTS:
        for side, counted in (("bottoms", bottoms), ("tops", tops)):
            if counted is None:
                continue
            least, most, line = counted
            name = f"{type_.lower()}.{side}"
            name += "" if name not in seen else "-with-states" if "hidden" in params else "-of-ave"
            seen.add(name)
            nets = Nets(type_, params, shapes, tops)
            usual = len(shapes) if side == "bottoms" else nets.tops
            good = {usual, max(least, 0)} | ({most} if most is not None else {usual + 1})
            if "hidden" in params:
                good = {usual}
            if type_ in ("SoftmaxWithLoss", "InfogainLoss"):
                # An inner Softmax refuses two tops, two take two loss_weight, and two bottoms a file.
                good = {0, 1} if side == "tops" else {usual}
            bad = [least - 1] if least else []
            bad += [most + 1] if most is not None else []
            if side == "tops" and type_ == "Filter":
                good = {usual}
            if side == "bottoms" and type_ in ("Convolution", "Deconvolution"):
                good, bad = {1}, []
            if not bad and side == "bottoms":
                bad = [least - 1]
            checks.append(
                Row(
                    name,
                    type_,
                    said(side, least, most, params),
                    f"{header}:{line}",
                    tuple(nets.with_count(side, count) for count in bad if count >= 0),
                    tuple(nets.with_count(side, count) for count in sorted(good)),
                    said="layer.hpp",
                    dialect="bvlc" if side in LOOSER.get(type_, ()) else "",
                    unasked=FILES if type_ in DATA else "",
                    loose="it opens its database first" if type_ == "Data" else "",
                )
            )
    return checks


def said(side: str, least: int, most: int | None, params: str) -> str:
    """Return the count in words."""
    one = side.removesuffix("s")
    number = f"{least} {one if least == 1 else side}"
    if most is None:
        number = f"{number} or more"
    elif most != least:
        number = f"{least} to {most} {side}"
    when = ", with expose_hidden" if "hidden" in params else ", with AVE" if "AVE" in params else ""
    return f"It has {number}{when}."


class Nets:
    """Nets of one layer with any number of bottoms and tops."""

    def __init__(self, type_: str, params: str, shapes: list[str], tops: tuple | None) -> None:
        self.type, self.params, self.shapes = type_, params, shapes
        self.tops = 1 if tops is None else max(tops[0], 1 if tops[1] != 0 else 0)

    def with_count(self, side: str, count: int) -> str:
        bottoms = count if side == "bottoms" else len(self.shapes)
        tops = count if side == "tops" else self.tops
        if self.type == "Filter" and side == "bottoms":
            tops = max(bottoms - 1, 1)
        shapes = [*self.shapes, *[self.shapes[0] if self.shapes else "2"] * bottoms][:bottoms]
        if self.type == "Filter":
            shapes = [*self.shapes[:1] * (bottoms - 1), *self.shapes[1:]][:bottoms]
        names = "abcdefgh"[: len(shapes)]
        inputs = "".join(map(source, names, shapes))
        return inputs + layer(self.type, " ".join(names), " ".join("tuvwxyz"[:tops]), self.params)


ROWS = (
    *rows(),
    *(
        Row(f"{type_.lower()}.tops-as-bottoms", type_, "It has as many tops as bottoms.",
            "base_conv_layer.hpp:29",
            (source("a", IMAGE) + layer(type_, "a", "s t", CONV),
             source("a", IMAGE) + layer(type_, "a a", "t", CONV)),
            (source("a", IMAGE) + layer(type_, "a a", "s t", CONV),), said="layer.hpp")
        for type_ in ("Convolution", "Deconvolution")
    ),
    Row("filter.tops-as-blobs", "Filter", "It has one top for each bottom but the last.",
        "filter_layer.cpp:11",
        (source("a", "2x4") + source("b", "2") + layer("Filter", "a b", "s t"),
         source("a", "2x4") + source("b", "2") + layer("Filter", "a a b", "t")),
        (source("a", "2x4") + source("b", "2") + layer("Filter", "a a b", "s t"),)),
)  # fmt: skip
