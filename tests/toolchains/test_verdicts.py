"""What ``check --target`` says of each layer."""

import json
import tomllib

import pytest

import protogen as pg
from protogen.toolchains.toolchain import parse_toolchain

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 8 } } }\n'
HEAD = """
types_complete = true
sources.run = "measured"
types.run = ["Input", "Convolution", "ReLU", "Pooling", "Eltwise", "Permute", "Slice", "Sigmoid"]
"""


def report(tmp_path, rules, layers, inputs=INPUT):
    net = tmp_path / "net.prototxt"
    net.write_text(inputs + layers)
    return pg.check_target(net, parse_toolchain(tomllib.loads(HEAD + rules), "acme.toml"))


def layer(type_, more="", name="l", bottom="data", top="l"):
    return f'layer {{ name: "{name}" type: "{type_}" bottom: "{bottom}" top: "{top}" {more} }}\n'


def rule(when, is_="wrong", layers=""):
    return f'[[rule]]\n{layers}\nis = "{is_}"\nwhen = "{when}"\ntext = "t"\nsource = "run"\n'


@pytest.mark.parametrize(
    ("when", "text", "holds"),
    [
        ("channels == 4 and height == 6 and width == 8 and rank == 4", layer("ReLU"), True),
        ("in_place_on_input", layer("ReLU", top="data"), True),
        ("in_place", layer("ReLU"), False),
        ("type == 'ReLU' and param.negative_slope > 0", layer("ReLU", "relu_param { negative_slope: 0.1 }"), True),
        ("'negative_slope' in written", layer("ReLU"), False),
        ("depthwise", layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 group: 4 }"), True),
        ("kernel_h == 3 and kernel_w == 5 and repeated_pair",
         layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 kernel_size: 5 }"), True),
        ("pad_h == 1 and pad_w == 0 and stride == 2",
         layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad_h: 1 pad_w: 0 stride: 2 }"), True),
        ("cut_window", layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"), True),
        ("cut_window", layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }"), False),
        ("global_pool", layer("Pooling", "pooling_param { global_pooling: true }"), True),
        ("type == 'Eltwise' and param.coeff == [2, 1]", layer("Eltwise", 'bottom: "data" eltwise_param { coeff: 2 coeff: 1 }'), True),
        ("equal_shapes and bottoms == 2", layer("Eltwise", 'bottom: "data"'), True),
        ("nonnegative", layer("Sigmoid", name="s", top="s") + layer("Pooling", "pooling_param { kernel_size: 2 }", bottom="s"), True),
        ("type == 'Pooling' and nonnegative", layer("Pooling", "pooling_param { kernel_size: 2 }"), False),
        ("previous.type == 'Sigmoid' and from_types == ['Sigmoid']",
         layer("Sigmoid", name="s", top="s") + layer("ReLU", bottom="s"), True),
        ("next.type == 'ReLU' and read_by == ['ReLU']",
         layer("Sigmoid", name="s", top="s") + layer("ReLU", bottom="s"), True),
        ("bottom_readers == 2", layer("Sigmoid", name="s", top="s") + layer("ReLU"), True),
        ("unused_tops == 1", layer("Slice", 'top: "b" slice_param { slice_point: 1 }') + layer("ReLU", name="r", top="r", bottom="b"), True),
    ],
)  # fmt: skip
def test_words(tmp_path, when, text, holds):
    result = report(tmp_path, rule(when), text)
    assert (result.verdict == "wrong") == holds, result.layers


@pytest.mark.parametrize(
    ("when", "inputs", "holds"),
    [
        ("legacy_input and legacy_dims", 'input: "data" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 8\n', True),
        ("legacy_shape", 'input: "data" input_shape { dim: 1 dim: 4 dim: 6 dim: 8 }\n', True),
        ("legacy_input", INPUT, False),
        ("renamed_inputs == 1", INPUT.replace('name: "data"', 'name: "in"'), True),
        ("inputs == 2", INPUT + INPUT.replace("data", "more"), True),
    ],
)  # fmt: skip
def test_words_of_nets(tmp_path, when, inputs, holds):
    rules = f'[[net]]\nis = "refused"\nwhen = "{when}"\ntext = "t"\nsource = "run"\n'
    result = report(tmp_path, rules, layer("ReLU"), inputs)
    assert (result.net.verdict == "refused") == holds
    assert (result.rows[0].layer == "") == holds


def test_field_that_the_parser_lacks(tmp_path):
    schema = '[schema]\nunknown = "refused"\nlacks = ["pooling_param.round_mode"]\nsource = "run"\n'
    pool = layer("Pooling", "pooling_param { kernel_size: 2 round_mode: FLOOR }")
    [_, one] = report(tmp_path, schema, pool).layers
    assert (one.verdict, one.reasons[0].field) == ("refused", "pooling_param.round_mode")
    permute = layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    [_, one] = report(tmp_path, schema, permute).layers
    assert one.text == "its parser has no field permute_param, and refuses the file"
    fields = '[schema.fields]\npermute_param = 148\n"permute_param.order" = 1\n'
    assert report(tmp_path, schema + fields, permute).verdict == "taken"
    tolerant = schema.replace("refused", "kept")
    assert report(tmp_path, tolerant, permute).verdict == "taken"


def test_types(tmp_path):
    assert report(tmp_path, "", layer("TanH")).layers[1].text == "it does not have the type TanH"
    partial = parse_toolchain({"sources": {"run": "x"}, "types": {"run": ["Input"]}}, "acme.toml")
    assert pg.check_target(tmp_path / "net.prototxt", partial).verdict == "unknown"


def test_worst_reason_comes_first(tmp_path):
    rules = rule("True", "ignored") + rule("True", "refused") + rule("True", "wrong")
    result = report(tmp_path, rules.replace("True", "rank > 0"), layer("ReLU"))
    assert [one.verdict for one in result.layers[1].reasons] == ["refused", "wrong", "ignored"]


def test_statement_that_holds_alone(tmp_path):
    rules = rule("rank > 0", "refused") + rule("rank > 0", "wrong") + "only = true\n"
    result = report(tmp_path, rules, layer("ReLU"))
    assert [one.verdict for one in result.layers[1].reasons] == ["wrong"]


@pytest.mark.parametrize(
    ("more", "verdicts"),
    [("", ["refused", "wrong"]), ("nonsense_param { factor: 2 }", ["refused"])],
)
def test_parameters_of_an_unknown_type(tmp_path, more, verdicts):
    rules = rule("param.factor == 0", layers='layers = ["Nonsense"]')
    [_, one] = report(tmp_path, rules, layer("Nonsense", more)).layers
    assert [reason.verdict for reason in one.reasons] == verdicts


def test_broadcast_that_caffe_refuses_has_a_shape(tmp_path):
    pool = layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", name="g", top="g")
    gate = layer("Eltwise", 'bottom: "g" eltwise_param { operation: PROD }')
    text = pool + gate + layer("ReLU", name="r", top="r", bottom="l")
    rules = rule("not equal_shapes", layers='layers = ["Eltwise"]')
    assert [one.verdict for one in report(tmp_path, "", text).layers] == ["taken"] * 4
    assert report(tmp_path, rules, text).layers[2].verdict == "wrong"
    rules = rule("height == 6 and width == 8", layers='layers = ["ReLU"]')
    assert report(tmp_path, rules, text).layers[3].verdict == "wrong"


def test_unknown_shapes_are_not_taken_for_granted(tmp_path):
    text = layer("Nonsense", name="n", top="n") + layer(
        "Pooling", "pooling_param { kernel_size: 2 }", bottom="n"
    )
    rules = rule("kernel > 9", layers='layers = ["Pooling"]')
    assert report(tmp_path, rules, text).layers[-1].verdict == "unknown"


def test_layer_that_caffe_refuses(tmp_path):
    text = layer("Pooling", "pooling_param { kernel_size: 2 pad: 2 }")
    assert report(tmp_path, "", text).verdict != "refused"
    net = tmp_path / "net.prototxt"
    caffe = parse_toolchain(tomllib.loads("caffe_checks = true\n" + HEAD), "acme.toml")
    result = pg.check_target(net, caffe)
    assert result.verdict == "refused"
    assert "pad 2 must be smaller" in result.layers[1].text


def test_caffemodel_without_the_parameters_of_a_layer(tmp_path):
    import numpy as np

    from protogen.formats.caffemodel import Entry, header, write_weights

    (tmp_path / "net.prototxt").write_text(INPUT + layer("ReLU"))
    with (tmp_path / "n.caffemodel").open("wb") as file:
        write_weights(file, "n", [Entry(header("x", "ReLU", (), ()), [np.ones(1, np.float32)])])
    rules = rule("not in_caffemodel", layers='layers = ["ReLU"]')
    acme = parse_toolchain(tomllib.loads(HEAD + rules), "acme.toml")
    net = tmp_path / "net.prototxt"
    assert pg.check_target(net, acme).verdict == "taken"
    assert pg.check_target(net, acme, tmp_path / "n.caffemodel").verdict == "wrong"


def test_command(tmp_path, protogen):
    (tmp_path / "acme.toml").write_text(
        HEAD + rule("param.coeff != []", layers='layers = ["Eltwise"]')
    )
    (tmp_path / "right.prototxt").write_text(INPUT + layer("ReLU"))
    (tmp_path / "wrong.prototxt").write_text(
        INPUT + layer("Eltwise", 'bottom: "data" eltwise_param { coeff: 2 coeff: 1 }')
    )
    done = protogen("check", "right.prototxt", "--target", "acme.toml")
    assert (done.returncode, "ReLU    taken" in done.stdout) == (0, True), done.stdout
    assert "nothing found" not in done.stdout
    done = protogen("check", "wrong.prototxt", "--target", "acme.toml", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["targets"][0]["verdict"] == "wrong"
    assert answer["targets"][0]["layers"][1]["reasons"][0]["source"] == "measured"
    assert [one["code"] for one in answer["findings"]] == ["PG405"]
    done = protogen("check", "wrong.prototxt", "--target", "acme")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = protogen("summary", "wrong.prototxt", "--target", "acme.toml")
    header = next(line for line in done.stdout.splitlines() if "multiply-adds" in line)
    assert header.split()[-1] == "acme"
    assert done.returncode == 0


def test_net_that_cannot_be_built_is_refused(tmp_path, protogen):
    (tmp_path / "acme.toml").write_text(HEAD)
    (tmp_path / "net.prototxt").write_text(INPUT + layer("ReLU", bottom="nothing"))
    done = protogen("check", "net.prototxt", "--target", "acme.toml")
    assert done.returncode == 1
    assert "nothing" in done.stdout


def test_project_setting_adds_findings(tmp_path, protogen):
    (tmp_path / "acme.toml").write_text(HEAD)
    (tmp_path / "protogen.toml").write_text('[check]\ntarget = "acme.toml"\n')
    (tmp_path / "net.prototxt").write_text(INPUT + layer("TanH"))
    done = protogen("check", "net.prototxt")
    assert "PG401" in done.stdout
    assert done.returncode == 1
