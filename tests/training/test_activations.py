"""Measured properties of activation functions against their formulas in float64."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import protogen as pg
from protogen.training.activations import FORMS, curve, sampled

X = np.linspace(-8, 8, 1025)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def gelu(x):
    return x * (1 + np.array([math.erf(one / math.sqrt(2)) for one in np.ravel(x)])) / 2


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


FORMULAS = {
    "Sigmoid": sigmoid,
    "TanH": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.1 * x),
    "PReLU": lambda x: np.where(x > 0, x, 0.25 * x),
    "ELU": elu,
    "SELU": lambda x: 1.05070098 * elu(x, 1.67326324),
    "GELU": gelu,
    "Swish": lambda x: x * sigmoid(x),
    "HardSwish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Mish": lambda x: x * np.tanh(softplus(x)),
    "BNLL": softplus,
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "Clip": lambda x: np.clip(x, -1, 1),
}


def measured(name: str) -> pg.Activation:
    return pg.activations([name], timed=False)[0]


def test_every_activation_has_a_formula():
    assert set(FORMULAS) == set(FORMS)


@pytest.mark.parametrize("name", FORMULAS)
def test_curve_and_slopes_equal_formula(name):
    x, y, slopes = sampled(name)
    expected = FORMULAS[name](X)
    np.testing.assert_allclose(y, expected, atol=2e-6)
    np.testing.assert_allclose(x, X)
    expected_slopes = np.diff(expected) / np.diff(X)
    np.testing.assert_allclose(slopes, expected_slopes, atol=2e-4)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("Sigmoid", 0, 1), ("TanH", -1, 1), ("ReLU", 0, None), ("LeakyReLU", None, None),
     ("ELU", -1, None), ("GELU", -0.17, None), ("SELU", -1.7581, None), ("Swish", -0.2785, None), ("Mish", -0.3088, None),
     ("HardSwish", -0.375, None), ("BNLL", 0, None), ("ReLU6", 0, 6), ("Clip", -1, 1)],
)  # fmt: skip
def test_range_of_activation(name, low, high):
    activation = measured(name)
    assert activation.low == (None if low is None else pytest.approx(low, abs=2e-4))
    assert activation.high == (None if high is None else pytest.approx(high, abs=2e-4))


@pytest.mark.parametrize(
    ("name", "largest", "at_zero"),
    [("Sigmoid", 0.25, (0.25, 0.25)), ("TanH", 1, (1, 1)), ("ReLU", 1, (0, 1)),
     ("LeakyReLU", 1, (0.1, 1)), ("GELU", 1.1289, (0.5, 0.5)), ("HardSwish", 1.5, (0.5, 0.5)), ("Swish", 1.0998, (0.5, 0.5)), ("Mish", 1.0885, (0.6, 0.6)),
     ("BNLL", 1, (0.5, 0.5))],
)  # fmt: skip
def test_slopes_of_activation(name, largest, at_zero):
    activation = measured(name)
    assert activation.largest_slope == pytest.approx(largest, abs=3e-3)
    assert activation.slopes_at_0 == pytest.approx(at_zero, abs=0.02)


# Operators of ONNX that compute the functions; a function of onnxruntime's own is another program.
OPERATORS = {"GELU": ("Gelu", 20), "Mish": ("Mish", 18), "HardSwish": ("HardSwish", 14),
             "Sigmoid": ("Sigmoid", 13), "ELU": ("Elu", 6), "SELU": ("Selu", 6), "BNLL": ("Softplus", 1)}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_curve_equals_the_operator_of_onnxruntime(name):
    import onnxruntime
    from onnx import TensorProto, helper

    operator, opset = OPERATORS[name]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1025]) for end in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", max(opset, 7))]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": X.astype(np.float32)})[0]
    np.testing.assert_allclose(curve(name, X.astype(np.float32)), expected, atol=2e-6)


def second_moment(name: str) -> float:
    """E[f(z)^2] of standard normal z, by Gauss-Legendre quadrature between the kinks of the functions."""
    points, weights = np.polynomial.legendre.leggauss(400)
    total = 0.0
    for low, high in ((-12, -3), (-3, -1), (-1, 0), (0, 1), (1, 3), (3, 6), (6, 12)):
        z = (high - low) / 2 * points + (high + low) / 2
        values = np.asarray(FORMULAS[name](z)) ** 2 * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        total += (high - low) / 2 * float(np.sum(weights * values))
    return total


@pytest.mark.parametrize("name", FORMULAS)
def test_gain_is_that_of_the_formula(name):
    assert measured(name).gain == pytest.approx(1 / math.sqrt(second_moment(name)), abs=1e-3)


def test_gains_of_papers():
    assert measured("ReLU").gain == pytest.approx(math.sqrt(2), abs=1e-4)  # He et al. 2015
    assert measured("LeakyReLU").gain == pytest.approx(math.sqrt(2 / 1.01), abs=1e-4)
    assert measured("SELU").gain == pytest.approx(1, abs=1e-3)  # Klambauer et al. 2017


def test_saturation_and_centre():
    # the slope of a sigmoid is 0.01 where s (1 - s) = 0.01
    s = (1 - math.sqrt(1 - 0.04)) / 2
    sigmoid_values = measured("Sigmoid")
    assert sigmoid_values.flat_below == pytest.approx(math.log(s / (1 - s)), abs=1 / 64)
    assert sigmoid_values.flat_above == pytest.approx(-math.log(s / (1 - s)), abs=1 / 64)
    assert measured("ReLU").flat_below == pytest.approx(0, abs=1 / 64)
    assert measured("ReLU").flat_above is None
    assert measured("LeakyReLU").flat_below is None
    assert measured("TanH").zero_centred
    assert not measured("Sigmoid").zero_centred
    assert measured("ReLU").mean == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.01)


def test_time_is_measured():
    (activation,) = pg.activations(["ReLU"])
    assert activation.nanoseconds is not None
    assert 0 <= activation.nanoseconds < 1000


def test_synonyms_and_unknown_names():
    names = ["softplus", "silu", "tanh", "gelu"]
    known_names = [one.name for one in pg.activations(names, timed=False)]
    assert known_names == ["BNLL", "Swish", "TanH", "GELU"]
    with pytest.raises(
        pg.InputError, match=r'"Sigmod": unknown activation function\. Did you mean Sigmoid\?'
    ):
        pg.activations(["Sigmod"])


def test_large_inputs_give_finite_values():
    assert np.isfinite(curve("Mish", np.float32([-1000, 1000, 3e38]))).all()
    np.testing.assert_allclose(curve("GELU", np.float32([-1000, 1000])), [0, 1000])


def test_command_prints_and_plots(protogen, tmp_path):
    completed = protogen("activations", "TanH", "ReLU", "--no-time", "--plot", "a.png")
    assert completed.returncode == 0, completed.stderr
    assert "below 0" in completed.stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    parsed = json.loads(protogen("activations", "--json", "--no-time").stdout)["activations"]
    assert len(parsed) == len(FORMS)
    completed = protogen("activations", "Tanhh")
    assert completed.returncode == 2
    assert "Did you mean" in completed.stderr
