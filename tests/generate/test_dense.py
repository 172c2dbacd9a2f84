"""Dense layers of both orientations, and multi-layer perceptrons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net

GENERATOR = np.random.default_rng(0)


def matrix(rows: int, columns: int, order: str = "C", dtype: str = "float32") -> np.ndarray:
    return np.asarray(GENERATOR.standard_normal((rows, columns)), dtype, order=order)


@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from(["xw", "wx"]), st.sampled_from("CF"),
    st.sampled_from(["float32", "float64", "float16"]), st.booleans(),
)  # fmt: skip
def test_layer_equals_matrix_product(rows, columns, orientation, order, dtype, biased):
    w = matrix(rows, columns, order, dtype)
    outputs = columns if orientation == "xw" else rows
    bias = GENERATOR.standard_normal(outputs).astype(np.float32) if biased else None
    layer = pg.dense(w, orientation, bias)
    assert layer.verify(w, bias) < 1e-5
    x = GENERATOR.standard_normal((3, layer.inputs)).astype(np.float32)
    expected = x @ w.astype(np.float32) if orientation == "xw" else (w.astype(np.float32) @ x.T).T
    expected = expected + (0 if bias is None else bias)
    net = layer.net.with_inputs({"data": x.shape})
    np.testing.assert_allclose(pg.run(net, {"data": x})["ip"], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("orientation", ["xw", "wx"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
def test_contiguous_weights_are_not_copied(orientation, order, shape):
    w = matrix(*shape, order=order)
    layer = pg.dense(w, orientation)
    assert np.shares_memory(layer.weights["ip"][0], w)
    transposed = (orientation == "xw") == (order == "C")
    assert ("transpose: true" in layer.prototxt) == transposed
    assert layer.verify(w, None) < 1e-5


def test_input_shape_makes_a_complete_net():
    layer = pg.dense(matrix(3, 5), "xw", name="fc", bottom="features", input_shape=(8, 3))
    net = Net(prototxt.parse(layer.prototxt, "the net"))
    assert net.inputs == ("features",)
    assert net.shapes["fc"] == (8, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"orientation": "xw", "bias": 3},
         "the bias has 3 values, but Y = XW with W of 3x5 has 5 outputs. With --orientation wx "
         "(Y = WX) the shapes fit."),
        ({"orientation": "wx", "bias": 5},
         "the bias has 5 values, but Y = WX with W of 3x5 has 3 outputs. With --orientation xw "
         "(Y = XW) the shapes fit."),
        ({"orientation": "xw", "bias": 4},
         "the bias has 4 values, but Y = XW with W of 3x5 has 5 outputs. Check the shape of W: 3 rows, "
         "5 columns."),
        ({"orientation": "wx", "inputs": 3},
         "expected 3 inputs, but Y = WX with W of 3x5 has 5 inputs. With --orientation xw "
         "(Y = XW) the shapes fit."),
        ({"orientation": "wy"}, "orientation: expected xw or wx, got 'wy'. xw: Y = XW"),
    ],
)  # fmt: skip
def test_unsuitable_shapes_are_refused(arguments, message):
    arguments = dict(arguments)
    bias = arguments.pop("bias", None)
    orientation = arguments.pop("orientation")
    with pytest.raises(pg.InputError) as caught:
        pg.dense(matrix(3, 5), orientation, None if bias is None else np.zeros(bias), **arguments)
    assert message in str(caught.value)


def test_invalid_matrices_are_refused():
    for weights, message in (
        (np.zeros(3), "expected a matrix of numbers, got shape 3 and dtype float64"),
        (np.zeros((2, 0)), "got shape 2x0"),
        (np.full((2, 2), np.nan), "contains NaN or infinite values"),
    ):
        with pytest.raises(pg.InputError, match=message):
            pg.dense(weights, "xw")


def test_dense_command_writes_layer_and_weights(protogen, tmp_path):
    np.save(tmp_path / "W.npy", matrix(6, 4))
    np.save(tmp_path / "b.npy", np.arange(4.0))
    result = protogen(
        "dense", "--weights", "W.npy", "--bias", "b.npy", "--orientation", "xw", "--name", "fc",
        "--input-shape", "2,6", "-o", "fc.prototxt", "--caffemodel", "fc.caffemodel", "--verify",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "6 inputs, 4 outputs, largest relative error" in result.stdout
    net = pg.load(tmp_path / "fc.prototxt", tmp_path / "fc.caffemodel", strict=True)
    x = GENERATOR.standard_normal((2, 6)).astype(np.float32)
    expected = x @ np.load(tmp_path / "W.npy") + np.arange(4)
    np.testing.assert_allclose(pg.run(net, {"data": x})["fc"], expected, atol=1e-5)
    result = protogen("dense", "--weights", "W.npy", "--bias", "b.npy", "--orientation", "wx")
    assert result.returncode == 2
    assert "With --orientation xw (Y = XW) the shapes fit." in result.stderr
    piped = protogen(
        "dense", "--weights", "W.npy", "--orientation", "wx", "--caffemodel", "w.caffemodel"
    )
    assert piped.stdout.startswith("layer {")
    assert piped.stderr == "wrote w.caffemodel\n"
    assert protogen("dense", "--weights", "X.npy", "--orientation", "wx").returncode == 2


# Perceptrons


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "elu", "swish"])
def test_perceptron_is_a_healthy_net(activation):
    perceptron = pg.perceptron("20-30-10-5", activation)
    net = Net(prototxt.parse(perceptron.deploy, "deploy"))
    assert net.shapes["ip3"] == (1, 5)
    assert net.outputs == ("prob",)
    train = Net(prototxt.parse(perceptron.train_val, "train"), phase="TRAIN",
                input_shapes={"data": (64, 20), "label": (64,)})  # fmt: skip
    assert [layer.type for layer in train.layers][-1] == "SoftmaxWithLoss"
    health = pg.health(train)
    assert not {one.kind for one in health.findings} - {"one-sign"}


def test_perceptron_equals_the_golden_text(golden):
    perceptron = pg.perceptron("784-300-100-10", "tanh", source="mnist")
    golden("mlp/deploy.prototxt", perceptron.deploy)
    golden("mlp/train_val.prototxt", perceptron.train_val)
    golden("mlp/solver.prototxt", perceptron.solver)


def test_mlp_command_writes_a_net(protogen, tmp_path):
    result = protogen(
        "mlp", "784-300-100-10", "--train-val", "t.prototxt", "--solver", "s.prototxt"
    )
    assert result.stdout == "wrote t.prototxt\nwrote s.prototxt\n"
    assert 'net: "t.prototxt"' in (tmp_path / "s.prototxt").read_text()
    assert protogen("mlp", "784-10").stdout.startswith('name: "mlp_784_10"')
    for arguments, message in (
        (
            ["784"],
            "invalid layer sizes '784'. Write inputs, hidden layers and classes: 784-300-100-10.",
        ),
        (["784-x-10"], "invalid layer sizes '784-x-10'"),
        (
            ["784-10", "--activation", "relo"],
            "--activation: unknown value 'relo'. Did you mean relu?",
        ),
    ):
        result = protogen("mlp", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
