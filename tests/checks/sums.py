"""Layers with weights but no windows, recurrent layers, and sums: InnerProduct to MVN."""

from __future__ import annotations

from checks.rows import Row, one

IMAGE = "2x4x9x9"


def dense(text: str, shape: str = IMAGE) -> str:
    return one("InnerProduct", f"inner_product_param {{ {text} }}", shape)


def embed(text: str) -> str:
    return one("Embed", f"embed_param {{ {text} }}", "4")


def by_axis(type_: str, line: tuple[int, int, int, int]) -> list[Row]:
    """Checks that Scale and Bias share."""
    name, file = type_.lower(), f"{type_.lower()}_layer.cpp"

    def net(text: str, *shapes: str) -> str:
        return one(type_, f"{name}_param {{ {text} }}", *(shapes or ("2x4x9",)))

    return [
        Row(f"{name}.axis", type_, "axis is an axis of the first bottom.", "blob.hpp:122",
            (net("axis: 3"), net("axis: -4"), net("axis: 3", "2x4x9", "9")), (net("axis: 2"), net("axis: -3"))),
        Row(f"{name}.num-axes-least", type_, "num_axes is -1 or more.", f"{file}:{line[0]}",
            (net("num_axes: -2"),), (net("num_axes: -1"), net("num_axes: 0"))),
        Row(f"{name}.num-axes-most", type_, "num_axes, counted from axis, does not extend beyond the bottom.",
            f"{file}:{line[1]}", (net("axis: 1 num_axes: 3"),), (net("axis: 1 num_axes: 2"),)),
        Row(f"{name}.second-ends", type_, "The second bottom, placed at axis, does not extend beyond the first.",
            f"{file}:{line[2]}", (net("axis: 1", "2x4x9", "4x9x1"),), (net("axis: 1", "2x4x9", "4x9"),)),
        Row(f"{name}.second-fits", type_, "The second bottom is as long as the first on each of its axes.",
            f"{file}:{line[3]}", (net("axis: 1", "2x4x9", "9"), net("axis: 0", "2x4x9", "2x3")),
            (net("axis: 2", "2x4x9", "9"), net("axis: 0", "2x4x9", "2x4"))),
    ]  # fmt: skip


def recurrent(type_: str, states: int) -> list[Row]:
    name = type_.lower()
    hidden = [f"1x2x{n}" for n in (3, 3)][:states]

    def net(*shapes: str, text: str = "num_output: 3") -> str:
        tops = "t u v"[: 1 + 2 * states] if "expose" in text else "t"
        return one(type_, f"recurrent_param {{ {text} }}", *shapes, tops=tops)

    exposed = "num_output: 3 expose_hidden: true"
    good = net("5x2x4", "5x2")
    return [
        Row(f"{name}.x-axes", type_, "x has 2 axes or more: steps and streams.", "recurrent_layer.cpp:16",
            (net("5", "5x2"),), (net("5x2x1", "5x2"),)),
        Row(f"{name}.cont-axes", type_, "cont has 2 axes.", "recurrent_layer.cpp:23",
            (net("5x2x4", "10"), net("5x2x4", "5x2x1")), (good,)),
        Row(f"{name}.cont-steps", type_, "cont has as many steps as x.", "recurrent_layer.cpp:25",
            (net("5x2x4", "4x2"),), (good,)),
        Row(f"{name}.cont-streams", type_, "cont has as many streams as x.", "recurrent_layer.cpp:26",
            (net("5x2x4", "5x1"),), (good,)),
        Row(f"{name}.static-axes", type_, "x_static has an axis.", "recurrent_layer.cpp:46",
            (net("5x2x4", "5x2", ""),), (net("5x2x4", "5x2", "2x1"),)),
        Row(f"{name}.static-streams", type_, "x_static has as many streams as x.", "recurrent_layer.cpp:47",
            (net("5x2x4", "5x2", "3x7"),), (net("5x2x4", "5x2", "2x7"),)),
        Row(f"{name}.states", type_, "A state in the bottoms has the shape 1 x streams x num_output.",
            "recurrent_layer.cpp:216",
            (net("5x2x4", "5x2", *["1x2x4", *hidden[1:]], text=exposed),
             net("5x2x4", "5x2", *["2x3", *hidden[1:]], text=exposed)),
            (net("5x2x4", "5x2", *hidden, text=exposed),)),
        Row(f"{name}.num-output", type_, "num_output is above 0.", f"{name}_layer.cpp:{49 if states == 2 else 44}",
            (net("5x2x4", "5x2", text="num_output: 0"), net("5x2x4", "5x2", text="")), (good,)),
    ]  # fmt: skip


def unit(*shapes: str) -> str:
    return one("LSTMUnit", "", *shapes, tops="t u")


def argmax(text: str, shape: str = "2x4x3") -> str:
    return one("ArgMax", f"argmax_param {{ {text} }}", shape)


BATCH_NORM = "param {{ lr_mult: {} }}"
ROWS = (
    Row("innerproduct.axis", "InnerProduct", "axis is an axis of the bottom.", "blob.hpp:122",
        (dense("num_output: 2 axis: 4"), dense("num_output: 2 axis: -5"), dense("num_output: 2", "4")),
        (dense("num_output: 2 axis: 3"), dense("num_output: 2 axis: -4"))),
    Row("embed.num-output", "Embed", "num_output is above 0.", "embed_layer.cpp:13",
        (embed("input_dim: 3"), embed("input_dim: 3 num_output: 0")), (embed("input_dim: 3 num_output: 1"),)),
    Row("embed.input-dim", "Embed", "input_dim is above 0.", "embed_layer.cpp:15",
        (embed("num_output: 3"), embed("num_output: 3 input_dim: 0")), (embed("input_dim: 1 num_output: 3"),)),
    Row("batchnorm.lr-mult", "BatchNorm", "A param entry has lr_mult 0.", "batch_norm_layer.cpp:44",
        (one("BatchNorm", BATCH_NORM.format(1), IMAGE), one("BatchNorm", "param { decay_mult: 0 }", IMAGE),
         one("BatchNorm", f"{BATCH_NORM.format(0)} {BATCH_NORM.format(1)}", IMAGE)),
        (one("BatchNorm", f"{BATCH_NORM.format(0)} {BATCH_NORM.format(0)}", IMAGE),)),
    Row("batchreindex.index-axes", "BatchReindex", "The second bottom has 1 axis.",
        "batch_reindex_layer.cpp:11",
        (one("BatchReindex", "", "2x4", "3x1"), one("BatchReindex", "", "2x4", "")),
        (one("BatchReindex", "", "2x4", "3"),)),
    *by_axis("Scale", (21, 24, 88, 92)),
    *by_axis("Bias", (19, 22, 50, 54)),
    *recurrent("LSTM", 2),
    *recurrent("RNN", 1),
    Row("lstmunit.cont-axes", "LSTMUnit", "cont has 2 axes.", "lstm_unit_layer.cpp:26",
        (unit("1x2x3", "1x2x12", "1x2x1"),), (unit("1x2x3", "1x2x12", "1x2"),)),
    Row("lstmunit.axes", "LSTMUnit", "The state and the gates have 3 axes.", "lstm_unit_layer.cpp:28",
        (unit("1x2", "1x2x12", "1x2"), unit("1x2x3", "1x24", "1x2"), unit("1x2x3x1", "1x2x12", "1x2")),
        (unit("1x2x3", "1x2x12", "1x2"),)),
    Row("lstmunit.one-step", "LSTMUnit", "Each bottom has one step.", "lstm_unit_layer.cpp:30",
        (unit("2x2x3", "2x2x12", "2x2"), unit("1x2x3", "2x2x12", "1x2")), (unit("1x1x3", "1x1x12", "1x1"),)),
    Row("lstmunit.streams", "LSTMUnit", "All bottoms have the same number of streams.", "lstm_unit_layer.cpp:31",
        (unit("1x2x3", "1x3x12", "1x2"), unit("1x2x3", "1x2x12", "1x3")), (unit("1x1x3", "1x1x12", "1x1"),)),
    Row("lstmunit.gates", "LSTMUnit", "The gates are 4 times as wide as the state.",
        "lstm_unit_layer.cpp:34", (unit("1x2x3", "1x2x9", "1x2"),), (unit("1x2x1", "1x2x4", "1x2"),)),
    Row("reduction.axis", "Reduction", "axis is an axis of the bottom.", "blob.hpp:122",
        (one("Reduction", "reduction_param { axis: 2 }", "2x4"),
         one("Reduction", "reduction_param { axis: -3 }", "2x4")),
        (one("Reduction", "reduction_param { axis: 1 }", "2x4"),)),
    Row("argmax.top-k", "ArgMax", "top_k is 1 or more.", "argmax_layer.cpp:17",
        (argmax("top_k: 0"), argmax("top_k: 0 axis: 1")), (argmax("top_k: 1"),)),
    Row("argmax.axis", "ArgMax", "axis is an axis of the bottom.", "blob.hpp:122",
        (argmax("axis: 3"), argmax("axis: -4")), (argmax("axis: 2"), argmax("axis: -3"))),
    Row("argmax.top-k-of-axis", "ArgMax", "top_k is not above the length of the axis.",
        "argmax_layer.cpp:23", (argmax("top_k: 5 axis: 1"),), (argmax("top_k: 4 axis: 1"),)),
    Row("argmax.top-k-of-sample", "ArgMax", "Without axis, top_k is not above the number of values per sample.",
        "argmax_layer.cpp:26", (argmax("top_k: 13"),), (argmax("top_k: 12"),)),
    Row("mvn.axes", "MVN", "The bottom has at most 4 axes.", "blob.hpp:140",
        (one("MVN", "", "2x4x3x3x3"),), (one("MVN", "", IMAGE), one("MVN", "", "2x4"))),
    Row("softmax.axis", "Softmax", "axis is an axis of the bottom.", "blob.hpp:122",
        (one("Softmax", "softmax_param { axis: 2 }", "2x4"), one("Softmax", "", "4"),
         one("Softmax", "softmax_param { axis: -3 }", "2x4")),
        (one("Softmax", "softmax_param { axis: 1 }", "2x4"),)),
)  # fmt: skip
