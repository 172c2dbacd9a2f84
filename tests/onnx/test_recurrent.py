"""RNN, GRU and LSTM: Caffe's own layers, and stock layers for each time step."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judge import caffe, missing
from onnx import TensorProto, helper
from operators import model, refusal, weights
from places import GOLDEN

import protogen as pg
from protogen.formats.caffemodel import read_weights
from protogen.layers import kind_of
from protogen.layers.forms.recurrent import MOST_STEPS
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

# Of the largest value of a blob, or of 0.1: values can be small because their terms cancel.
TOLERANCE, SMALL, LARGE = 1e-5, 0.1, 30
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
FUNCTIONS = {"GRU": 2, "LSTM": 3, "RNN": 1}
INPUTS = ("x", "w", "r", "b", "lengths", "h", "c", "p")
TORCH = GOLDEN / "torch_recurrent"
ACTIVATIONS = [
    "Affine", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "ScaledTanh", "Sigmoid", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu",
]  # fmt: skip


class Case(NamedTuple):
    """One operator: its attributes, constants, and the arrays of its computed inputs, in layout 0."""

    type: str
    attributes: dict[str, Any]
    constants: dict[str, np.ndarray]
    feeds: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    opset: int = 17

    def model(self, layout: int = 0) -> onnx.ModelProto:
        arrays = {**self.constants, **self.feeds}
        names = [name if name in arrays else "" for name in INPUTS]
        while not names[-1]:
            names.pop()
        attributes = {**self.attributes, **({"layout": 1} if layout else {})}
        node = helper.make_node(self.type, names, self.outputs, name="op", **attributes)
        return model(
            [node],
            {name: array.shape for name, array in self.inputs(layout).items()},
            [name for name in self.outputs if name],
            {name: by_layout(name, array, layout) for name, array in self.constants.items()},
            self.opset,
        )

    def inputs(self, layout: int = 0) -> dict[str, np.ndarray]:
        return {name: by_layout(name, array, layout) for name, array in self.feeds.items()}

    def expected(self, layout: int = 0) -> dict[str, np.ndarray]:
        """Return onnxruntime's values. It has layout 0 only."""
        values = run_model(self.model().SerializeToString(), self.feeds)
        if not layout:
            return values
        return {
            name: array.transpose(2, 0, 1, 3) if name == "y" else array.swapaxes(0, 1)
            for name, array in values.items()
        }


def by_layout(name: str, array: np.ndarray, layout: int) -> np.ndarray:
    """Return an input in this layout."""
    batched = layout and name in ("x", "h", "c")
    return np.ascontiguousarray(array.swapaxes(0, 1)) if batched else array


def case(
    type_: str,
    steps: int = 5,
    samples: int = 1,
    *,
    extra: str = "",
    lengths: list[int] | None = None,
    outputs: tuple[str, ...] = ("y", "last"),
    size: int = 4,
    width: int = 3,
    **attributes: Any,
) -> Case:
    """Return a case with random weights and a bias; ``extra`` are further inputs: h, c, p."""
    two = 1 + (attributes.get("direction") == "bidirectional")
    rows = GATES[type_] * size
    shapes = {
        "w": (two, rows, width), "r": (two, rows, size), "b": (two, 2 * rows),
        "h": (two, samples, size), "c": (two, samples, size), "p": (two, 3 * size),
    }  # fmt: skip
    constants = {
        name: 0.5 * weights(*shape, seed=ord(name))
        for name, shape in shapes.items()
        if name in ("w", "r", "b", *extra)
    }
    if lengths:
        constants["lengths"] = np.array(lengths, np.int32)
    feeds = {"x": weights(steps, samples, width)}
    return Case(type_, {"hidden_size": size, **attributes}, constants, feeds, outputs)


def agrees(one: Case, layout: int = 0, drawn: bool = False) -> pg.Net:
    """Import a case and compare the net with onnxruntime. The values of a drawn case may grow, because
    functions like Relu have no limit, and rounding errors with them; it is not compared then."""
    expected = one.expected(layout)
    limited = all((np.abs(values) < LARGE).all() for values in expected.values())
    if drawn:
        assume(limited)
    assert limited
    imported = import_model(one.model(layout))
    assert not imported.approximated
    assert all(kind_of(layer).stock for layer in imported.net.layers)
    compare(pg.run(imported.net, one.inputs(layout)), expected)
    return imported.net


def compare(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert actual[name].shape == values.shape
        limit = TOLERANCE * max(np.abs(values).max(), SMALL)
        np.testing.assert_allclose(actual[name], values, rtol=0, atol=limit, err_msg=name)


def types(net: pg.Net) -> Counter[str]:
    return Counter(layer.type for layer in net.layers)


# Every option

sizes = st.integers(1, 4)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw an operator with any options that ONNX defines."""
    type_ = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    two = 1 + (direction == "bidirectional")
    steps, samples, width, size = draw(st.integers(1, 7)), draw(sizes), draw(sizes), draw(sizes)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1), "seed"))
    rows = GATES[type_] * size

    def normal(*shape: int) -> np.ndarray:
        return (0.7 * generator.standard_normal(shape)).astype(np.float32)

    attributes: dict[str, Any] = {"direction": direction, "hidden_size": size}
    constants = {"w": normal(two, rows, width), "r": normal(two, rows, size)}
    feeds = {"x": normal(steps, samples, width)}
    if draw(st.booleans(), "bias"):
        constants["b"] = normal(two, 2 * rows)
    if draw(st.booleans(), "lengths"):
        lengths = [draw(st.integers(1, steps)) for _ in range(samples)]
        constants["lengths"] = np.array(lengths, np.int32)
    for name in ("h", "c") if type_ == "LSTM" else ("h",):
        kind = draw(st.sampled_from(["absent", "zero", "constant", "computed"]), name)
        if kind != "absent":
            values = normal(two, samples, size) * (kind != "zero")
            (feeds if kind == "computed" else constants)[name] = values
    if type_ == "LSTM" and draw(st.booleans(), "peepholes"):
        constants["p"] = normal(two, 3 * size)
    if type_ == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    if type_ == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if draw(st.integers(0, 3), "clip") == 0:
        attributes["clip"] = draw(st.sampled_from([0.2, 2.0]))
    if draw(st.booleans(), "functions"):
        count = two * FUNCTIONS[type_]
        attributes["activations"] = [draw(st.sampled_from(ACTIVATIONS)) for _ in range(count)]
        for key in ("activation_alpha", "activation_beta"):
            attributes[key] = [draw(st.sampled_from([0.2, 0.5, 0.9])) for _ in range(count)]
    names = ("y", "last", "last_c") if type_ == "LSTM" else ("y", "last")
    chosen = draw(st.sets(st.sampled_from(names), min_size=1), "outputs")
    end = max(names.index(name) for name in chosen) + 1
    outputs = tuple(name if name in chosen else "" for name in names[:end])
    return Case(type_, attributes, constants, feeds, outputs, draw(st.sampled_from([7, 14, 22])))


@settings(max_examples=200)
@given(cases())
def test_every_option_agrees_with_onnxruntime(one):
    agrees(one, drawn=True)


@settings(max_examples=60)
@given(cases())
def test_layout_1_is_layout_0_with_samples_first(one):
    agrees(one._replace(opset=max(one.opset, 14)), layout=1, drawn=True)


@pytest.mark.parametrize("function", ["Elu", "HardSigmoid", "LeakyRelu"])
def test_defaults_of_alpha_and_beta(function):
    agrees(case("RNN", activations=[function]))


def test_functions_take_the_numbers_in_their_order():
    """Tanh has no alpha, so the first one is that of the next function."""
    agrees(case("GRU", activations=["Tanh", "LeakyRelu"], activation_alpha=[0.5]))
    direction = {"direction": "bidirectional"}
    functions = {"activations": ["LeakyRelu", "LeakyRelu"], "activation_alpha": [0.5]}
    agrees(case("RNN", **direction, **functions))  # the second one has the default


def test_names_of_functions_in_any_case():
    one = case("GRU", activations=["Sigmoid", "Tanh"])
    expected = one.expected()
    other = one._replace(attributes={**one.attributes, "activations": ["sigmoid", "TANH"]})
    compare(pg.run(pg.from_onnx(other.model()), one.feeds), expected)


@pytest.mark.parametrize("type_", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_what_follows_the_end_of_a_sequence_has_no_effect(type_, direction):
    one = case(type_, samples=3, lengths=[2, 5, 3], direction=direction)
    one.feeds["x"][2:, 0] = np.nan
    one.feeds["x"][3:, 2] = np.inf
    compare(pg.run(pg.from_onnx(one.model()), one.feeds), one.expected())


def test_model_without_hidden_size():
    one = case("GRU")
    del one.attributes["hidden_size"]
    expected = one._replace(attributes={"hidden_size": 4}).expected()
    compare(pg.run(pg.from_onnx(one.model()), one.feeds), expected)


def test_constant_input():
    one = case("GRU")
    constants = {**one.constants, **one.feeds}
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=4),
        helper.make_node("Add", ["y", "z"], ["sum"]),
    ]
    shape = (5, 1, 1, 4)
    onnx_model = model(nodes, {"z": shape}, ["sum"], constants)
    expected = one.expected()["y"] + weights(*shape)
    compare(pg.run(pg.from_onnx(onnx_model), {"z": weights(*shape)}), {"sum": expected})


# The layers


def test_caffes_own_layers_are_kept():
    """Where Caffe's LSTM and RNN compute the operator, the net has one layer for each direction."""
    both = {"direction": "bidirectional"}
    peepholes = case("LSTM", extra="p")
    peepholes.constants["p"][:] = 0
    for one, count in (
        (case("LSTM"), 1),
        (case("LSTM", **both, extra="hc"), 2),
        (case("LSTM", activations=["Sigmoid", "Tanh", "Tanh"]), 1),
        (case("LSTM", samples=2, lengths=[3, 3]), 1),
        (peepholes, 1),
        (case("RNN", outputs=("", "last"), **both), 2),
    ):
        counts = types(agrees(one))
        assert counts[one.type] == count
        assert not counts["InnerProduct"]


def test_caffes_layer_runs_sequences_of_each_length():
    """One layer for the steps of all samples, then one for those of the longer sequences."""
    counts = types(
        agrees(case("LSTM", samples=3, lengths=[2, 5, 2], outputs=("y", "last", "last_c")))
    )
    assert counts["LSTM"] == 2


def test_state_of_0_is_not_exposed():
    one = case("LSTM", extra="hc", outputs=("y",))
    one.constants["h"][:] = one.constants["c"][:] = 0
    net = agrees(one)
    (layer,) = [layer for layer in net.layers if layer.type == "LSTM"]
    assert len(layer.bottoms) == 2


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"type_": "RNN"}, 3),
        ({"type_": "GRU"}, 11),
        ({"type_": "GRU", "linear_before_reset": 1}, 11),
        ({"type_": "LSTM", "input_forget": 1}, 11),
        ({"type_": "LSTM", "extra": "p"}, 18),
    ],
)
def test_each_step_has_few_layers(options, most):
    short, long = (len(agrees(case(steps=steps, **options)).layers) for steps in (5, 9))
    assert long - short <= 4 * most


@pytest.mark.parametrize(
    "one",
    [
        case("GRU", steps=20, linear_before_reset=1, direction="bidirectional"),
        case("GRU", steps=20, samples=2),
        case("LSTM", steps=20, extra="p", direction="reverse"),
        case("RNN", steps=20, activations=["Relu"]),
    ],
    ids=lambda one: one.type,
)
def test_weights_are_stored_once(one, tmp_path):
    """All steps share them, also in the file."""
    agrees(one).save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", strict=True)
    compare(pg.run(net, one.feeds), one.expected())
    stored = read_weights(tmp_path / "net.caffemodel").weights().values()
    count = sum(blob.size for blobs in stored for blob in blobs)
    assert count <= 1.05 * sum(array.size for array in one.constants.values())


def test_two_operators_do_not_share_weights():
    first, second = case("GRU"), case("GRU", size=3, direction="reverse")
    nodes, constants = [], {}
    for i, one in enumerate((first, second)):
        constants |= {f"{name}{i}": array for name, array in one.constants.items()}
        nodes.append(
            helper.make_node("GRU", ["x", f"w{i}", f"r{i}", f"b{i}"], [f"y{i}"], **one.attributes)
        )
    onnx_model = model(nodes, {"x": (5, 1, 3)}, ("y0", "y1"), constants)
    values = {"y0": first.expected()["y"], "y1": second.expected()["y"]}
    compare(pg.run(pg.from_onnx(onnx_model), first.feeds), values)


def test_names_that_need_quotes():
    one = case("GRU", outputs=('y"\n',))
    compare(pg.run(pg.from_onnx(one.model()), one.feeds), {"y__": one.expected()['y"\n']})


# What is refused

MANY = case("GRU", steps=MOST_STEPS + 1)


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            MANY,
            f"Caffe has no layer for it, so its steps become separate layers, but it has "
            f"{MOST_STEPS + 1} steps and the limit is {MOST_STEPS}. Split the sequence into shorter "
            "ones, with the states between them.",
        ),
        (
            case("RNN", steps=MOST_STEPS + 1),
            'Caffe\'s RNN does not return the hidden state of each step ("y"), so its steps become',
        ),
        (
            case("LSTM", steps=MOST_STEPS + 1, clip=1.0),
            "Caffe's LSTM has no clip, so its steps become",
        ),
        (
            case("LSTM", steps=MOST_STEPS + 1, activations=["Sigmoid", "Relu", "Tanh"]),
            "Caffe's LSTM has other activations than Sigmoid, Relu, Tanh, so its steps become",
        ),
        (
            case("LSTM", steps=MOST_STEPS + 1, extra="p"),
            "Caffe's LSTM has no peepholes, so its steps become",
        ),
        (
            case("LSTM", steps=MOST_STEPS + 1, input_forget=1),
            "Caffe's LSTM has no input_forget, so its steps become",
        ),
        (
            case("GRU", samples=2, lengths=[0, 3]),
            "sequence lengths must be from 1 to 5, got 0 to 3.",
        ),
        (
            case("GRU", samples=2, lengths=[6, 3]),
            "sequence lengths must be from 1 to 5, got 3 to 6.",
        ),
        (
            case("GRU", samples=2, lengths=[3]),
            'sequence lengths "lengths" must be 2 numbers, got 1.',
        ),
        (case("GRU", activations=["Tanh"]), "activations must be 2 functions, got 1: Tanh."),
        (
            case("RNN", activations=["Gelu"]),
            'ONNX has no activation function "Gelu".',
        ),
        (
            case("RNN", activations=["ThresholdedRelu"]),
            "ThresholdedRelu needs a value in activation_alpha. Set activation_alpha.",
        ),
        (
            case("RNN", activations=["Affine"], activation_alpha=[0.5]),
            "Affine needs a value in activation_beta. Set activation_beta.",
        ),
        (case("GRU", clip=0.0), "clip must be above 0, got 0."),
        (
            case("GRU", direction="backward"),
            "direction must be forward, reverse, bidirectional, got backward.",
        ),
        (
            case("GRU")._replace(attributes={"hidden_size": 5}),
            'weights W "w" must have shape 1x15x3, got 1x12x3.',
        ),
    ],
)
def test_refused_options(one, sentence):
    assert f'operator "op" ({one.type}): {sentence}' in refusal(one.model())


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("w", TensorProto.FLOAT, 'weights W "w" must be a constant, but it is computed.'),
        ("r", TensorProto.FLOAT, 'weights R "r" must be a constant, but it is computed.'),
        ("b", TensorProto.FLOAT, 'bias "b" must be a constant, but it is computed.'),
        ("p", TensorProto.FLOAT, 'peephole weights "p" must be a constant, but it is computed.'),
        (
            "lengths",
            TensorProto.INT32,
            'sequence lengths "lengths" must be a constant, but it is computed.',
        ),
    ],
)
def test_computed_constants_are_refused(name, kind, sentence):
    one = case("LSTM", extra="p", lengths=[5])
    constants = {key: array for key, array in one.constants.items() if key != name}
    names = ["x", "w", "r", "b", "lengths", "", "", "p"]
    node = helper.make_node("LSTM", names, ["y"], name="op", hidden_size=4)
    shapes = {"x": (5, 1, 3), name: one.constants[name].shape}
    assert sentence in refusal(model([node], shapes, ["y"], constants, kinds={name: kind}))


def test_most_steps_that_are_unrolled():
    agrees(case("GRU", steps=MOST_STEPS, outputs=("y",)))
    lengths = case("GRU", steps=MOST_STEPS + 1, samples=2, lengths=[3, 9])
    agrees(lengths)  # the steps after the longest sequence are not computed


# Models of PyTorch


@pytest.mark.parametrize("path", sorted(TORCH.glob("*.onnx")), ids=lambda path: path.stem)
def test_models_of_pytorch(path, tmp_path):
    imported = import_model(path)
    assert not imported.approximated
    imported.net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", strict=True)
    assert all(kind_of(layer).stock for layer in net.layers)
    feeds = {name: weights(*net.shapes[name], seed=i) for i, name in enumerate(net.inputs)}
    compare(pg.run(net, feeds), run_model(path.read_bytes(), feeds))


def test_every_module_of_pytorch_is_stored():
    stems = {path.stem for path in TORCH.glob("*.onnx")}
    modules = [f"{name}{deep}_{opset}" for name in ("gru", "lstm", "rnn_relu", "rnn_tanh")
               for deep in ("", "_deep") for opset in (11, 17)]  # fmt: skip
    assert stems == {*modules, "packed", "states", "text"}


# Real Caffe, and toolchains

BOTH = {"direction": "bidirectional"}
LIVE = {
    "gru": case("GRU", samples=2, extra="h", **BOTH),
    "gru_after": case("GRU", linear_before_reset=1, direction="reverse"),
    "gru_lengths": case("GRU", samples=3, lengths=[2, 5, 3], extra="h", **BOTH),
    "rnn_sequence": case("RNN", samples=2),
    "rnn_last": case("RNN", outputs=("", "last"), **BOTH),
    "rnn_relu": case("RNN", activations=["Relu", "Softsign"], **BOTH),
    "lstm": case("LSTM", samples=2, outputs=("y", "last", "last_c"), extra="hc", **BOTH),
    "lstm_lengths": case("LSTM", samples=3, lengths=[2, 5, 3], outputs=("y", "last", "last_c")),
    "lstm_peepholes": case("LSTM", samples=2, extra="pc", direction="reverse"),
    "lstm_coupled": case("LSTM", input_forget=1, outputs=("y", "last", "last_c")),
    "lstm_functions": case(
        "LSTM", activations=["Softplus", "ScaledTanh", "ThresholdedRelu"],
        activation_alpha=[0.5, 0.2], activation_beta=[0.7],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("layout", [0, 1])
def test_real_caffe(name, layout, tmp_path):
    """The written files, in real Caffe."""
    if why := missing("caffe"):
        pytest.skip(why)
    one = LIVE[name]
    net = pg.from_onnx(one.model(layout))
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    answer = caffe("caffe").run(
        (tmp_path / "net.prototxt").read_text(), one.inputs(layout),
        (tmp_path / "net.caffemodel").read_bytes(),
    )  # fmt: skip
    assert not answer.refused, answer.refused
    expected = one.expected(layout)
    compare({blob: answer.blobs[blob] for blob in expected}, expected)


@pytest.mark.parametrize("target", ["rknn2", "mnn", "opencv4"])
@pytest.mark.parametrize("name", ["gru_after", "rnn_sequence", "rnn_relu", "lstm_coupled"])
def test_targets(name, target, tmp_path, protogen):
    """Each layer gets its own copy of the weights, because toolchains do not share them."""
    onnx.save(LIVE[name].model(), tmp_path / "net.onnx")
    result = protogen(
        "convert", "net.onnx", "-o", "net.prototxt", "--caffemodel", "net.caffemodel",
        "--target", target, "--verify", "--tolerance", "1e-5",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert not pg.load(tmp_path / "net.prototxt").graph.owners
