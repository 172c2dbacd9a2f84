"""Gelu and Erf: the operators, and what exporters write for them, against onnxruntime and real Caffe."""

from __future__ import annotations

from itertools import permutations
from math import erf, sqrt, tanh

import numpy as np
import pytest
from onnx import helper
from operators import agrees, model

import protogen as pg
from protogen.onnx.importer import import_model

NOTE = "erf is approximated with an error of at most 1e-07"
MOST = 10  # layers of a Gelu
CLOSE = 4e-7  # relative to x: the approximation, and the rounding of its steps
CONSTANTS = {
    "root": np.float32(sqrt(2)),
    "inverse": np.float32(sqrt(0.5)),
    "one": np.float32(1),
    "half": np.float32([0.5]),
}


def gate(scaled="Div"):
    """Return the nodes of 1 + erf(x / sqrt 2)."""
    constant = "root" if scaled == "Div" else "inverse"
    return [
        helper.make_node(scaled, ["x", constant], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["gate"]),
    ]


def product(first, second, third):
    return [
        helper.make_node("Mul", [first, second], ["inner"]),
        helper.make_node("Mul", ["inner", third], ["y"]),
    ]


@pytest.mark.parametrize("scaled", ["Div", "Mul"])
@pytest.mark.parametrize("factors", [*permutations(["x", "gate", "half"])])
def test_factors_in_any_order(factors, scaled):
    """Exporters multiply x, 1 + erf(x / sqrt 2) and 1/2 in different orders."""
    one = model([*gate(scaled), *product(*factors)], {"x": (2, 3, 4)}, constants=CONSTANTS)
    agrees(one, layers=MOST, note=NOTE)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4, 5), (1, 2, 3, 2, 2)])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_operator_in_real_caffe(shape, approximate):
    node = helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)
    one = model([node], {"x": shape}, opset=20)
    is_exact = approximate == "tanh"
    agrees(one, layers=4 if is_exact else MOST, note="" if is_exact else NOTE, live=True)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_every_magnitude(approximate):
    """Against float64, up to values whose powers float32 cannot hold."""
    large = np.logspace(-20, 30, 2000)
    x = np.concatenate([np.linspace(-9, 9, 20001), large, -large]).astype(np.float32)
    node = helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)
    net = import_model(model([node], {"x": (1, x.size)}, opset=20)).net
    with np.errstate(over="ignore"):
        y = pg.run(net, {"x": x[None]})["y"][0].astype(float)

    def gelu(v: float) -> float:
        if approximate == "none":
            return v * (1 + erf(v / sqrt(2))) / 2
        return v * (1 + tanh(sqrt(2 / np.pi) * (v + 0.044715 * v**3))) / 2

    expected = np.array([gelu(float(v)) for v in x])
    assert (np.abs(y - expected) <= CLOSE * np.abs(x)).all()


@pytest.mark.parametrize("changed", [
    {"root": np.float32(1.5)}, {"one": np.float32(2)}, {"half": np.float32(1)},
    {"half": np.float32([[[[0.5]]]])}, {"half": np.float32([0.5, 0.5, 0.5, 0.5])},
])  # fmt: skip
def test_other_numbers_are_other_functions(changed):
    nodes = [*gate(), *product("x", "gate", "half")]
    one = model(nodes, {"x": (2, 3, 4)}, constants=CONSTANTS | changed)
    agrees(one, note=NOTE)


@pytest.mark.parametrize("nodes", [
    [helper.make_node("Div", ["root", "x"], ["scaled"]), *gate()[1:], *product("x", "gate", "half")],
    [*gate(), *product("gate", "gate", "half")],
    [helper.make_node("Neg", ["x"], ["z"]), *gate(), *product("z", "gate", "half")],
    [*gate(), helper.make_node("Mul", ["gate", "half"], ["y"])],
])  # fmt: skip
def test_other_factors_are_other_functions(nodes):
    agrees(model(nodes, {"x": (2, 3, 4)}, constants=CONSTANTS), note=NOTE, tolerance=1e-5)


def test_a_product_that_is_read_twice():
    """x (1 + erf(x / sqrt 2)) is an output too."""
    one = model(
        [*gate(), *product("x", "gate", "half")], {"x": (2, 3, 4)}, ("y", "inner"), CONSTANTS
    )
    agrees(one, note=NOTE)
