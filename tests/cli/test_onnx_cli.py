"""``convert`` of an ONNX model to Caffe, and ``convert --dry-run``, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from places import EXAMPLES, GOLDEN

import protogen as pg

NETS = GOLDEN / "torch_nets"
MODEL = EXAMPLES / "squeeze_excite.onnx"


def convert(protogen, *options, model=MODEL):
    return protogen(
        "convert", model, "-o", "net.prototxt", "--caffemodel", "net.caffemodel", *options
    )


def test_convert_writes_net_weights_and_names(protogen, tmp_path):
    done = convert(protogen, "--verify", "--names", "names.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "in  data  1x3x32x32"
    assert any("8 of 8 blobs agree to 0.0001" in line for line in lines)
    assert lines[-3:] == ["wrote net.prototxt", "wrote net.caffemodel", "wrote names.json"]
    text = (tmp_path / "net.prototxt").read_text()
    assert text.startswith("# From squeeze_excite.onnx made by pytorch 2.13.0, operator set 17.\n")
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", strict=True)
    assert net.inputs == ("data",)
    report = json.loads((tmp_path / "names.json").read_text())
    assert report["renamed"] == []
    assert set(report) == {"renamed", "values", "operators"}


def test_conversion_is_reproducible(protogen, tmp_path):
    convert(protogen)
    first = [(tmp_path / name).read_bytes() for name in ("net.prototxt", "net.caffemodel")]
    convert(protogen)
    assert first == [(tmp_path / name).read_bytes() for name in ("net.prototxt", "net.caffemodel")]


def test_json_reports_the_largest_difference(protogen):
    done = convert(protogen, "--verify", "--json")
    report = json.loads(done.stdout)
    assert report["checked"]["worst"] < 1e-5


def test_input_shape_and_fold_options(protogen, tmp_path):
    done = convert(
        protogen, "--input-shape", "2,3,48,64", "--fold", "--verify", model=NETS / "unet_17.onnx"
    )
    assert done.returncode == 0, done.stderr
    assert "in  data  2x3x48x64" in done.stdout


def test_dialect_allows_layers_of_a_fork(protogen, tmp_path):
    assert convert(protogen, "--dialect", "ssd", model=NETS / "convnext_17.onnx").returncode == 0
    assert 'type: "Permute"' in (tmp_path / "net.prototxt").read_text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["m.onnx", "-o", "-"],
         "m.onnx: the net has 6 layers with weights, but no file for them. Name it: "
         "--caffemodel net.caffemodel."),
        (["m.onnx", "w.caffemodel", "-o", "net.prototxt"],
         "w.caffemodel: cannot be read (No such file or directory). To write the weights there: "
         "--caffemodel w.caffemodel."),
        (["m.onnx", "-o", "net.onnx", "--caffemodel", "w.caffemodel"],
         "net.onnx: m.onnx is already an ONNX model. Write a prototxt: -o net.prototxt."),
        (["m.onnx", "-o", "w", "--caffemodel", "w"],
         "w: --output and --caffemodel write the same file. Choose a different file for each output."),
        (["m.onnx", "-o", "m.prototxt", "--caffemodel", "m.onnx"],
         "m.onnx: --caffemodel writes a caffemodel, but the ending .onnx is for an ONNX model. Use the "
         "ending .caffemodel."),
        (["m.onnx", "-o", "net.prototxt", "--half"],
         "--half does not apply from ONNX to Caffe: Caffe's weights are float32."),
        (["m.onnx", "-o", "net.prototxt", "--to-blob", "x"],
         "m.onnx: \"x\": unknown value."),
        (["none.onnx", "-o", "net.prototxt"],
         "none.onnx: cannot be read (No such file or directory). Check the path."),
        (["bad.onnx", "-o", "net.prototxt"],
         "bad.onnx: the file is text, expected a net (prototxt), a caffemodel or an ONNX model."),
        (["cut.onnx", "-o", "net.prototxt"],
         "cut.onnx:byte 19: a value of 6331 bytes is declared, but only 978 remain. The file is truncated "
         "or damaged, or it is not a valid ONNX model."),
        (["m.onnx", "-o", "net.prototxt", "--input-shape", "dat=1,3,32,32"],
         'm.onnx: "dat": unknown input (inputs: data).'),
    ],
)  # fmt: skip
def test_invalid_arguments_give_one_sentence_and_no_file(protogen, tmp_path, options, text):
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes())
    (tmp_path / "bad.onnx").write_bytes(b"hello\n")
    (tmp_path / "cut.onnx").write_bytes(MODEL.read_bytes()[:1000])
    before = set(tmp_path.iterdir())
    done = protogen("convert", *options)
    assert done.returncode == 2
    assert done.stderr == f"protogen: {text}\n"
    assert done.stdout == ""
    assert set(tmp_path.iterdir()) == before


def write_unsupported_model(path: Path) -> None:
    """Write a model with a supported, an unsupported and an approximated operator."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Det", ["r"], ["d"], name="determinant"),
        helper.make_node("Erf", ["r"], ["e"], name="erf"),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 3))],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, (2,)),
         helper.make_tensor_value_info("e", TensorProto.FLOAT, (2, 3, 3))],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path
    )


def test_unsupported_model_writes_no_file(protogen, tmp_path):
    write_unsupported_model(tmp_path / "m.onnx")
    done = convert(protogen, model="m.onnx")
    assert done.returncode == 3
    assert done.stderr == (
        'protogen: m.onnx: operator "determinant" (Det): Caffe has no layer for this operator. '
        "End the net before it: --to-blob r --to-blob e.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_dry_run_counts_operators_by_kind(protogen, tmp_path):
    write_unsupported_model(tmp_path / "m.onnx")
    done = protogen("convert", "--dry-run", "m.onnx")
    assert done.returncode == 1
    assert "Caffe has no layer for this operator" in done.stdout
    assert "an error of at most 1e-07" in done.stdout
    assert done.stdout.endswith("3 operators: 1 converts, 1 approximated, 1 does not convert\n")
    report = json.loads(protogen("convert", "--dry-run", "m.onnx", "--json").stdout)["verdicts"]
    assert [verdict["kind"] for verdict in report] == ["converts", "refused", "approximated"]
    assert protogen("convert", "--dry-run", MODEL).returncode == 0


def test_approximation_is_reported_as_a_warning(protogen, tmp_path):
    done = convert(protogen, model=NETS / "convnext_17.onnx")
    assert done.returncode == 0
    assert done.stderr == (
        'protogen: warning: operator "/Mul_1" (Gelu): erf is approximated with an error of at most 1e-07 by the tanh of a polynomial.\n'
    )


def test_verify_detects_swapped_channels_and_writes_no_file(protogen, tmp_path, monkeypatch):
    from protogen.converting import onnx_to_caffe

    original = onnx_to_caffe.import_model

    def import_with_swapped_channels(*args, **options):
        imported = original(*args, **options)
        name = next(iter(imported.net.weights))
        weight, *rest = imported.net.weights[name]
        imported.net.weights[name] = [np.roll(weight, 1, 0), *rest]
        return imported

    monkeypatch.setattr(onnx_to_caffe, "import_model", import_with_swapped_channels)
    with pytest.raises(pg.MismatchError, match="differ"):
        pg.convert_onnx(MODEL, tmp_path / "n.prototxt", tmp_path / "n.caffemodel", verify=True)
    assert not list(tmp_path.iterdir())
