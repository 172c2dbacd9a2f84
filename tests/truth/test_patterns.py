"""Nets of patterns that the random nets do not contain, in real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import compare, judge_of
from drawing import Drawn, input_layer

pytestmark = pytest.mark.usefixtures("judges")

X = input_layer("x", (2, 3, 4, 4))
RELU = 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'


def layers(*texts: str) -> str:
    return "\n".join(f"layer {{ {text} }}" for text in texts)


NETS = {
    "an input without a shape and a layer of the same name": ('input: "x"\n' + X + "\n" + RELU, "ran"),
    "more input_dim than inputs": (
        'input: "x" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4 input_dim: 1 input_dim: 1 '
        "input_dim: 1 input_dim: 1\n" + RELU,
        "ran",
    ),
    "an input with a shape and a layer of the same name": (
        'input: "x" input_shape { dim: 2 dim: 3 dim: 4 dim: 4 }\n' + X + "\n" + RELU,
        "refused",
    ),
    "in-place layer after another reader": (
        X + "\n" + RELU + "\n" + layers('name: "s" type: "Sigmoid" bottom: "x" top: "x"'),
        "refused",
    ),
    "in-place layer on a loss": (
        X + "\n" + layers(
            'name: "m" type: "Reduction" bottom: "x" top: "m" loss_weight: 2',
            'name: "p" type: "Power" bottom: "m" top: "m"',
        ),
        "refused",
    ),
    "in-place layer on a top with loss_weight 0": (
        X + "\n" + layers(
            'name: "m" type: "Reduction" bottom: "x" top: "m" loss_weight: 0',
            'name: "p" type: "Power" bottom: "m" top: "m" power_param { scale: 2 }',
        ),
        "ran",
    ),
    "a loss without a top": (
        X + "\n" + layers('name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x"',
                          'name: "s" type: "Sigmoid" bottom: "x" top: "y"'),
        "ran",
    ),
    "phase of a layer": (
        X + "\n" + layers('name: "b" type: "BatchNorm" bottom: "x" top: "y" phase: TRAIN'),
        "ran",
    ),
    "a view, changed in place, whose bottom is not read again": (
        X + "\n" + layers('name: "f" type: "Flatten" bottom: "x" top: "f"',
                          'name: "s" type: "Sigmoid" bottom: "f" top: "f"',
                          'name: "a" type: "AbsVal" bottom: "f" top: "y"'),
        "ran",
    ),
    "a view, changed in place, whose bottom is read again": (
        X + "\n" + layers('name: "f" type: "Flatten" bottom: "x" top: "f"',
                          'name: "s" type: "Sigmoid" bottom: "f" top: "f"',
                          'name: "a" type: "AbsVal" bottom: "x" top: "y"'),
        "view",
    ),
    "two layers that share parameters": (
        X + "\n" + layers(*(
            f'name: "c{i}" type: "Convolution" bottom: "x" top: "c{i}" param {{ name: "w" }} '
            'param { name: "b" } convolution_param { num_output: 2 kernel_size: 3 }' for i in range(2)
        )),
        "ran",
    ),
    "shared parameters of different shapes with the same count": (
        X + "\n" + layers(
            'name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" share_mode: PERMISSIVE } inner_product_param { num_output: 2 bias_term: false }',
            'name: "b" type: "InnerProduct" bottom: "x" top: "b" param { name: "w" share_mode: PERMISSIVE } inner_product_param { num_output: 2 transpose: true bias_term: false }',
        ),
        "ran",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_pattern(name):
    text, verdict = NETS[name]
    judges = ("tpucaffe",) if "BatchNorm" in text else ("caffe",)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    case = Drawn(text, {"x": x}, "TEST", 0, judges)
    judge = judge_of(case)
    assert judge is not None
    outcome = compare(case, judge)
    assert outcome.verdict == verdict, outcome.said


def test_in_place_layer_changes_bottom_of_view():
    """Caffe reads the changed values, which is why protogen refuses this net."""
    text = NETS["a view, changed in place, whose bottom is read again"][0]
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    case = Drawn(text, {"x": x}, "TEST", 0, ("caffe",))
    judge = judge_of(case)
    assert judge is not None
    actual = judge.run(text, case.feeds).blobs["y"]
    np.testing.assert_allclose(actual, 1 / (1 + np.exp(-x)), rtol=2e-5)
