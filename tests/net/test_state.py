"""Phase, level and stages select layers, in the library and in every command that reads a net."""

from __future__ import annotations

import json

import numpy as np
import pytest

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net

# One text for training and deployment, like Caffe's all-in-one nets.
ALL = """
layer { name: "td" type: "Data" top: "data" top: "label" include { stage: "train" }
  data_param { source: "x" batch_size: 2 } }
layer { name: "dd" type: "Input" top: "data" include { stage: "deploy" }
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "r" bottom: "label" top: "l"
  exclude { stage: "deploy" } }
layer { name: "s" type: "Softmax" bottom: "r" top: "s" include { stage: "deploy" } }
"""
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
RULES = INPUT + "\n".join(
    f'layer {{ name: "{name}" type: "ReLU" bottom: "x" top: "{name}" {rule} }}'
    for name, rule in (
        ("quiet", 'include { not_stage: "loud" }'),
        ("loud", 'include { stage: "loud" }'),
        ("both", 'include { stage: "loud" stage: "late" }'),
        ("either", 'include { stage: "loud" } include { stage: "late" }'),
        ("high", "include { min_level: 2 }"),
        ("low", "include { max_level: 0 }"),
        ("middle", "exclude { min_level: 2 } exclude { max_level: 0 }"),
        ("training", 'exclude { phase: TEST not_stage: "late" }'),
    )
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, "quiet low"),
        ({"phase": "TRAIN"}, "quiet low training"),
        ({"stages": ["loud"]}, "loud either low"),
        ({"stages": ["loud", "late"]}, "loud both either low training"),
        ({"stages": ["late"]}, "quiet either low training"),
        ({"level": 1}, "quiet middle"),
        ({"level": 2}, "quiet high"),
        ({"level": -3}, "quiet low"),
    ],
)
def test_rules_select_layers(state, expected):
    net = Net(prototxt.parse(RULES, "net.prototxt"), **state)
    assert [layer.name for layer in net.layers[1:]] == expected.split()


@pytest.mark.parametrize(
    ("text", "state", "sentence"),
    [
        (ALL, {"stages": ["deply"]}, 'net.prototxt: stage "deply": unknown stage, it appears in no include or exclude rule of the net. Did you mean deploy?'),
        (ALL, {"stages": ["x"]}, 'net.prototxt: stage "x": unknown stage, it appears in no include or exclude rule of the net. Known stages: deploy, train.'),
        (INPUT, {"stages": ["x"]}, 'net.prototxt: stage "x": unknown stage, it appears in no include or exclude rule of the net. The net has no stages.'),
        (INPUT, {"phase": "test"}, "phase: expected TRAIN or TEST, got 'test'."),
        (ALL, {}, 'net.prototxt:6:1: layer "r" (ReLU): reads "data", but no layer produces it in phase TEST. '
                  'These layers produce it: "td" (Data) with --stage train, "dd" (Input) with --stage deploy.'),
        (ALL.replace('include { stage: "train" }', "include { phase: TRAIN min_level: 2 }").replace('stage: "deploy"', 'min_level: 3'),
         {"level": 1},
         'net.prototxt:6:1: layer "r" (ReLU): reads "data", but no layer produces it in phase TEST, level 1. '
         'These layers produce it: "td" (Data) with --phase TRAIN --level 2, "dd" (Input) with --level 3.'),
        ('name: "n"\n' + INPUT.replace("input_param", "include { phase: TRAIN } input_param"), {},
         'net.prototxt: net "n": no layer is included in phase TEST. Choose another phase, level or stage.'),
        ('name: "n"\n' + INPUT.replace("input_param", 'exclude { stage: "a" } input_param'), {"stages": ["a"], "level": 4},
         'net.prototxt: net "n": no layer is included in phase TEST, level 4, stage a. Choose another phase, level or stage.'),
    ],
)  # fmt: skip
def test_invalid_state_is_rejected(text, state, sentence):
    with pytest.raises(pg.InputError) as caught:
        Net(prototxt.parse(text, "net.prototxt"), **state)
    assert str(caught.value) == sentence


# Commands


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "all.prototxt").write_text(ALL)
    return tmp_path


STAGE = ("--stage", "deploy")


def test_convert_and_verify_take_a_stage(folder, protogen):
    done = protogen(
        "convert", "all.prototxt", "-o", "net.onnx", *STAGE, "--verify", "--receipt", "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert "opencv: not run: OpenCV reads nets only in phase TEST" in done.stdout
    options = json.loads((folder / "r.json").read_text())["options"]
    assert (options["phase"], options["level"], options["stages"]) == ("TEST", 0, ["deploy"])
    done = protogen("verify", "all.prototxt", "net.onnx", *STAGE, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["phase"], report["level"], report["stages"]) == ("TEST", 0, ["deploy"])
    assert [row["blob"] for row in report["blobs"]] == ["r", "s"]


def test_library_convert_and_verify_take_stages(folder):
    converted = pg.convert(folder / "all.prototxt", None, folder / "a.onnx", stages=["deploy"])
    assert converted.net.outputs == ("s",)
    comparison = pg.verify((folder / "all.prototxt", None), folder / "a.onnx", stages=["deploy"])
    assert [row.blob for row in comparison.rows] == ["r", "s"]
    with pytest.raises(pg.InputError, match='stage "deply": unknown stage'):
        pg.verify((folder / "all.prototxt", None), folder / "a.onnx", stages=["deply"])
    with pytest.raises(pg.InputError, match="apply only to nets that are read from a prototxt"):
        pg.verify(converted.net, folder / "a.onnx", phase="TRAIN")


def test_verify_applies_a_stage_to_the_net_that_has_it(folder):
    plain = ALL.split("\n", 3)[3].replace('include { stage: "deploy" }', "")
    plain = "\n".join(
        line for line in plain.splitlines() if "Loss" not in line and "exclude" not in line
    )
    (folder / "plain.prototxt").write_text(plain)
    sides = [(folder / name, None) for name in ("all.prototxt", "plain.prototxt")]
    assert [row.blob for row in pg.verify(*sides, stages=["deploy"]).rows] == ["r", "s"]


def test_run_and_summary_take_a_stage(folder, protogen):
    done = protogen("run", "all.prototxt", "--random", *STAGE, "--json")
    assert list(json.loads(done.stdout)["blobs"]) == ["s"], done.stderr
    done = protogen("summary", "all.prototxt", *STAGE, "--json")
    assert json.loads(done.stdout)["outputs"] == ["s"]
    done = protogen(
        "summary", "all.prototxt", "--stage", "train", "--input-shape", "data=2,3,1,1", "--json"
    )
    assert json.loads(done.stdout)["outputs"] == ["l"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--stage", "deply"), 'all.prototxt: stage "deply": unknown stage, it appears in no include or exclude rule of the net. Did you mean deploy?'),
        (("--phase", "train"), "Invalid value for '--phase': 'train' is not one of 'TRAIN', 'TEST'."),
        (("--level", "high"), "Invalid value for '--level': 'high' is not a valid integer."),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "command",
    [
        ("convert", "all.prototxt", "-o", "x.onnx"),
        ("run", "all.prototxt", "--random"),
        ("verify", "all.prototxt", "net.onnx"),
        ("summary", "all.prototxt"),
        ("init", "all.prototxt", "-o", "x.caffemodel"),
    ],
)
def test_invalid_option_values_are_rejected(folder, protogen, command, option, sentence):
    done = protogen(*command, *option)
    assert done.returncode == 2
    assert done.stderr.startswith(f"protogen: {sentence}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "x.onnx").exists()


def test_onnx_input_does_not_accept_a_stage(protogen):
    done = protogen("convert", "a.onnx", "-o", "a.prototxt", "--stage", "deploy")
    assert done.returncode == 2
    assert (
        done.stderr
        == "protogen: --stage does not apply from ONNX to Caffe: an ONNX model has no stages.\n"
    )


def test_phase_train_normalises_by_batch_statistics(tmp_path, protogen):
    (tmp_path / "net.prototxt").write_text(
        INPUT.replace("dim: 1", "dim: 4")
        + 'layer { name: "b" type: "BatchNorm" bottom: "x" top: "b" }'
    )
    x = np.random.default_rng(0).normal(3, 2, (4, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    run = ("run", "net.prototxt", "--input", "x=x.npy", "-o", "out.npz", "--phase", "TRAIN")
    assert protogen(*run).returncode == 0
    with np.load(tmp_path / "out.npz") as outputs:
        expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        np.testing.assert_allclose(outputs["b"], expected, atol=1e-5)
    done = protogen("convert", "net.prototxt", "-o", "t.onnx", "--phase", "TRAIN", "--verify")
    assert done.returncode == 0, done.stderr
    output = pg.run(tmp_path / "t.onnx", {"x": x})["b"]
    np.testing.assert_allclose(output, expected, atol=1e-5)
    # Phase TEST needs the statistics of the caffemodel.
    assert protogen("convert", "net.prototxt", "-o", "t.onnx").returncode == 2


def test_phase_train_rejects_layers_with_random_values(tmp_path, protogen):
    (tmp_path / "net.prototxt").write_text(
        INPUT + 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }'
    )
    done = protogen("convert", "net.prototxt", "-o", "t.onnx", "--phase", "TRAIN")
    assert done.returncode == 3
    assert "its values are random in phase TRAIN" in done.stderr
