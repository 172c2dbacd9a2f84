"""Dense layers of both orientations, and perceptrons."""

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
def test_the_layer_computes_the_product(rows, columns, orientation, order, dtype, biased):
    w = matrix(rows, columns, order, dtype)
    outputs = columns if orientation == "xw" else rows
    bias = GENERATOR.standard_normal(outputs).astype(np.float32) if biased else None
    layer = pg.dense(w, orientation, bias)
    assert layer.verify(w, bias) < 1e-5
    x = GENERATOR.standard_normal((3, layer.inputs)).astype(np.float32)
    wanted = x @ w.astype(np.float32) if orientation == "xw" else (w.astype(np.float32) @ x.T).T
    wanted = wanted + (0 if bias is None else bias)
    net = layer.net.with_inputs({"data": x.shape})
    np.testing.assert_allclose(pg.run(net, {"data": x})["ip"], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("orientation", ["xw", "wx"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
def test_nothing_is_copied_that_need_not_be(orientation, order, shape):
    w = matrix(*shape, order=order)
    layer = pg.dense(w, orientation)
    assert np.shares_memory(layer.weights["ip"][0], w)
    transposed = (orientation == "xw") == (order == "C")
    assert ("transpose: true" in layer.prototxt) == transposed
    assert layer.verify(w, None) < 1e-5


def test_a_whole_net():
    layer = pg.dense(matrix(3, 5), "xw", name="fc", bottom="features", input_shape=(8, 3))
    net = Net(prototxt.parse(layer.prototxt, "it"))
    assert net.inputs == ("features",)
    assert net.shapes["fc"] == (8, 5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"orientation": "xw", "bias": 3},
         "the bias has 3 values, but Y = XW with W of 3x5 has 5 outputs. With --orientation wx "
         "(Y = WX) it fits."),
        ({"orientation": "wx", "bias": 5},
         "the bias has 5 values, but Y = WX with W of 3x5 has 3 outputs. With --orientation xw "
         "(Y = XW) it fits."),
        ({"orientation": "xw", "bias": 4},
         "the bias has 4 values, but Y = XW with W of 3x5 has 5 outputs. Look at the shapes: 3 rows, "
         "5 columns."),
        ({"orientation": "wx", "inputs": 3},
         "the layer is to have 3 inputs, but Y = WX with W of 3x5 has 5 inputs. With --orientation xw "
         "(Y = XW) it fits."),
        ({"orientation": "wy"}, "orientation: 'wy' is not xw or wx. xw is Y = XW"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(arguments, text):
    arguments = dict(arguments)
    bias = arguments.pop("bias", None)
    orientation = arguments.pop("orientation")
    with pytest.raises(pg.InputError) as caught:
        pg.dense(matrix(3, 5), orientation, None if bias is None else np.zeros(bias), **arguments)
    assert text in str(caught.value)


def test_matrices_that_are_none():
    for bad, text in (
        (np.zeros(3), "is 3 of float64, but must be a matrix of numbers"),
        (np.zeros((2, 0)), "is 2x0"),
        (np.full((2, 2), np.nan), "hold NaN"),
    ):
        with pytest.raises(pg.InputError, match=text):
            pg.dense(bad, "xw")


def test_command(protogen, tmp_path):
    np.save(tmp_path / "W.npy", matrix(6, 4))
    np.save(tmp_path / "b.npy", np.arange(4.0))
    done = protogen(
        "dense", "--weights", "W.npy", "--bias", "b.npy", "--orientation", "xw", "--name", "fc",
        "--input-shape", "2,6", "-o", "fc.prototxt", "--caffemodel", "fc.caffemodel", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 inputs, 4 outputs, largest relative error" in done.stdout
    net = pg.load(tmp_path / "fc.prototxt", tmp_path / "fc.caffemodel", strict=True)
    x = GENERATOR.standard_normal((2, 6)).astype(np.float32)
    wanted = x @ np.load(tmp_path / "W.npy") + np.arange(4)
    np.testing.assert_allclose(pg.run(net, {"data": x})["fc"], wanted, atol=1e-5)
    done = protogen("dense", "--weights", "W.npy", "--bias", "b.npy", "--orientation", "wx")
    assert done.returncode == 2
    assert "With --orientation xw (Y = XW) it fits." in done.stderr
    piped = protogen(
        "dense", "--weights", "W.npy", "--orientation", "wx", "--caffemodel", "w.caffemodel"
    )
    assert piped.stdout.startswith("layer {")
    assert piped.stderr == "wrote w.caffemodel\n"
    assert protogen("dense", "--weights", "X.npy", "--orientation", "wx").returncode == 2


# perceptrons


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "elu", "swish"])
def test_perceptron(activation):
    made = pg.perceptron("20-30-10-5", activation)
    net = Net(prototxt.parse(made.deploy, "deploy"))
    assert net.shapes["ip3"] == (1, 5)
    assert net.outputs == ("prob",)
    train = Net(prototxt.parse(made.train_val, "train"), phase="TRAIN",
                input_shapes={"data": (64, 20), "label": (64,)})  # fmt: skip
    assert [layer.type for layer in train.layers][-1] == "SoftmaxWithLoss"
    found = pg.health(train)
    assert not {one.kind for one in found.findings} - {"one-sign"}


def test_perceptron_golden(golden):
    made = pg.perceptron("784-300-100-10", "tanh", source="mnist")
    golden("mlp/deploy.prototxt", made.deploy)
    golden("mlp/train_val.prototxt", made.train_val)
    golden("mlp/solver.prototxt", made.solver)


def test_mlp_command(protogen, tmp_path):
    done = protogen("mlp", "784-300-100-10", "--train-val", "t.prototxt", "--solver", "s.prototxt")
    assert done.stdout == "wrote t.prototxt\nwrote s.prototxt\n"
    assert 'net: "t.prototxt"' in (tmp_path / "s.prototxt").read_text()
    assert protogen("mlp", "784-10").stdout.startswith('name: "mlp_784_10"')
    for words, text in (
        (
            ["784"],
            "'784' are no layer sizes. Write inputs, hidden layers and classes: 784-300-100-10.",
        ),
        (["784-x-10"], "'784-x-10' are no layer sizes"),
        (
            ["784-10", "--activation", "relo"],
            "activation: 'relo' is not known. Known are bnll, elu, relu",
        ),
    ):
        done = protogen("mlp", *words)
        assert done.returncode == 2
        assert text in done.stderr
