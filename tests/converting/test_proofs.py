"""``verify``: a blob that would agree in any case is unproved, and an output of only one model is an error."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import pytest
from nets import net_with
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.onnx import lower, to_model

IMAGE = {"data": (1, 3, 8, 8)}
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
"""
HEAD = """
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" }
layer { name: "fc" type: "InnerProduct" bottom: "relu" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
BN = """
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
layer { name: "s" type: "TanH" bottom: "bn" top: "s" }
"""


def net_of(inputs, layers, factor=1.0, seed=0):
    net = net_with(inputs, layers)
    generator = np.random.default_rng(seed)
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            net.weights[layer.name] = [
                (factor * generator.standard_normal(shape)).astype(np.float32) for shape in shapes
            ]
    return net


def exported(net, **options):
    return to_model(lower(net, fold=False, **options))


def both(net, **options):
    return pg.verify(net, exported(net), check=False, **options)


def reasons(comparison):
    return {row.blob: row.unproved for row in comparison.unproved}


def model_of(nodes, inputs, outputs, constants=()):
    """Return a model of (operator, inputs, outputs, attributes), and (element type, shape) by name."""

    def infos(values):
        return [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in values.items()
        ]

    graph = helper.make_graph(
        [helper.make_node(op, reads, writes, **attrs) for op, reads, writes, attrs in nodes],
        "net",
        infos(inputs),
        infos(outputs),
        [numpy_helper.from_array(array, name) for name, array in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


FLOAT = TensorProto.FLOAT


# Nothing is proved


def test_all_zero_weights_prove_nothing():
    """The blobs agree even if Neg replaces every Relu."""
    net = net_of(IMAGE, CONV + HEAD, factor=0)
    model = exported(net)
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Neg"
    comparison = pg.verify(net, model, check=False)
    assert comparison.first is None
    assert not comparison.proved
    cause = 'layer "conv" (Convolution) has all-zero weights'
    assert reasons(comparison)["conv"] == cause
    assert reasons(comparison)["relu"] == cause
    assert len(comparison.tried) == 6
    with pytest.raises(pg.MismatchError) as caught:
        pg.verify(net, model)
    assert str(caught.value) == (
        f"nothing is proved: 4 blobs would agree whatever the models compute, because {cause}."
    )
    assert caught.value.exit_code == 1
    assert caught.value.table.plain()["passed"] is False


def test_bias_does_not_hide_all_zero_weights():
    """The values differ from each other, but they do not depend on the input."""
    net = net_of(IMAGE, CONV)
    net.weights["conv"][0] *= 0
    assert reasons(both(net)) == {"conv": 'layer "conv" (Convolution) has all-zero weights'}


def test_larger_inputs_reveal_weights_hidden_by_bias():
    net = net_of(IMAGE, CONV)
    net.weights["conv"][0] *= 1e-5
    comparison = both(net)
    assert comparison.proved
    assert [scale for _, scale in comparison.tried] == [1, 1, 0.1, 10]


def test_constants_are_proved_unless_all_values_are_equal():
    """Equal constants would agree in any order; different ones are compared."""
    dummy = 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 } } }'
    assert reasons(both(net_of({}, dummy))) == {
        "d": 'layer "d" (DummyData) does not depend on an input, and all its values are equal'
    }
    blob = (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }'
    )
    net = net_of({}, blob)
    comparison = both(net)
    assert comparison.proved
    assert comparison.tried == ((0, 1.0),)
    other = exported(net)
    numbers = numpy_helper.to_array(other.graph.initializer[0]).copy()
    numbers[0, 0] += 1
    other.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(numbers, other.graph.initializer[0].name)
    )
    assert not pg.verify(net, other, check=False).proved


def test_prior_boxes_are_proved():
    """Prior boxes depend on shapes only."""
    layers = CONV + (
        'layer { name: "p" type: "PriorBox" bottom: "conv" bottom: "data" top: "p" '
        "prior_box_param { min_size: 2 aspect_ratio: 2 } }"
    )
    comparison = both(net_of(IMAGE, layers))
    assert not comparison.unproved
    assert len(comparison.tried) == 2


# Some blobs are unproved


def test_saturated_blob_is_unproved():
    net = net_of(IMAGE, CONV + HEAD)
    net.weights["fc"][0] *= 1e7
    with pytest.warns(pg.ProtogenWarning) as caught:
        comparison = pg.verify(net, exported(net))
    assert comparison.proved
    assert reasons(comparison) == {
        "prob": 'layer "prob" (Softmax) saturates: every value is 0 or 1 for all inputs tried'
    }
    assert str(caught[0].message) == (
        'blob "prob": agrees but is unproved: layer "prob" (Softmax) saturates: every value is 0 or 1 '
        "for all inputs tried."
    )


def test_smaller_inputs_avoid_saturation():
    net = net_of(IMAGE, CONV + HEAD)
    for name in ("conv", "fc"):
        net.weights[name] = [net.weights[name][0] * 4, 0 * net.weights[name][1]]
    comparison = both(net)
    assert not comparison.unproved
    assert comparison.tried[-1][1] < 1
    other = exported(net)
    for node in other.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Hardmax"
    assert pg.verify(net, other, check=False).first.blob == "prob"


def test_saturation_caused_by_a_variance_of_0_names_the_layer():
    net = net_of(IMAGE, BN, factor=0)
    net.weights["bn"][1] *= 0
    net = net_of(
        IMAGE, BN.replace('"data" top: "bn"', '"data" top: "bn" batch_norm_param { eps: 1e-20 }'), 0
    )
    comparison = both(net)
    assert reasons(comparison) == {
        "s": 'layer "bn" (BatchNorm) has a variance of 0, so that layer "s" (TanH) saturates: every '
        "value is -1 or 1 for all inputs tried"
    }


def test_dead_relu_leaves_later_blobs_unproved():
    net = net_of(IMAGE, CONV + HEAD)
    net.weights["conv"] = [net.weights["conv"][0], net.weights["conv"][1] * 0 - 1e6]
    comparison = both(net)
    dead = 'layer "relu" (ReLU) saturates: every value is 0 for all inputs tried'
    assert reasons(comparison)["relu"] == dead
    assert reasons(comparison)["fc"] == dead  # later layers have the same cause
    assert reasons(comparison)["prob"] == dead


def test_blobs_without_a_finite_value_are_unproved():
    layers = """
    layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }
    layer { name: "b" type: "Power" bottom: "a" top: "b" power_param { scale: -1 shift: -1 } }
    layer { name: "c" type: "Log" bottom: "b" top: "c" }
    layer { name: "d" type: "ReLU" bottom: "c" top: "d" }
    """
    comparison = both(net_of(IMAGE, layers))
    cause = 'layer "c" (Log) produces no finite value for any of the inputs tried'
    assert reasons(comparison) == {"c": cause, "d": cause}


def test_infinite_values_in_both_models_are_unproved():
    layers = 'layer { name: "e" type: "Exp" bottom: "data" top: "e" exp_param { shift: 1000 } }'
    assert reasons(both(net_of(IMAGE, layers)))["e"].endswith(
        "produces no finite value for any of the inputs tried"
    )


def test_flt_max_does_not_hide_differences():
    """MAX gives -FLT_MAX for a window without a pixel; all other values are small relative to it."""
    layers = (
        'layer { name: "p" type: "Pooling" bottom: "data" top: "p" '
        "pooling_param { kernel_size: 1 stride: 4 } }"
    )
    net = net_of({"data": (1, 2, 10, 10)}, layers)
    model = exported(net)
    assert both(net).proved
    model.graph.node.extend([helper.make_node("Mul", ["inner", "factor"], ["p"])])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.999), "factor"))
    next(n for n in model.graph.node if n.output[0] == "p").output[0] = "inner"
    assert pg.verify(net, model, check=False).first.blob == "p"


# NaN and infinite values


def model_with_value(bad):
    """Return a model that returns x with one value replaced."""
    place, value = np.zeros((2, 3), bool), np.full((2, 3), bad, np.float32)
    place[1, 2] = True
    return model_of(
        [("Where", ["place", "value", "x"], ["y"], {})],
        {"x": (FLOAT, (2, 3))},
        {"y": (FLOAT, (2, 3))},
        {"place": place, "value": value},
    )


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [
        (np.nan, np.nan, True), (np.inf, np.inf, True), (-np.inf, -np.inf, True),
        (np.nan, 0, False), (0, np.nan, False), (np.inf, 0, False), (0, np.inf, False),
        (np.inf, -np.inf, False), (np.nan, np.inf, False), (np.inf, 3.4e38, False),
    ],
)  # fmt: skip
def test_non_finite_value_must_be_equal_in_both_models(one, two, equal):
    comparison = pg.verify(model_with_value(one), model_with_value(two), check=False)
    assert comparison.proved is equal
    if not equal:
        row = comparison.first
        assert (row.largest, row.relative) == (None, None)
        json.dumps(comparison.plain(), allow_nan=False)
        with pytest.raises(
            pg.MismatchError,
            match="has NaN or infinite values at different positions in the two models",
        ):
            pg.verify(model_with_value(one), model_with_value(two))


def test_small_difference_next_to_nan_is_found():
    other = model_with_value(np.nan)
    other.graph.node[0].output[0] = "z"
    other.graph.node.append(helper.make_node("Mul", ["z", "f"], ["y"]))
    other.graph.initializer.append(numpy_helper.from_array(np.float32(1.01), "f"))
    assert pg.verify(model_with_value(np.nan), other, check=False).first.relative == pytest.approx(
        0.01, rel=0.01
    )


def test_zeros_differ_from_nonzero_values():
    net = net_of(IMAGE, CONV)
    zero = net_of(IMAGE, CONV, factor=0)
    assert pg.verify(zero, net, check=False).first.relative == 1


# Outputs


def test_output_of_one_model_only_is_an_error():
    net = net_of(IMAGE, CONV + HEAD)
    whole, cut = exported(net), exported(net, outputs=["fc"])
    for a, b, only in ((net, cut, "first"), (cut, net, "second"), (whole, cut, "first")):
        comparison = pg.verify(a, b, check=False)
        assert (comparison.first.blob, comparison.first.only) == ("prob", only)
        with pytest.raises(
            pg.MismatchError, match=f'output "prob": exists only in the {only} model'
        ):
            pg.verify(a, b)
    assert pg.verify(net, cut, outputs=["fc"]).proved
    assert pg.verify(cut, net, outputs=["fc"]).proved
    with pytest.raises(pg.MismatchError, match='output "prob": exists only in the first'):
        pg.verify(net, cut, outputs=["fc", "prob"])
    with pytest.raises(pg.InputError, match=r'"porb": unknown blob\. Did you mean prob\?'):
        pg.verify(net, cut, outputs=["porb"])
    with pytest.raises(pg.InputError, match='"out": unknown value of the second model'):
        pg.verify(net, cut, names={"fc": "out"})


def test_swapped_outputs_are_found():
    layers = CONV + CONV.replace('name: "conv"', 'name: "other"').replace(
        'top: "conv"', 'top: "other"'
    )
    net = net_of(IMAGE, layers)
    model = exported(net)
    assert pg.verify(net, model).proved
    names = {"conv": "other", "other": "conv"}
    for node in model.graph.node:
        node.output[0] = names.get(node.output[0], node.output[0])
    assert len(pg.verify(net, model, check=False).rows) == 2
    assert not pg.verify(net, model, check=False).proved
    assert pg.verify(net, model, names=names).proved


def test_missing_constant_output_is_found():
    two = model_of(
        [("Relu", ["x"], ["y"], {})],
        {"x": (FLOAT, (2, 3))},
        {"y": (FLOAT, (2, 3)), "c": (FLOAT, (2,))},
        {"c": np.float32([1, 2])},
    )
    one = model_of([("Relu", ["x"], ["y"], {})], {"x": (FLOAT, (2, 3))}, {"y": (FLOAT, (2, 3))})
    assert pg.verify(two, one, check=False).first.blob == "c"
    assert pg.verify(two, two).proved


def test_scalar_output_must_depend_on_the_input():
    """A single number must depend on the input to prove something."""
    inputs = {"data": (4, 5), "label": (4,)}
    layers = """
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "loss" }
    layer { name: "right" type: "Accuracy" bottom: "data" bottom: "label" top: "right" }
    """
    net = net_of(inputs, layers)
    comparison = pg.verify(net, exported(net))
    assert comparison.proved
    assert {row.shapes[0] for row in comparison.rows} == {()}
    always = 'layer { name: "right" type: "Accuracy" bottom: "data" bottom: "label" top: "right" accuracy_param { top_k: 5 } }'
    assert reasons(both(net_of(inputs, always))) == {
        "right": 'layer "right" (Accuracy) gives the same values (within the tolerance) for all inputs tried'
    }


# Inputs


def test_inputs_are_paired_by_name():
    layers = """
    layer { name: "d" type: "Eltwise" bottom: "a" bottom: "b" top: "d" eltwise_param { coeff: 1 coeff: -1 } }
    """
    net = net_of({"a": (2, 3), "b": (2, 3)}, layers)
    model = exported(net)
    assert pg.verify(net, model).proved
    swapped = exported(net)
    first, second = swapped.graph.input
    first.name, second.name = "b", "a"  # the same names in another order
    assert pg.verify(net, swapped).proved
    first.name, second.name = "x", "y"
    with pytest.raises(
        pg.InputError, match="the models have different inputs: a 2x3, b 2x3 and x 2x3, y 2x3"
    ):
        pg.verify(net, swapped)


def test_unused_input_is_ignored():
    """A label that only Silence reads is not an input of the ONNX model."""
    silence = 'layer { name: "s" type: "Silence" bottom: "label" }'
    net = net_of({"data": (1, 3, 8, 8), "label": (1,)}, CONV + silence)
    model = exported(net)
    assert [value.name for value in model.graph.input] == ["data"]
    assert pg.verify(net, model).proved
    assert pg.verify(model, net).proved


def test_label_that_is_also_data_is_proved():
    layers = """
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "loss" }
    layer { name: "twice" type: "Power" bottom: "label" top: "twice" power_param { scale: 2 } }
    """
    net = net_of({"data": (6, 5), "label": (6,)}, layers)
    assert pg.verify(net, exported(net)).proved


def test_random_integer_inputs_are_0_or_1():
    """ONNX models do not define the range of an integer input. 0 and 1 are valid for most operators."""
    model = model_of(
        [("Gather", ["table", "i"], ["rows"], {}), ("Shape", ["rows"], ["shape"], {}),
         ("Reshape", ["rows", "shape"], ["y"], {})],
        {"i": (TensorProto.INT64, (5,))},
        {"y": (FLOAT, (5, 3))},
        {"table": np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)},
    )  # fmt: skip
    comparison = pg.verify(model, model)
    assert comparison.proved
    assert reasons(comparison) == {}


def test_feeds_replace_random_inputs(tmp_path):
    net = net_of(IMAGE, CONV)
    x = np.random.default_rng(3).standard_normal((1, 3, 8, 8), np.float32)
    comparison = pg.verify(net, exported(net), feeds={"data": x})
    assert comparison.proved
    assert len(comparison.tried) == 1
    with pytest.raises(pg.InputError, match='"dta": unknown input of the first model'):
        pg.verify(net, net, feeds={"dta": x})


def test_models_with_a_free_batch_axis_are_compared():
    net = net_of(IMAGE, CONV + HEAD)
    assert pg.verify(net, exported(net, free_axes=(0,))).proved
    free = exported(net, free_axes=(0,))
    assert pg.verify(free, free).proved


def test_output_with_data_dependent_length_is_compared():
    layers = 'layer { name: "f" type: "Filter" bottom: "data" bottom: "keep" top: "f" }'
    net = net_of({"data": (9, 3), "keep": (9,)}, layers)
    assert pg.verify(net, exported(net)).proved


def test_tolerance_and_seed_options_are_used():
    net = net_of(IMAGE, CONV)
    other = net_of(IMAGE, CONV)
    other.weights["conv"][0] *= 1.001
    assert not pg.verify(net, other, check=False).proved
    assert pg.verify(net, other, tolerance=0.01).proved
    assert pg.verify(net, net, seed=7).plain()["seeds"] == [7, 8]


# Files and commands


@pytest.fixture
def files(tmp_path):
    layers = (
        CONV
        + HEAD
        + CONV.replace('name: "conv"', 'name: "null"').replace('top: "conv"', 'top: "null"')
    )
    net = net_of(IMAGE, layers)
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    net.weights["null"] = [0 * blob for blob in net.weights["null"]]
    net.save(tmp_path / "net.prototxt", tmp_path / "half.caffemodel")
    net.weights = {name: [0 * b for b in blobs] for name, blobs in net.weights.items()}
    net.save(tmp_path / "net.prototxt", tmp_path / "zero.caffemodel")
    return tmp_path


def test_convert_verifies_a_cut_net(protogen, files):
    done = protogen(
        "convert", "net.prototxt", "net.caffemodel", "-o", "a.onnx", "--to-blob", "fc",
        "--to-blob", "conv", "--verify", "--receipt", "r.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "onnxruntime: 3 blobs agree, largest relative error" in done.stdout
    checked = json.loads((files / "r.json").read_text())["checked"]["onnxruntime"]
    assert checked["passed"]
    assert checked["seeds"] == [0, 1]
    assert checked["scales"] == [1, 1]
    assert checked["compared"] == 3
    assert checked["worst"] < 1e-5
    assert checked["unproved"] == {}
    done = protogen("verify", "net.prototxt", "net.caffemodel", "a.onnx")
    assert done.returncode == 1
    assert 'output "prob": exists only in the first model.' in done.stderr
    arguments = ("net.prototxt", "net.caffemodel", "a.onnx", "--blob", "fc", "--blob", "conv")
    assert protogen("verify", *arguments).returncode == 0


def test_convert_warns_of_unproved_blobs(protogen, files):
    done = protogen(
        "convert",
        "net.prototxt",
        "half.caffemodel",
        "-o",
        "a.onnx",
        "--receipt",
        "r.json",
        "--verify",
    )
    assert done.returncode == 0
    cause = 'layer "null" (Convolution) has all-zero weights'
    assert done.stderr == f'protogen: warning: blob "null": agrees but is unproved: {cause}.\n'
    assert "onnxruntime: 5 blobs agree, 1 of them unproved, largest relative error" in done.stdout
    checked = json.loads((files / "r.json").read_text())["checked"]["onnxruntime"]
    assert checked["unproved"] == {"null": cause}
    assert checked["seeds"] == [0, 1, 2, 3, 4, 5]
    assert checked["passed"]


def test_convert_fails_if_nothing_is_proved(protogen, files):
    done = protogen("convert", "net.prototxt", "zero.caffemodel", "-o", "a.onnx", "--verify")
    assert done.returncode == 1
    assert done.stderr == (
        "protogen: nothing is proved: 5 blobs would agree whatever the models compute, because "
        'layer "conv" (Convolution) has all-zero weights.\n'
    )
    assert not (files / "a.onnx").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pg.convert(files / "net.prototxt", files / "zero.caffemodel", files / "a.onnx")


def test_verify_command_marks_unproved_blobs(protogen, files):
    pair = ("net.prototxt", "half.caffemodel")
    done = protogen("verify", *pair, *pair)
    assert done.returncode == 0
    assert (
        "5 of 5 blobs agree to 0.0001, 1 of them unproved, largest relative error 0" in done.stdout
    )
    assert any(
        line.split()[0] == "null" and line.endswith("unproved")
        for line in done.stdout.splitlines()
        if line
    )
    pair = ("net.prototxt", "zero.caffemodel")
    done = protogen("verify", *pair, *pair, "--json")
    assert done.returncode == 1
    assert "nothing is proved: 5 blobs" in done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is False
    assert len(report["unproved"]) == 5
    assert report["blobs"][0]["unproved"] == 'layer "conv" (Convolution) has all-zero weights'


def test_pair_option_compares_blobs_of_different_names(protogen, files):
    net = pg.load(files / "net.prototxt", files / "net.caffemodel")
    model = exported(net, outputs=["prob"])
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"
    onnx.save(model, files / "a.onnx")
    arguments = ("verify", "net.prototxt", "net.caffemodel", "a.onnx", "--blob", "prob")
    assert 'output "prob": exists only in the first' in protogen(*arguments).stderr
    assert protogen(*arguments, "--pair", "prob=scores").returncode == 0
    done = protogen(*arguments, "--pair", "prob")
    assert (done.returncode, done.stderr) == (2, "protogen: --pair: expected A=B, got 'prob'.\n")


def test_tolerance_option_of_convert(protogen, files):
    arguments = ("convert", "net.prototxt", "net.caffemodel", "-o", "a.onnx", "--half")
    assert protogen(*arguments, "--verify").returncode == 0
    done = protogen(*arguments, "--verify", "--tolerance", "1e-6")
    assert done.returncode == 1
    assert "of its largest value" in done.stderr
    done = protogen(*arguments, "--tolerance", "1e-6")
    assert (done.returncode, done.stderr) == (
        2, "protogen: --tolerance needs --verify.\n",
    )  # fmt: skip


def test_onnx_to_caffe_is_proved(protogen, files):
    net = pg.load(files / "net.prototxt", files / "zero.caffemodel")
    onnx.save(exported(net), files / "a.onnx")
    arguments = (
        "convert",
        "a.onnx",
        "-o",
        "b.prototxt",
        "--caffemodel",
        "b.caffemodel",
        "--verify",
    )
    done = protogen(*arguments)
    assert done.returncode == 1
    assert "nothing is proved" in done.stderr
    assert not (files / "b.prototxt").exists()
    net.take_weights(pg.load(files / "net.prototxt", files / "net.caffemodel").weights)
    onnx.save(exported(net), files / "a.onnx")
    assert protogen(*arguments).returncode == 0
    assert protogen(*arguments, "--tolerance", "0").returncode in (0, 1)


def test_onnx_to_caffe_compares_blobs_renamed_for_caffe(tmp_path):
    model = model_of(
        [("Relu", ['x"1'], ['y"1'], {}), ("Neg", ['y"1'], ['z"1'], {})],
        {'x"1': (FLOAT, (2, 3))},
        {'y"1': (FLOAT, (2, 3)), 'z"1': (FLOAT, (2, 3)), 'c"1': (FLOAT, (2,))},
        {'c"1': np.float32([1, 2])},
    )
    onnx.save(model, tmp_path / "a.onnx")
    imported = pg.convert_onnx(
        tmp_path / "a.onnx", tmp_path / "a.prototxt", tmp_path / "a.caffemodel", verify=True
    )
    assert imported.checked.proved
    assert {row.blob for row in imported.checked.rows} == {'y"1', 'z"1', 'c"1'}


@pytest.mark.parametrize("kind", ["ROIPooling", "Upsample"])
def test_random_indexes_are_in_range(protogen, tmp_path, kind):
    inputs, layers = {
        "ROIPooling": (
            {"data": (2, 3, 14, 14), "rois": (300, 5)},
            'layer { name: "p" type: "ROIPooling" bottom: "data" bottom: "rois" top: "p" '
            "roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 } }",
        ),
        "Upsample": (
            {"data": (1, 2, 3, 3), "mask": (1, 2, 3, 3)},
            'layer { name: "u" type: "Upsample" bottom: "data" bottom: "mask" top: "u" '
            "upsample_param { scale: 2 } }",
        ),
    }[kind]
    net = net_with(inputs, layers)
    net.save(tmp_path / "net.prototxt")
    done = protogen("convert", "net.prototxt", "-o", "a.onnx", "--verify")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime: 1 blob agrees" in done.stdout
    assert not done.stderr
    assert protogen("run", "net.prototxt", "--random").returncode == 0
