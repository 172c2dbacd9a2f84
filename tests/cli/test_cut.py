"""``protogen cut``, and ``--from-blob`` of convert and rewrite."""

from __future__ import annotations

import json

import onnx
import pytest
from places import EXAMPLES

import protogen as pg

NET = (EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
MODEL = EXAMPLES / "squeeze_excite.onnx"


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_cut_prints_both_parts(protogen, tmp_path):
    done = protogen(
        "cut", *NET, "--to-blob", "conv1", "-o", "a.prototxt", "--caffemodel", "a.caffemodel",
        "--rest", "b.prototxt", "--rest-caffemodel", "b.caffemodel",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "in  data  1x3x32x32\n"
        "out conv1  1x8x16x16\n"
        "5 of 10 layers, 57,344 of 88,704 multiply-adds, 1.0 KiB of weights\n"
        "rest:\n"
        "in  conv1  1x8x16x16\n"
        "out prob  1x4\n"
        "5 of 10 layers, 31,360 of 88,704 multiply-adds, 14.6 KiB of weights\n"
        "wrote a.prototxt\n"
        "wrote a.caffemodel\n"
        "wrote b.prototxt\n"
        "wrote b.caffemodel\n"
    )
    assert done.stderr == ""


def test_cut_of_a_model(protogen, tmp_path):
    done = protogen(
        "cut", MODEL, "--from-blob", "/se/Mul_output_0", "-o", "a.onnx", "--verify",
        "--external-data",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "in  data  1x3x32x32\n"
        "in  /se/Mul_output_0  1x16x16x16\n"
        "out 50  1x8x16x16\n"
        "5 of 18 operators, 1.4 KiB of weights\n"
        "1 of 1 blob agrees to 0.0001, largest relative error 0\n"
        "wrote a.onnx\n"
        "wrote a.onnx.data\n"
    )


def test_blobs_that_nobody_reads_and_layers_in_both_files(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }\n'
        'layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" }\n'
        'layer { name: "p" type: "ReLU" bottom: "a" top: "p" }\n'
        'layer { name: "q" type: "Concat" bottom: "p" bottom: "b" top: "q" }\n'
    )
    done = protogen(
        "cut", "net.prototxt", "--to-blob", "p", "-o", "a.prototxt", "--rest", "b.prototxt"
    )
    assert done.returncode == 0, done.stderr
    assert "not read: b\n" in done.stdout
    assert "2 layers in both files; to compute all of them once, add --to-blob b\n" in done.stdout
    quiet = protogen("cut", "net.prototxt", "--to-blob", "p", "-o", "a.prototxt", "-q")
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_json_of_cut(protogen, tmp_path):
    done = protogen(
        "cut", *NET, "--to-blob", "conv1", "-o", "a.prototxt", "--caffemodel", "a.caffemodel",
        "--verify", "--json",
    )  # fmt: skip
    plain = json.loads(done.stdout)
    assert plain["part"]["outputs"] == [{"name": "conv1", "shape": [1, 8, 16, 16]}]
    assert plain["part"]["layers"] == ["data", "conv1", "bn1", "scale1", "relu1"]
    assert plain["checked"]["passed"]
    assert plain["rest"] is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([*NET, "-o", "a.prototxt", "--caffemodel", "b"], 2, "nothing to cut. Name a blob with --from-blob or "
         "--to-blob."),
        ([*NET, "--to-blob", "conv1"], 2, "missing output file. Name it with -o."),
        ([*NET, "--to-blob", "conv1", "-o", "-"], 2, "the part has 3 layers with weights, but no file "
         "for them. Name it: --caffemodel part.caffemodel."),
        ([*NET, "--to-blob", "conv1", "-o", "a.prototxt", "--tolerance", "1"], 2, "--tolerance needs --verify."),
        ([NET[0], "--to-blob", "pool", "-o", "a.prototxt"], 2, '"pool": unknown blob. Did you mean pool1?'),
        ([MODEL, "--to-blob", "x", "-o", "a.onnx", "--stage", "deploy"], 2, "--phase, --level and --stage do "
         "not apply to an ONNX model."),
        ([MODEL, "--to-blob", "x", "-o", "a.onnx", "--dialect", "ssd"], 2, "--dialect does not apply to an ONNX "
         "model: it has no Caffe layers."),
        ([MODEL, "--to-blob", "50", "-o", "a.onnx", "--rest", "b.onnx"], 2, f"{MODEL}: 50: no output of the "
         "model is left after these values."),
        (["missing.prototxt", "--to-blob", "x", "-o", "a.prototxt"], 2, "missing.prototxt: cannot be read (No "
         "such file or directory). Check the path."),
    ],
)  # fmt: skip
def test_refused_options(words, code, message, protogen, tmp_path):
    done = protogen("cut", *words)
    assert (done.returncode, done.stderr) == (code, f"protogen: {message}\n")
    assert files(tmp_path) == []


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_rest_that_cannot_run_is_not_verified(protogen, tmp_path):
    """Without --verify it is written; the part alone can be verified."""
    text = NET[0].read_text().replace('type: "Softmax"', 'type: "Unheard"')
    (tmp_path / "net.prototxt").write_text(text)
    words = [
        "cut",
        "net.prototxt",
        NET[1],
        "--to-blob",
        "fc",
        "-o",
        "a.prototxt",
        "--caffemodel",
        "a.caffemodel",
    ]
    rest = ["--rest", "b.prototxt"]
    assert protogen(*words, "--verify").returncode == 0
    assert protogen(*words, *rest).returncode == 0
    assert '"Unheard"' in (tmp_path / "b.prototxt").read_text()
    failed = protogen(*words, *rest, "--verify")
    assert failed.returncode == 3
    assert 'layer "prob" (Unheard): unknown layer type' in failed.stderr


def test_difference_has_exit_code_1(protogen, tmp_path):
    done = protogen("init", NET[0], "-o", "zero.caffemodel")
    done = protogen(
        "cut", NET[0], "zero.caffemodel", "--to-blob", "conv1", "-o", "a.prototxt",
        "--caffemodel", "a.caffemodel", "--verify",
    )  # fmt: skip
    assert done.returncode == 1
    assert "nothing is proved" in done.stderr
    assert files(tmp_path) == ["zero.caffemodel"]


# --from-blob of other commands


def test_convert_from_a_blob_on(protogen, tmp_path):
    done = protogen(
        "convert", *NET, "-o", "a.onnx", "--from-blob", "pool1", "--to-blob", "fc", "--verify"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("in  pool1  1x8x9x9\nout fc  1x4\n")
    assert [one.name for one in onnx.load(tmp_path / "a.onnx").graph.input] == ["pool1"]
    done = protogen(
        "convert", "a.onnx", "-o", "a.prototxt", "--caffemodel", "a.caffemodel",
        "--from-blob", "conv2", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("in  conv2  1x16x7x7\nout fc  1x4\n")
    assert pg.load(tmp_path / "a.prototxt").inputs == ("conv2",)


def test_inputs_that_are_left_are_printed(protogen):
    done = protogen("convert", MODEL, "--from-blob", "/se/Mul_output_0", "-o", "a.prototxt",
                    "--caffemodel", "a.caffemodel", "--verify")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("in  data  1x3x32x32\nin  /se/Mul_output_0  1x16x16x16\nout 50")


def test_dry_run_and_rewrite_from_a_blob_on(protogen, tmp_path):
    done = protogen("convert", *NET, "--dry-run", "--from-blob", "conv1")
    assert done.stdout == "6 layers: 6 convert\n"
    done = protogen(
        "convert", MODEL, "--dry-run", "--from-blob", "/se/Mul_output_0", "--target", "mnn"
    )
    assert done.returncode == 0, done.stderr
    assert "refused" not in done.stdout
    done = protogen(
        "rewrite", *NET, "--target", "mnn", "--from-blob", "pool1", "-o", "a.prototxt",
        "--caffemodel", "a.caffemodel",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert pg.load(tmp_path / "a.prototxt").inputs == ("pool1",)
    done = protogen("rewrite", NET[0], "--from-blob", "pool1")
    assert done.stderr == "protogen: --from-blob needs --target.\n"


@pytest.mark.parametrize("command", ["convert", "cut"])
def test_shape_of_a_new_input_of_a_model(command, protogen, tmp_path):
    """With --input-shape the shapes before the value do not matter."""
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["a"]),
        onnx.helper.make_node("Tanh", ["a"], ["y"]),
    ]
    free = ("n", 3, None, None)
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, free)], [value("y", 1, free)])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(model, tmp_path / "m.onnx")
    target = "a.prototxt" if command == "convert" else "a.onnx"
    words = [command, "m.onnx", "--from-blob", "a", "--input-shape", "a=1,3,5,7", "-o", target]
    done = protogen(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("in  a  1x3x5x7\nout y  1x3x5x7\n")
    if command == "convert":
        assert protogen(*words, "--verify").returncode == 0
        return
    assert protogen(*words, "--verify", "--input-shape", "x=1,3,5,7").returncode == 0
    failed = protogen(*words, "--verify")
    assert (failed.returncode, failed.stderr) == (
        2,
        'protogen: input "a": the whole gives it the shape 1x3x1x1, but the part expects 1x3x5x7. Give the '
        "shapes of the inputs of the whole with --input-shape, too.\n",
    )
