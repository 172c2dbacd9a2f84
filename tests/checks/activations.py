"""Elementwise layers: Exp, Log, AbsVal, PReLU."""

from __future__ import annotations

from checks.rows import Row, layer, one, source

X = source("a", "2x4")
SLOPES = "blobs {{ shape {{ {} }} {} }} prelu_param {{ {} }}"


def exp(base: str) -> str:
    return one("Exp", f"exp_param {{ base: {base} }}", "2x4")


def log(base: str) -> str:
    return one("Log", f"log_param {{ base: {base} }}", "2x4")


ROWS = (
    Row("absval.in-place", "AbsVal", "Its top is not its bottom.", "absval_layer.cpp:12",
        (X + layer("AbsVal", "a", "a"),), (X + layer("AbsVal", "a"),)),
    Row("exp.base-positive", "Exp", "The base is above 0, or -1 for e.", "exp_layer.cpp:14",
        (exp("0"), exp("-2"), exp("nan")), (exp("-1"), exp("0.5"))),
    Row("exp.base-finite", "Exp", "The base's logarithm is finite.", "exp_layer.cpp:21", (exp("inf"),),
        (exp("1e30"),)),
    Row("log.base-positive", "Log", "The base is above 0, or -1 for e.", "log_layer.cpp:14",
        (log("0"), log("-2"), log("nan")), (log("-1"), log("0.5"))),
    Row("log.base-finite", "Log", "The base's logarithm is finite.", "log_layer.cpp:21", (log("inf"),),
        (log("1e30"),)),
    Row("log.base-not-one", "Log", "The base's logarithm is not 0.", "log_layer.cpp:26", (log("1"),),
        (log("1.5"),)),
    Row("prelu.axes", "PReLU", "The bottom has 2 axes or more.", "prelu_layer.cpp:14",
        (one("PReLU", "", "4"),), (one("PReLU", "", "2x4"),)),
    Row("prelu.shared-slope", "PReLU", "A shared slope in the prototxt is one value.",
        "prelu_layer.cpp:40",
        (one("PReLU", SLOPES.format("dim: 4", "data: 0 " * 4, "channel_shared: true"), "2x4"),),
        (one("PReLU", SLOPES.format("dim: 1", "data: 0", "channel_shared: true"), "2x4"),)),
    Row("prelu.slopes", "PReLU", "Slopes in the prototxt are one per channel.",
        "prelu_layer.cpp:43",
        (one("PReLU", SLOPES.format("dim: 3", "data: 0 " * 3, ""), "2x4"),),
        (one("PReLU", SLOPES.format("dim: 4", "data: 0 " * 4, ""), "2x4"),)),
)  # fmt: skip
